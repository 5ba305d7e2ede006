"""Finds the line of the results that decides about a task: its last one, or its first final one.

1. Each line of the results file is read once, as it comes; where the deciding ones begin is remembered, not what they say.
2. When the file was replaced, or is shorter than it was, the new one is read from its start; what was learned of the one
   before stays good as long as that is there.
3. What is not there is looked for in the sealed results, and what was looked for there in vain is remembered. A task is
   not looked for in what was sealed before it was posted: however many results are kept, a new task costs the same.

It does not know who asks, and threads must not share it: ``Backend`` sees to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pmtq import disk
from pmtq.archive import lines_about, state_in
from pmtq.exceptions import OperationalError
from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.records import StateRecord, decode_state
from pmtq.states import ERASED, FINAL_STATES, FORGOTTEN, PENDING

Sealed = frozenset[tuple[str, int]]
"""Sealed results, each by its name and the time of its last line. Names are used again when all of them have expired; the
time stays the same when a result is erased from the file."""
NONE: Sealed = frozenset()
GONE = frozenset({FORGOTTEN, ERASED})
"""After a line with one of these, nothing is known of the task any more."""


class Segment:
    """The deciding lines of one results file, as far as it has been read."""

    def __init__(self, inode: int) -> None:
        """Begin a file; 0 stands for none."""
        self.inode = inode
        self.offset = 0
        """Up to where it has been read."""
        self.final: dict[str, int] = {}
        """Where in the file the first final line of a task begins."""
        self.open: dict[str, int] = {}
        """Where the last line of a task begins that has no final one."""
        self.forgotten: set[str] = set()
        """Ids of tasks whose result is not to be known any more."""
        self._last_line = b""

    def read_on(self, journal: Journal) -> None:
        """Index the lines that were appended since last time."""
        while lines := journal.read(self.offset):
            for line in lines.splitlines(keepends=True):
                self._note(line)
                self.offset += len(line)
                self._last_line = line

    def was_read_from(self, journal: Journal) -> bool:
        """Say whether what is indexed stands in this file: its inode may be that of another one by now."""
        last = self._last_line
        return journal.refresh() == self.inode and journal.read_bytes(self.offset - len(last), len(last)) == last

    def _note(self, line: bytes) -> None:
        state = state_in(line)
        if state is None or not state.task_id:
            return
        task_id = state.task_id
        if state.status in GONE:
            self.forgotten.add(task_id)
            self.open.pop(task_id, None)
        elif task_id in self.final:
            return
        elif state.status in FINAL_STATES:
            self.final[task_id] = self.offset
            self.open.pop(task_id, None)
        else:
            self.open[task_id] = self.offset


class Index:
    """The deciding lines of one folder."""

    def __init__(self, folder: Folder, journal: Journal) -> None:
        """Take the folder, and the journal of its results file, which somebody else closes."""
        self._folder = folder
        self._journal = journal
        self._now = Segment(0)
        self._before = Segment(0)
        """The file that was the newest one before: whoever has posted much asks for most of it after it was sealed."""
        self._absent: set[str] = set()
        """Ids that were looked for in the sealed results in vain, since the newest of them was sealed."""
        self.sealed = NONE
        """The sealed results there were when they were last looked at: tasks posted from now on stand in none of them."""
        with suppress(OperationalError):  # what cannot be looked at yet is looked at later, and then says why it cannot
            self.sealed = frozenset(_identities(folder))

    @property
    def offset(self) -> int:
        """Up to where the results file has been read."""
        return self._now.offset

    def state(self, task_id: str, elsewhere: Sealed = NONE) -> StateRecord:
        """Return the deciding line of the task, which is in none of ``elsewhere``; one that says PENDING if there is none."""
        self._catch_up()
        offset = self._now.final.get(task_id, self._now.open.get(task_id, -1))
        if task_id in self._now.forgotten:
            return StateRecord(task_id, PENDING)
        if offset < 0:
            return next(self._from_sealed({task_id}, elsewhere), StateRecord(task_id, PENDING))
        return decode_state(self._journal.read_line(offset))

    def ended(self, task_ids: Iterable[str]) -> list[StateRecord]:
        """Return the final lines of those tasks that have ended, in the order in which they did.

        However many they are, each file is read once at most.
        """
        left = set(task_ids)
        self._catch_up()
        final = self._now.final
        left -= self._now.forgotten
        here = sorted(left & final.keys(), key=final.__getitem__)
        elsewhere = left - final.keys() - self._now.open.keys()
        return [
            *self._from_sealed(elsewhere),
            *(decode_state(self._journal.read_line(final[task_id])) for task_id in here),
        ]

    def was_forgotten(self, task_id: str) -> bool:
        """Say whether the task's result was forgotten, as far as the results file tells."""
        self._catch_up()
        return task_id in self._now.forgotten

    def _catch_up(self) -> None:
        """Index the lines that were appended since last time."""
        inode = self._journal.refresh()
        if inode != self._now.inode or (inode and self._journal.size() < self._now.offset):
            self._before = self._now if self._now.inode else self._before  # it has no name for a moment
            self._now, self._absent = Segment(inode), set()
        if inode:
            self._now.read_on(self._journal)

    def _from_sealed(self, task_ids: set[str], elsewhere: Sealed = NONE) -> Iterator[StateRecord]:
        """Yield those final lines that stand in the sealed results, newest first; a search in vain is remembered."""
        left = task_ids - self._absent
        found = _identities(self._folder) if left else {}
        self.sealed = frozenset(found) if left else self.sealed
        newest = next(iter(found), None)
        for one in (one for one in found if one not in elsewhere):
            last = self._last_words(left, Journal(found[one]), is_newest=one == newest)
            left -= last.keys()
            self._absent |= {task_id for task_id, state in last.items() if state.status in GONE}
            yield from (state for state in last.values() if state.status not in GONE)
        self._absent |= left

    def _last_words(self, task_ids: set[str], journal: Journal, *, is_newest: bool) -> dict[str, StateRecord]:
        """Return what ``_last_words`` finds in a sealed file; without reading all of it, if it is the one before.

        That one is indexed anew where a result was erased from it. Who has not seen it grow may ask for one task only.
        """
        before = self._before
        if not before.was_read_from(journal):
            if not (is_newest and before.inode):
                return _last_words(lines_about(task_ids, journal))
            before = self._before = Segment(journal.refresh())
        before.read_on(journal)
        ended = {task_id: before.final[task_id] for task_id in task_ids & before.final.keys() - before.forgotten}
        return {
            **{task_id: StateRecord(task_id, FORGOTTEN) for task_id in task_ids & before.forgotten},
            **{task_id: decode_state(journal.read_line(offset)) for task_id, offset in ended.items()},
        }


def _identities(folder: Folder) -> dict[tuple[str, int], Path]:
    """Return the sealed results, newest first."""
    found = {}
    for path in folder.sealed_results():
        with suppress(FileNotFoundError):  # it has just expired
            found[path.name, disk.status(path).st_mtime_ns] = path
    return found


def _last_words(states: Iterable[StateRecord]) -> dict[str, StateRecord]:
    """Return of each task that has ended the line that counts: the first final one, or that it was forgotten."""
    found: dict[str, StateRecord] = {}
    for state in states:
        if state.status in GONE:
            found[state.task_id] = state
        elif state.status in FINAL_STATES:
            found.setdefault(state.task_id, state)
    return found
