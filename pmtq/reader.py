"""Reads one queue file from front to back, as a worker walks it.

1. Each record is handed out once, in file order; a line that is no record is handed out as a ``Fault``.
2. When the file is no longer the one that was read so far (an editor saved it, it was cleared), that is noticed.

It does not know which of the records are done with.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator

from pmtq.folder import DEFAULT_QUEUE
from pmtq.journal import CHUNK, Journal
from pmtq.records import MAX_RECORD_BYTES, TaskRecord
from pmtq.scan import Item, Scanner, is_complete, oversize

_OWN_ID = b'{"task_id":"'
MOVED_MARK = b'"moved"'
"""What a line holds that is a copy of one in another place."""
_FINGERPRINT = 1024
"""So many bytes before the reading position must still be the same, else somebody edited the file. Most lines are shorter: the
id at its beginning is what tells a line from the next one, when somebody has put one in."""


def mark_of(queue: str) -> bytes:
    """Return what is mixed into the ids of records without one, to tell them from equal ones in the files of other queues."""
    return b"" if queue == DEFAULT_QUEUE else hashlib.blake2b(queue.encode(), digest_size=16).digest()


class QueueReader:
    """A position in one queue file, and the records decoded ahead of it."""

    def __init__(self, journal: Journal, name: str = DEFAULT_QUEUE) -> None:
        """Read ``journal``; ``rewind`` must be called before the first record is asked for."""
        self.journal = journal
        self.name = name
        self._tail = b""
        self._inode = self._offset = 0
        self._before = b""
        self._items: deque[Item] = deque()
        self._scanner = Scanner()
        self._counted = (0, 1)
        """An offset and the number of the line that begins there."""

    def rewind(self, generation: int) -> None:
        """Start at the top of the file that has the name now. ``generation`` counts how often it was cleared."""
        self._inode = self.journal.refresh()
        self._offset = 0
        self._before = b""
        self._items.clear()
        self._scanner = Scanner(generation, mark_of(self.name))
        self._counted = (0, 1)

    def is_another_file(self) -> bool:
        """Say whether what was read so far no longer stands in the file under this name."""
        if self.journal.refresh() != self._inode:
            return True
        return not self._stands_as_read()

    def _stands_as_read(self) -> bool:
        """Say whether the bytes before the reading position are those that were read."""
        return self.journal.read_bytes(self._offset - len(self._before), len(self._before)) == self._before

    def fill(self) -> None:
        """Decode the next piece of the file unless decoded records are still waiting."""
        if self._items or not self._inode:
            return
        for size in (CHUNK, 2 * MAX_RECORD_BYTES):
            data = self.journal.read(self._offset, size, longest=size)
            if data and not self._stands_as_read():
                return  # somebody has edited the file: taking these bytes in would hide that
            self._items.extend(self._scanner.scan(data, self._offset))
            if read := self._scanner.consumed:  # a block may be cut where this piece ends: then less than all
                self._before = (self._before + data[max(0, read - _FINGERPRINT) : read])[-_FINGERPRINT:]
                self._offset += read
                return
            if self.journal.size() - self._offset <= size:
                return  # the rest is unfinished: half a line, or a block without its end
        self._skip_oversize()

    def __iter__(self) -> Iterator[Item]:
        """Hand out the records and faults that were not handed out yet, up to the end of the file."""
        for items in self.pieces():
            while items:
                yield items.popleft()

    def pieces(self) -> Iterator[deque[Item]]:
        """Hand out the same piece by piece, each to be emptied from the left as far as it is used."""
        while True:
            self.fill()
            if not self._items:
                return
            yield self._items

    def take(self) -> list[Item]:
        """Hand out the next piece of the file at once; empty at its end."""
        self.fill()
        items = list(self._items)
        self._items.clear()
        return items

    def take_plain(self, size: int) -> bytes:
        """Hand out the next lines as they stand, if each of them begins with its own id and stands nowhere else; else nothing."""
        data = b"" if self._items else self.journal.read(self._offset, size)
        if data.count(b"\n" + _OWN_ID) + data.startswith(_OWN_ID) != data.count(b"\n") or MOVED_MARK in data:
            return b""
        self._offset += len(data)
        self._before = (self._before + data[-_FINGERPRINT:])[-_FINGERPRINT:]
        return data

    def holds_copies(self) -> bool:
        """Say whether a line that was not handed out yet may be a copy, whose task may have ended in its other place."""
        offset = self.position()
        while data := self.journal.read(offset, 16 * CHUNK):
            if MOVED_MARK in data:
                return True
            offset += len(data)
        return False

    def read_again(self, start: int, end: int, task_id: str) -> TaskRecord | None:
        """Return a record that was handed out before, from its place; None if something else stands there now."""
        return self._scanner.read_again(self.journal.read_bytes(start, end - start), task_id)

    def position(self) -> int:
        """Return the offset behind the last record that was handed out."""
        return self._items[0].start if self._items else self._offset

    def unread(self) -> int:
        """Return how many bytes of the file were not handed out yet."""
        return self.journal.size() - self.position() if self._inode else 0

    def line_number(self, offset: int) -> int:
        """Return the number of the line that begins at ``offset``, counted from 1."""
        counted, number = self._counted if self._counted[0] <= offset else (0, 1)
        for start in range(counted, offset, CHUNK):
            number += self.journal.read_bytes(start, min(CHUNK, offset - start)).count(b"\n")
        self._counted = offset, number
        return number

    def finish_last_line(self) -> bool:
        """End a last line that has no newline, if it is a whole record and has not grown since the last call.

        Says whether it did.
        Some editors save without a final newline; a record must not wait for the next one because of that.
        """
        tail = self.journal.read_bytes(self._offset, MAX_RECORD_BYTES) if self._inode else b""
        whole = bool(tail) and tail == self._tail and not tail.endswith(b"\n") and is_complete(tail)
        if whole:
            self.journal.append(b"")
        self._tail = tail
        return whole

    def _skip_oversize(self) -> None:
        """Hand out a line that is too long to be loaded as a fault, reading it piece by piece."""
        digest, position, piece = hashlib.blake2b(digest_size=8, person=mark_of(self.name)), self._offset, b""
        while b"\n" not in piece:
            piece = self.journal.read_bytes(position, CHUNK)
            if not piece:
                return  # its end is not there yet
            digest.update(piece)
            position += len(piece)
        end = position - len(piece) + piece.index(b"\n") + 1
        fault = oversize(end - self._offset, digest.hexdigest())
        self._items.append(Item(self._offset, end, fault))
        self._offset, self._before = end, piece[: piece.index(b"\n") + 1][-_FINGERPRINT:]
