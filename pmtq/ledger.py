"""The rules: which tasks are done, who holds which, and what is owed when a worker dies.

1. The first final state of a task decides; whatever is said about it later is ignored.
2. A task is held by the worker of its last STARTED line, until that worker ends it, gives it back, or dies.
3. What was held by a worker that has died is given out again, see ``inheritance``.

It is told lines and answers questions. It knows no file, no clock and no process.
"""

from __future__ import annotations

from collections.abc import Iterable

from pmtq.awaited import Awaited
from pmtq.records import LAST_SECOND, StateRecord, due
from pmtq.states import FINAL_STATES, FORGOTTEN, LOST, RELEASED, RETRY, STARTED

REVOKE, PAUSE, RATE_LIMIT, TIME_LIMIT, PACED, MOVED = "revoke", "pause", "rate_limit", "time_limit", "paced", "moved"
"""First words of control lines: ``revoke ID``, ``moved ID`` with the name of the one file in which its record counts,
``pause queue NAME``, ``pause task NAME``, ``rate_limit TASK``, ``time_limit TASK``; and, written when the results start
afresh, ``paced NAME`` with the time of the last start."""
_MOVES = frozenset({STARTED, RELEASED, LOST, RETRY})


class Ledger:
    """What the lines of one ``results.jsonl``, read from its top, say about its tasks."""

    def __init__(self) -> None:
        """Begin knowing nothing: every task is owed."""
        self.final: set[str] = set()
        """Ids of the tasks that are done with."""
        self.open: dict[str, StateRecord] = {}
        """The last move of each task that began and has not ended, in the order of those moves."""
        self.controls: dict[str, StateRecord] = {}
        """What people have set for all workers, such as ``pause queue low``, and the line that says so."""
        self.paced: dict[str, float] = {}
        """When the last start was, in seconds since 1970, that counts for a rate limit or a throttled key."""
        self.forgotten: set[str] = set()
        """Ids of tasks whose results are to leave the files. Those that are not in ``final`` have theirs in a sealed one."""
        self.awaited = Awaited()
        """The final lines of tasks for which others still wait."""
        self.kept: set[str] = set()
        """Final tasks whose records are gone from the queues: only their final lines were carried over."""
        self.sealed: dict[str, int] = {}
        """Sealed queue files by name, and how many of their bytes have been carried over."""

    def apply(self, states: Iterable[StateRecord]) -> list[StateRecord]:
        """Take in the next lines; return those that changed anything."""
        final, opened, awaited, effective = self.final, self.open, self.awaited, []
        for state in states:
            task_id, status = state.task_id, state.status
            if task_id in final:
                if status == FORGOTTEN:
                    self.forgotten.add(task_id)
                continue
            if status in FINAL_STATES and task_id:  # without an id, somebody typed it
                final.add(task_id)
                opened.pop(task_id, None)
                if state.followers or awaited.owing:
                    self._hand_on(state)
                if self.controls:
                    self._forget_wishes_for(task_id)
            elif status in _MOVES:
                opened.pop(task_id, None)  # behind the others again: the order of `open` is the order of the moves
                opened[task_id] = state
                if state.pace:
                    self.paced.update(dict.fromkeys(state.pace, due(state.at)))
            elif not self._note(state):
                continue  # a progress report: whoever held the task holds it still
            effective.append(state)
        return effective

    def snapshot(self) -> list[StateRecord]:
        """Return the lines that say the same about all that is not done with, and what is still to be erased."""
        paced = [StateRecord(control=f"{PACED} {name}", result=at) for name, at in self.paced.items()]
        forgotten = [StateRecord(task_id, FORGOTTEN) for task_id in self.forgotten]
        return [*self.awaited.lines(), *self.open.values(), *self.controls.values(), *paced, *forgotten]

    def keep(self, end: StateRecord, followers: Iterable[str]) -> None:
        """Keep the final line of a task for those of its followers that are not final."""
        self.awaited.keep(end, [follower for follower in followers if follower not in self.final])

    def _hand_on(self, end: StateRecord) -> None:
        if end.followers:
            self.keep(end, end.followers)
        if end.kept:
            self.kept.add(end.task_id)
        self.awaited.let_go(end.task_id)

    def _note(self, state: StateRecord) -> bool:
        """Take in a line that moves no task; say whether it changed anything for any."""
        if state.status == FORGOTTEN:
            self.forgotten.add(state.task_id)
        elif state.sealed:
            self.sealed[state.sealed] = state.size
        elif state.control:
            self._set(state)
        return bool(state.sealed or state.control)

    def _forget_wishes_for(self, task_id: str) -> None:
        """Take back what people have set for one task, because it has ended."""
        for kind in (REVOKE, MOVED):
            self.controls.pop(f"{kind} {task_id}", None)

    def _set(self, state: StateRecord) -> None:
        """Take in what a person has set; a value of null takes it back."""
        kind, _, name = state.control.partition(" ")
        if kind == PACED:
            if isinstance(state.result, int | float) and abs(state.result) <= LAST_SECOND:  # nobody has typed it
                self.paced[name] = state.result
        elif state.result is None:
            self.controls.pop(state.control, None)
        elif kind != MOVED or isinstance(state.result, str):
            self.controls[state.control] = state

    def holders(self) -> set[str]:
        """Return the names of the workers that hold a task, alive or not."""
        return {state.worker for state in self.open.values() if state.status == STARTED}

    def held_by(self, worker: str) -> list[StateRecord]:
        """Return the STARTED lines of the tasks that ``worker`` holds, in the order it took them."""
        return [state for state in self.open.values() if state.status == STARTED and state.worker == worker]


def start(last: StateRecord | None, task_id: str, worker: str, at: str) -> StateRecord:
    """Return the line with which ``worker`` takes a task whose last move was ``last``."""
    if last is None:
        return StateRecord(task_id, STARTED, None, 1, worker, at)
    return carry(last, StateRecord(task_id, STARTED, None, last.attempt + 1, worker, at))


def release(started: StateRecord, at: str) -> StateRecord:
    """Return the line that gives a task back which was taken with ``started`` and has not begun."""
    return carry(started, StateRecord(started.task_id, RELEASED, None, started.attempt - 1, started.worker, at))


def carry(last: StateRecord, line: StateRecord) -> StateRecord:
    """Write into a task's next line what its last one remembered of the tries before; return the line."""
    line.retries, line.deaths, line.changes = last.retries, last.deaths, last.changes
    return line
