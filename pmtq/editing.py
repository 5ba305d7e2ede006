"""Has a person edit a queue file while clients post into it and workers run what stands there.

1. The person edits a copy, and nobody waits: a client that posts would wait for a lock for as long as the editor is open,
   and with it whoever waits for that client. The locks are taken when the copy is saved, for milliseconds.
2. What was edited is merged record by record, by the ids: what came meanwhile stands behind, what has ended meanwhile is
   gone, and where another hand has changed the same record nothing is changed at all.
3. The old file goes to ``sealed/`` as if it had been cleared: whoever has it open may go on writing, and that is read again.
   Until the line is written that says so, it counts as well; a crash in between takes nothing away.
4. A record that was taken out is called off, so that nobody waits for it in vain. A line without an id that was changed is
   another one.

It does not know editors.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pmtq.exceptions import LockHeld, PmtqError
from pmtq.folder import Folder
from pmtq.follower import Follower
from pmtq.inspection import View
from pmtq.journal import CHUNK, Journal
from pmtq.ledger import REVOKE, Ledger
from pmtq.reader import QueueReader, mark_of
from pmtq.records import StateRecord, TaskRecord, timestamp
from pmtq.revoking import revoked
from pmtq.scan import DERIVED_ID, Fault, Item, Scanner, own_id, with_task_id
from pmtq.sealing import PATIENCE, generation, replace

TRIES = 100
"""So often the two locks are tried for, each time with ``PATIENCE``; workers go on in between, and Ctrl-C ends it."""
_PAUSE = 0.02
"""Seconds between two tries."""
_READINGS = 5
"""So often the file is read anew if it is replaced meanwhile, before the workers are made to wait."""


class NotEditedError(PmtqError):
    """The queue file was left as it is, because what was edited does not go together with what happened meanwhile."""


class Slip(NamedTuple):
    """What is wrong with an edited text, and where."""

    line: int
    column: int
    reason: str
    remedy: str


class Outcome(NamedTuple):
    """What an edit has changed."""

    added: int
    """Records that were not there before, and lines without an id that were changed."""
    changed: list[str]
    """Ids of records that were there under the same id."""
    called_off: list[str]
    """Ids of those that were taken out …"""
    running: dict[str, str]
    """… and of those that were changed or taken out while a worker had them, as they were; with its name."""
    behind: int
    """Records that were posted meanwhile, and stand behind the edited ones."""


class _Entry(NamedTuple):
    """One record of an edited text."""

    task_id: str
    """Empty for one that has none yet."""
    item: Item
    source: bytes
    is_unchanged: bool
    """Whether it says what it said."""


class Draft:
    """One queue file as a person is to edit it: what waits there, in file order."""

    def __init__(self, folder: Folder, queue: str) -> None:
        """Read the file of ``queue``; ``low.p9`` is the one for the calls of priority 9. It need not be there yet."""
        self.text = b""
        """What the person is to see: the records that have not ended, as they were typed."""
        self.left_out = 0
        """How many records are not shown because they have ended."""
        self.queue = queue
        self._folder = folder
        self._follower = Follower(folder)
        self._reader = QueueReader(Journal(folder.queue(queue)), queue)
        self._owed: dict[str, bytes] = {}
        """For each id that is owed its record, as it would be carried over …"""
        self._shown: dict[str, TaskRecord | Fault] = {}
        """… and those of them that are shown."""
        self._without_id: dict[str, list[str]] = {}
        """For each text without an id, as a digest, the ids that were derived from it."""
        self._rest = b""
        """A last line, or block, that is not finished."""
        self._generation = self._end = 0
        self._digest = b""
        self._read()

    def check(self, text: bytes) -> list[Slip]:
        """Return what keeps ``text`` from being put in place, in its order; empty if nothing does."""
        text = _ended(text)
        slips, lines = [], dict[str, int]()
        final = self._follower.look().final
        for entry in self._entries(text):
            line, record = text.count(b"\n", 0, entry.item.start) + 1, entry.item.record
            if isinstance(record, Fault):
                slips.append(Slip(line + record.line, record.column, record.reason, record.remedy))
            elif entry.task_id in lines:
                reason = f"the task_id {entry.task_id} stands in line {lines[entry.task_id]} already"
                slips.append(Slip(line, 1, reason, "Take it out of one of the two, and that one gets an id of its own"))
            elif entry.task_id in final and not entry.is_unchanged:
                slips.append(Slip(line, 1, *_ended_before(entry.task_id)))
            if entry.task_id:
                lines.setdefault(entry.task_id, line)
        return slips

    def put(self, text: bytes, now: float, begin: Callable[[], object] = lambda: None) -> Outcome:
        """Put ``text``, in which ``check`` has found nothing, in the place of what was read.

        ``begin`` is called when the waiting is over, before anything is changed: from there on nothing should break it off.
        Raises ``NotEditedError`` or ``LockHeld``: then nothing was changed, and the same text may be put again.
        """
        entries = list(self._entries(_ended(text)))
        self._follower.look()
        self._follower.sync()  # most of what must be on the disk, before anybody waits for a lock
        for _ in range(TRIES):
            try:
                with self._follower.hold(PATIENCE) as ledger:
                    self._follower.sync()
                    with self._reader.journal.hold(PATIENCE):
                        begin()
                        return self._merge(entries, ledger, now)
            except LockHeld as error:
                held = error
                time.sleep(_PAUSE)
        raise held

    def close(self) -> None:
        """Give the descriptors back."""
        self._follower.close()
        self._reader.journal.close()

    # Reading

    def _read(self) -> None:
        for _ in range(_READINGS):
            if self._read_once(self._follower.look()):
                return
        with self._follower.hold() as ledger:
            self._read_once(ledger)

    def _read_once(self, ledger: Ledger) -> bool:
        """Read the file from its top; say whether it is still the same at the end."""
        reader, journal = self._reader, self._reader.journal
        self._generation, self.left_out = generation(self._folder, self.queue, ledger), 0
        for found in (self._owed, self._shown, self._without_id):
            found.clear()
        places = View(self._folder, 0.0).places
        reader.rewind(self._generation)
        pieces = []
        while True:
            for item in reader:
                task_id, source = item.record.task_id, journal.read_bytes(item.start, item.end - item.start)
                if task_id in ledger.final:
                    self.left_out += 1
                    continue
                self._owed[task_id] = with_task_id(source, task_id)
                if places.get(task_id, self.queue) == self.queue:
                    self._show(task_id, item.record, source)
                    pieces.append(source)
            if not (reader.finish_last_line() or reader.finish_last_line()):  # the second look decides
                break
        self._end = reader.position()
        self._rest = journal.read_bytes(self._end, reader.unread())
        self.text = b"".join(pieces) + (_ended(self._rest) if self._rest.strip() else b"")
        self._digest = self._digest_of_head()
        is_same = self._generation == generation(self._folder, self.queue, self._follower.look())
        return is_same and not reader.is_another_file()

    def _show(self, task_id: str, record: TaskRecord | Fault, source: bytes) -> None:
        self._shown[task_id] = record
        if task_id.startswith(DERIVED_ID) and not own_id(source):
            self._without_id.setdefault(_digest_in(task_id), []).append(task_id)

    def _digest_of_head(self) -> bytes:
        """Return a digest of all that was read: most of it may be changed in place without another sign."""
        digest = hashlib.blake2b(digest_size=16)
        for start in range(0, self._end, CHUNK):
            digest.update(self._reader.journal.read_bytes(start, min(CHUNK, self._end - start)))
        return digest.digest()

    # What was edited

    def _entries(self, text: bytes) -> Iterator[_Entry]:
        """Yield the records and faults in an edited text; those that are as they were have the id that they had."""
        scanner = Scanner(self._generation, mark_of(self.queue))
        items = scanner.scan(text, 0)
        if rest := text[scanner.consumed :]:  # a block that never ends
            items.append(Item(scanner.consumed, len(text), scanner.read_by_hand(rest)))
        derived = {digest: deque(ids) for digest, ids in self._without_id.items()}
        for item in items:
            source, task_id = text[item.start : item.end], item.record.task_id
            if task_id.startswith(DERIVED_ID) and not own_id(source):
                ids = derived.get(_digest_in(task_id))
                task_id = ids.popleft() if ids else ""
            yield _Entry(task_id, item, source, self._says_the_same(task_id, source))

    def _says_the_same(self, task_id: str, source: bytes) -> bool:
        owed = self._owed.get(task_id) if task_id in self._shown else None
        return owed is not None and owed.strip() == with_task_id(source, task_id).strip()

    # Putting it in place

    def _merge(self, entries: list[_Entry], ledger: Ledger, now: float) -> Outcome:
        here, size = self._stands_now(ledger)
        changed = [entry for entry in entries if not entry.is_unchanged]
        kept = {entry.task_id for entry in entries}
        out = [one for one in self._shown if one not in kept and one not in ledger.final]
        self._require_no_quarrel(changed, out, here, ledger)
        hands = self._follower.in_good_hands()
        called_off = [one for one in out if not isinstance(self._shown[one], Fault)]
        new = [task_id for task_id in here if task_id not in self._owed]
        sealed = replace(self._folder, ledger, self._reader, self._lines(entries, here, new), now, size)
        self._follower.write([sealed, *(self._end_of(one, hands, ledger, now) for one in called_off)])
        old = [entry.task_id for entry in changed if entry.task_id in self._shown]
        running = {one: hands[one] for one in [*old, *called_off] if one in hands}
        return Outcome(len(changed) - len(old), old, called_off, running, len(new))

    def _stands_now(self, ledger: Ledger) -> tuple[dict[str, bytes], int]:
        """Return what is owed in the file now, and how many bytes of it have been read; the caller holds both locks."""
        reader, journal = self._reader, self._reader.journal
        again = generation(self._folder, self.queue, ledger)
        is_same = again == self._generation and not reader.is_another_file() and self._digest == self._digest_of_head()
        here = {task_id: line for task_id, line in self._owed.items() if is_same and task_id not in ledger.final}
        if not is_same:
            reader.rewind(again)
        rest_is_ours = not self._rest.strip()
        for item in reader:
            task_id, source = item.record.task_id, journal.read_bytes(item.start, item.end - item.start)
            if is_same and item.start == self._end and self._rest.strip() and source.strip() == self._rest.strip():
                rest_is_ours = True  # somebody has only ended the line
            elif task_id not in ledger.final:
                here[task_id] = with_task_id(source, task_id)
        size = reader.position()
        if is_same and not rest_is_ours and size == self._end:
            rest_is_ours = journal.read_bytes(size, reader.unread()).strip() == self._rest.strip()
            size += reader.unread()
        if not rest_is_ours:
            raise NotEditedError(
                f"the last line of {journal.path}, which was not finished, has been written on meanwhile. {_NOTHING}"
            )
        return here, size

    def _require_no_quarrel(
        self, changed: list[_Entry], out: list[str], here: dict[str, bytes], ledger: Ledger
    ) -> None:
        for entry in changed:
            if entry.task_id in ledger.final:
                raise NotEditedError(f"{'. '.join(_ended_before(entry.task_id))}. Nothing was changed.")
        for task_id in [*(entry.task_id for entry in changed if entry.task_id), *out]:
            if here.get(task_id) != self._owed.get(task_id):
                what = "has gone from" if task_id not in here else "was posted to" if task_id not in self._owed else ""
                path = self._reader.journal.path
                raise NotEditedError(
                    f"task {task_id} {what or 'was changed by another hand in'} {path} meanwhile. {_NOTHING}"
                )

    def _lines(self, entries: list[_Entry], here: dict[str, bytes], new: list[str]) -> Iterator[bytes]:
        """Yield the lines of the file that takes the old one's place."""
        for task_id in self._owed:
            if task_id not in self._shown and task_id in here:  # it was moved, and counts in another file
                yield here[task_id]
        for entry in entries:
            if not entry.is_unchanged:
                yield entry.source
            elif entry.task_id in here:
                yield here[entry.task_id]
        for task_id in new:
            yield here[task_id]

    def _end_of(self, task_id: str, hands: dict[str, str], ledger: Ledger, now: float) -> StateRecord:
        """Return the line that calls off a task whose record was taken out."""
        record = self._shown[task_id]
        assert not isinstance(record, Fault)
        if task_id in hands:
            return StateRecord(control=f"{REVOKE} {task_id}", result=True, at=timestamp(now))
        line = revoked(task_id, f"taken out of {self._folder.queue(self.queue).name}", ledger.open.get(task_id), record)
        line.queue = self.queue
        return line


_NOTHING = "Nothing was changed."


def _ended(text: bytes) -> bytes:
    """Return the text with a newline at its end, which not every editor writes."""
    return text if not text or text.endswith(b"\n") else text + b"\n"


def _digest_in(derived_id: str) -> str:
    """Return the part of a derived id that equal lines share."""
    return derived_id.rpartition("-")[0]


def _ended_before(task_id: str) -> tuple[str, str]:
    reason = f"a task with the id {task_id} has ended, so this one would not run"
    return reason, "Take its task_id out, and it runs as another task"
