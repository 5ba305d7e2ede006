"""Looking tasks up in whole files, also in those that were sealed.

A file is read in pieces, once for however many tasks; most lines are not even decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import msgspec

from pmtq.folder import Folder, priority_of
from pmtq.journal import Journal
from pmtq.reader import QueueReader
from pmtq.records import StateRecord, TaskRecord, decode_state
from pmtq.scan import Fault
from pmtq.states import FINAL_STATES

FEW = 16
"""Up to so many ids it is faster to look for each of them in the text than to decode every line."""


def state_in(line: bytes) -> StateRecord | None:
    """Return what a line says; None if it is no state record, which a worker will complain about."""
    try:
        return decode_state(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class About:
    """Tells the lines about some tasks from all others."""

    def __init__(self, task_ids: AbstractSet[str]) -> None:
        """Take the ids of the tasks."""
        self._ids = task_ids
        self._needles = [msgspec.json.encode(task_id) for task_id in task_ids] if len(task_ids) <= FEW else [b""]

    def may_be_in(self, text: bytes) -> bool:
        """Say whether the text can hold a line about one of them."""
        return any(needle in text for needle in self._needles)

    def state_in(self, line: bytes) -> StateRecord | None:
        """Return what a line says about one of them, else None."""
        state = state_in(line) if self.may_be_in(line) else None
        return state if state and state.task_id in self._ids else None


def lines_about(task_ids: AbstractSet[str] | str, journal: Journal) -> Iterator[StateRecord]:
    """Yield the lines about one task, or about several, in the order in which they stand in the file."""
    about = About({task_ids} if isinstance(task_ids, str) else task_ids)
    for lines in pieces(journal):
        if about.may_be_in(lines):
            yield from filter(None, map(about.state_in, lines.splitlines()))


def all_lines(journal: Journal) -> Iterator[StateRecord]:
    """Yield every line of a results file that is a state record."""
    for lines in pieces(journal):
        yield from filter(None, map(state_in, lines.splitlines()))
    journal.close()


def final_states(folder: Folder, task_ids: AbstractSet[str]) -> list[StateRecord]:
    """Return the final lines of those tasks, as far as there are any, from all results files, newest file first."""
    found: dict[str, StateRecord] = {}
    for path in [folder.results, *folder.sealed_results()]:
        left = task_ids - found.keys()
        ends: dict[str, StateRecord] = {}
        for state in lines_about(left, Journal(path)) if left else ():
            if state.status in FINAL_STATES:
                ends.setdefault(state.task_id, state)
        found |= ends
    return list(found.values())


def pieces(journal: Journal) -> Iterator[bytes]:
    """Yield the whole lines of a file, many at a time; none if it is not there."""
    offset = 0
    if not journal.refresh():
        return
    while lines := journal.read(offset):
        yield lines
        offset += len(lines)


def call_of(folder: Folder, task_id: str) -> tuple[TaskRecord, str] | None:
    """Return the record of a call and its queue, as long as it stands under its id in a queue file, sealed or not."""
    files = [(name, folder.queue(name)) for name in folder.queue_names()]
    files += [(name, path) for name, _, path in reversed(folder.sealed_queues())]
    about = About({task_id})
    for name, path in files:
        if not any(map(about.may_be_in, pieces(Journal(path)))):
            continue
        reader = QueueReader(Journal(path), name)
        reader.rewind(0)
        for item in reader:
            if item.record.task_id == task_id and not isinstance(item.record, Fault):
                return item.record, priority_of(name)[0]
    return None
