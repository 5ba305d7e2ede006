"""Follows the results of a folder as a client that wants to write into them: read all there is, decide, write.

1. What is decided is decided under the lock of the results, with every line of them read: like a worker, never beside one.
2. A task that a living worker holds, or that a dead one has ended and not posted, is in good hands.
3. Most of the reading is done before the lock is taken, so that nobody waits for it.

It does not know what is decided.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from pmtq.archive import state_in
from pmtq.folder import Folder, priority_of
from pmtq.journal import CHUNK, Journal
from pmtq.ledger import Ledger
from pmtq.presence import find_remains
from pmtq.reader import QueueReader
from pmtq.records import StateRecord, TaskRecord, encode_lines
from pmtq.scan import DERIVED_ID, Fault
from pmtq.sealing import generation

_REWINDS = 3
"""So often a queue is read again from the top because its file was replaced meanwhile."""


class Found(NamedTuple):
    """A record that stands in a queue file and is not done with."""

    name: str
    """Of the file: ``celery``, ``low``, or ``low.p9`` for one of a priority's own."""
    record: TaskRecord
    source: bytes
    """Its bytes, with all that this version does not know."""


class OwedItem(NamedTuple):
    """Where in its file such a record stands."""

    start: int
    end: int
    record: TaskRecord


class Follower:
    """One client's view of the results of one folder, for one thread at a time."""

    def __init__(self, folder: Folder) -> None:
        """Follow the results of ``folder``; nothing is opened before the first question."""
        self.folder = folder
        self.ledger = Ledger()
        self._results = Journal(folder.results, successor=folder.next_results)
        self._inode = 0
        self._offset = 0

    @contextmanager
    def hold(self, patience: float | None = None) -> Iterator[Ledger]:
        """Hold the lock of the results; the ledger knows every line of them until it is let go.

        Raises ``LockHeld`` if somebody else still has it after ``patience`` seconds; None waits for ever.
        """
        self.folder.make()
        self.look()
        with self._results.hold(patience):
            self._catch_up()
            yield self.ledger

    def look(self) -> Ledger:
        """Return the ledger as of now, without holding anything."""
        self._catch_up()
        return self.ledger

    def write(self, lines: Iterable[StateRecord]) -> None:
        """Append ``lines``, and know them; the caller holds the lock. Raises ``OperationalError``: then none was written."""
        if lines := list(lines):
            self._offset = self._results.write(encode_lines(lines))
            self.ledger.apply(lines)

    def sync(self) -> None:
        """Return once all results that have been read would survive a power cut."""
        if self._inode:
            self._results.sync()

    def in_good_hands(self) -> dict[str, str]:
        """Return who has each task that must be left alone: the name of the worker, by the task's id."""
        spared: dict[str, str] = {}
        for name in self.ledger.holders():
            held = {state.task_id for state in self.ledger.held_by(name)}
            if remains := find_remains(self.folder, name):
                held &= {note.task_id for line in remains.lines() if (note := state_in(line))}
                remains.close(bury=False)
            spared |= dict.fromkeys(held, name)
        return spared

    def owed(self, name: str) -> Iterator[TaskRecord]:
        """Yield the records that stand in one queue file now and are not done with, whoever holds them, in file order.

        Some come twice if the file is replaced meanwhile.
        """
        for item in self._owed(QueueReader(Journal(self.folder.queue(name)), name)):
            yield item.record

    def find(self, ids: Collection[str]) -> dict[str, list[Found]]:
        """Return the owed records with these ids, most often one each; several of one that was moved."""
        found: dict[str, dict[str, Found]] = {}
        if not ids:
            return {}
        for name in sorted(self.folder.queue_names(), key=priority_of):
            if not self._mentions(name, ids):
                continue
            reader = QueueReader(Journal(self.folder.queue(name)), name)
            for item in self._owed(reader):
                if item.record.task_id in ids:
                    source = reader.journal.read_bytes(item.start, item.end - item.start)
                    found.setdefault(item.record.task_id, {})[name] = Found(name, item.record, source)
        return {task_id: list(places.values()) for task_id, places in found.items()}

    def close(self) -> None:
        """Give the descriptors back; the next use opens them again."""
        self._results.close()

    def _owed(self, reader: QueueReader) -> Iterator[OwedItem]:
        for _ in range(_REWINDS):
            reader.rewind(generation(self.folder, reader.name, self.ledger))
            end = reader.journal.size()
            for item in reader:
                if item.start >= end:
                    break
                if not isinstance(item.record, Fault) and item.record.task_id not in self.ledger.final:
                    yield OwedItem(item.start, item.end, item.record)
            if not reader.is_another_file():
                return

    def _mentions(self, name: str, ids: Collection[str]) -> bool:
        """Say whether a queue file may hold one of the ids; to look for bytes takes a hundredth of reading the records."""
        if any(task_id.startswith(DERIVED_ID) for task_id in ids):
            return True
        needles = [msgspec.json.encode(task_id) for task_id in ids]
        journal, offset = Journal(self.folder.queue(name)), 0
        journal.refresh()
        try:
            while data := journal.read_bytes(offset, 4 * CHUNK):
                if any(needle in data for needle in needles):
                    return True
                offset += max(1, len(data) - max(map(len, needles))) if len(data) == 4 * CHUNK else len(data)
        finally:
            journal.close()
        return False

    def _catch_up(self) -> None:
        inode = self._results.refresh()
        if inode != self._inode or self._results.size() < self._offset:
            self.ledger, self._offset, self._inode = Ledger(), 0, inode
        while lines := self._results.read(self._offset):
            self._offset += len(lines)
            self.ledger.apply(state for line in lines.splitlines() if (state := state_in(line)))
