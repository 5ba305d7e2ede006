"""Remembers how tasks have ended for which others wait, and forgets it when nobody waits for them any more.

So memory follows the workflows that are under way. It does not know why they wait, nor what they do with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from pmtq.records import StateRecord


class Awaited:
    """The final lines of tasks, each kept until all those are final, too, that it is kept for."""

    def __init__(self) -> None:
        """Begin with none."""
        self.ends: dict[str, StateRecord] = {}
        """The lines, by task id."""
        self.count = 0
        """How many were to be kept so far."""
        self.owing: dict[str, list[str]] = {}
        """For each task that waits the ids of the lines that are kept for it …"""
        self._uses: dict[str, int] = {}
        """… and for each of those, how many tasks it is kept for."""

    def keep(self, end: StateRecord, followers: Iterable[str]) -> None:
        """Keep the final line of a task for ``followers``, of which none is final."""
        task_id = end.task_id
        self.count += 1
        for follower in followers:
            self.ends[task_id] = end
            self._uses[task_id] = self._uses.get(task_id, 0) + 1
            self.owing.setdefault(follower, []).append(task_id)

    def let_go(self, follower: str) -> None:
        """Forget the lines that were kept for a task that is final now, and for no other."""
        for task_id in self.owing.pop(follower, ()):
            self._uses[task_id] -= 1
            if not self._uses[task_id]:
                del self._uses[task_id], self.ends[task_id]

    def lines(self) -> list[StateRecord]:
        """Return the lines that say the same to whoever reads nothing else."""
        followers: dict[str, list[str]] = {task_id: [] for task_id in self.ends}
        for follower, task_ids in self.owing.items():
            for task_id in task_ids:
                followers[task_id].append(follower)
        return [replace(end, followers=followers[task_id], kept=True) for task_id, end in self.ends.items()]
