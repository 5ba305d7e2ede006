"""The whole workflow that a task belongs to, as the files tell of it: who comes after whom, and where each step stands.

1. Two tasks belong together if one waits for the other, or has posted it while it ran.
2. The records in the queue files say it as long as they stand there; the final lines in the results say it afterwards.

It does not know shapes: when it is in the files, a workflow is steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from pmtq.archive import all_lines
from pmtq.folder import Folder
from pmtq.ids import ids_in
from pmtq.journal import Journal
from pmtq.reader import QueueReader
from pmtq.records import TaskRecord
from pmtq.scan import Fault
from pmtq.states import FINAL_STATES, PENDING, WAITING_STATES


class Member(msgspec.Struct):
    """One task of a workflow."""

    task_id: str
    function: str = ""
    """Empty where its record has been cleared away."""
    state: str = PENDING
    before: list[str] = msgspec.field(default_factory=list)
    """The tasks that it waits for, and the one that posted it."""
    depth: int = 0
    """How many tasks at most come one after the other before it."""


def family_of(folder: Folder, task_id: str) -> list[Member]:
    """Return all tasks of the workflow that ``task_id`` belongs to, each behind those that it waits for.

    That is only itself if nothing hangs together with it.
    """
    before: dict[str, dict[str, None]] = {}
    functions: dict[str, str] = {}
    states: dict[str, str] = {}
    for record in _records(folder):
        functions[record.task_id] = record.function
        _join(before, record.task_id, [*ids_in(record.after), *(record.after_failure or ())])
        _join(before, record.task_id, filter(None, [record.parent_id]))
        for follower in record.followers or ():
            _join(before, follower, [record.task_id])
    for path in [*reversed(folder.sealed_results()), folder.results]:
        for state in all_lines(Journal(path)):
            if state.task_id and states.get(state.task_id) not in FINAL_STATES:
                states[state.task_id] = PENDING if state.status in WAITING_STATES else state.status
            for later in [*(state.followers or ()), *(state.children or ())]:
                _join(before, later, [state.task_id])
            if state.record and state.task_id:
                functions[state.task_id] = state.record.function
    mine = _connected(before, task_id)
    members = [Member(one, functions.get(one, ""), states.get(one, PENDING), list(before.get(one, ()))) for one in mine]
    return _in_order(members)


def _records(folder: Folder) -> Iterator[TaskRecord]:
    """Yield all records that stand in a file, sealed ones first."""
    sealed = [(name, path) for name, _, path in folder.sealed_queues()]
    for name, path in [*sealed, *((name, folder.queue(name)) for name in folder.queue_names())]:
        reader = QueueReader(Journal(path), name)
        reader.rewind(0)
        yield from (item.record for item in reader if not isinstance(item.record, Fault))
        reader.journal.close()


def _join(before: dict[str, dict[str, None]], later: str, earlier: Iterable[str]) -> None:
    for one in earlier:
        before.setdefault(later, {})[one] = None


def _connected(before: dict[str, dict[str, None]], task_id: str) -> list[str]:
    """Return all ids that hang together with one."""
    neighbours: dict[str, list[str]] = {}
    for later, earlier in before.items():
        for one in earlier:
            neighbours.setdefault(later, []).append(one)
            neighbours.setdefault(one, []).append(later)
    found, left = {task_id: None}, deque([task_id])
    while left:
        for other in neighbours.get(left.popleft(), ()):
            if other not in found:
                found[other] = None
                left.append(other)
    return list(found)


def _in_order(members: list[Member]) -> list[Member]:
    """Return the members so that each stands behind those before it, and write down how deep each one is."""
    by_id = {member.task_id: member for member in members}
    waits = {member.task_id: len(member.before) for member in members}
    after: dict[str, list[str]] = {}
    for member in members:
        for one in member.before:
            after.setdefault(one, []).append(member.task_id)
    left = deque(task_id for task_id, count in waits.items() if not count)
    ordered: list[Member] = []
    while left:
        member = by_id.pop(left.popleft())
        ordered.append(member)
        for later in after.get(member.task_id, ()):
            by_id[later].depth = max(by_id[later].depth, member.depth + 1)
            waits[later] -= 1
            if not waits[later]:
                left.append(later)
    return [*ordered, *by_id.values()]  # those at the end wait for each other: a person has written that
