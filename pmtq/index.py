"""Finds the line of the results that decides about a task: its last one, or its first final one.

1. Each line of the results file is read once, as it comes; where the deciding ones begin is remembered, not what they say.
2. When the file was replaced, or is shorter than it was, all is read again.
3. What is not there is looked for in the sealed results, and what was looked for there in vain is remembered. A task is
   not looked for in what was sealed before it was posted: however many results are kept, a new task costs the same.

It does not know who asks, and threads must not share it: ``Backend`` sees to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pmtq.archive import lines_about, state_in
from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.records import StateRecord, decode_state
from pmtq.states import ERASED, FINAL_STATES, FORGOTTEN, PENDING

Sealed = frozenset[tuple[int, int]]
"""Sealed results, each by its inode and the time of its last line: names are used again when all of them have expired."""
NONE: Sealed = frozenset()
GONE = frozenset({FORGOTTEN, ERASED})
"""After a line with one of these, nothing is known of the task any more."""


class Index:
    """The deciding lines of one folder."""

    def __init__(self, folder: Folder, journal: Journal) -> None:
        """Take the folder, and the journal of its results file, which somebody else closes."""
        self._folder = folder
        self._journal = journal
        self.sealed: Sealed = frozenset(_identities(folder))
        """The sealed results there were when they were last looked at: tasks posted from now on stand in none of them."""
        self._rewind(0)

    def _rewind(self, inode: int) -> None:
        self._inode = inode
        self.offset = 0
        """Up to where the results file has been read."""
        self._final: dict[str, int] = {}
        """Where in the file the first final line of a task begins."""
        self._open: dict[str, int] = {}
        """Where the last line of a task begins that has no final one."""
        self._forgotten: set[str] = set()
        """Ids of tasks whose result is not to be known any more."""
        self._absent: set[str] = set()
        """Ids that were looked for in the sealed results in vain."""

    def state(self, task_id: str, elsewhere: Sealed = NONE) -> StateRecord:
        """Return the deciding line of the task, which is in none of ``elsewhere``; one that says PENDING if there is none."""
        self._catch_up()
        offset = self._final.get(task_id, self._open.get(task_id, -1))
        if task_id in self._forgotten:
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
        left -= self._forgotten
        here = sorted(left & self._final.keys(), key=self._final.__getitem__)
        elsewhere = left - self._final.keys() - self._open.keys()
        return [
            *self._from_sealed(elsewhere),
            *(decode_state(self._journal.read_line(self._final[task_id])) for task_id in here),
        ]

    def was_forgotten(self, task_id: str) -> bool:
        """Say whether the task's result was forgotten, as far as the results file tells."""
        self._catch_up()
        return task_id in self._forgotten

    def _catch_up(self) -> None:
        """Index the lines that were appended since last time."""
        inode = self._journal.refresh()
        if inode != self._inode or (inode and self._journal.size() < self.offset):
            self._rewind(inode)
        if not inode:
            return
        while lines := self._journal.read(self.offset):
            for line in lines.splitlines(keepends=True):
                self._note(line)
                self.offset += len(line)

    def _note(self, line: bytes) -> None:
        state = state_in(line)
        if state is None or not state.task_id:
            return
        task_id = state.task_id
        if state.status in GONE:
            self._forgotten.add(task_id)
            self._open.pop(task_id, None)
        elif task_id in self._final:
            return
        elif state.status in FINAL_STATES:
            self._final[task_id] = self.offset
            self._open.pop(task_id, None)
        else:
            self._open[task_id] = self.offset

    def _from_sealed(self, task_ids: set[str], elsewhere: Sealed = NONE) -> Iterator[StateRecord]:
        """Yield those final lines that stand in the sealed results, newest first; a search in vain is remembered."""
        left = task_ids - self._absent
        found = _identities(self._folder) if left else {}
        self.sealed = frozenset(found) if left else self.sealed
        for path in (path for one, path in found.items() if one not in elsewhere):
            last = _last_words(lines_about(left, Journal(path)))
            left -= last.keys()
            self._absent |= {task_id for task_id, state in last.items() if state.status in GONE}
            yield from (state for state in last.values() if state.status not in GONE)
        self._absent |= left


def _identities(folder: Folder) -> dict[tuple[int, int], Path]:
    """Return the sealed results, newest first."""
    found = {}
    for path in folder.sealed_results():
        with suppress(FileNotFoundError):  # it has just expired
            status = path.stat()
            found[status.st_ino, status.st_mtime_ns] = path
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
