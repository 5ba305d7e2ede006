"""The client's side of the results: what state a task is in, and waiting until it has ended.

1. The state of a task is its last line in the results, or its first final one.
2. Waiting is woken by a change of the file; all waiting threads of a process share one watcher.
3. An id of which nothing is known is PENDING: it may be sent a moment from now, by somebody else.

It does not know the queue.
"""

from __future__ import annotations

import threading
import time

from pmtq.archive import lines_about, state_in
from pmtq.folder import Folder
from pmtq.fork import put_in_order_after_fork
from pmtq.journal import Journal
from pmtq.records import StateRecord, decode_state
from pmtq.states import FINAL_STATES, PENDING, WAITING_STATES
from pmtq.watch import Watch


class Backend:
    """Answers from the results of one folder. Threads may share it."""

    def __init__(self, folder: Folder) -> None:
        """Take the folder; nothing is opened until the first question."""
        self._folder = folder
        self._journal = Journal(folder.results)
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._rewind(0)
        put_in_order_after_fork(self)

    def after_fork(self) -> None:
        """Begin with a mutex of our own and no watcher: a forked child has none of its parent's threads."""
        self._lock = threading.Lock()
        self._watch = None

    def _rewind(self, inode: int) -> None:
        self._inode = inode
        self._offset = 0
        self._final: dict[str, int] = {}
        """Where in the file the first final line of a task begins."""
        self._open: dict[str, int] = {}
        """Where the last line of a task begins that has no final one."""
        self._absent: set[str] = set()
        """Ids that were looked for in the sealed results in vain."""

    def state(self, task_id: str) -> StateRecord:
        """Return the deciding line of the task; one that says PENDING if there is none or nobody holds the task."""
        with self._lock:
            self._catch_up()
            offset = self._final.get(task_id, self._open.get(task_id, -1))
            if offset >= 0:
                state = decode_state(self._journal.read_line(offset))
            else:
                state = self._from_sealed(task_id) or StateRecord(task_id, PENDING)
        if state.status in WAITING_STATES:
            return StateRecord(task_id, PENDING, attempt=state.attempt)
        return state

    def history(self, task_id: str) -> list[StateRecord]:
        """Return every line about the task, oldest first."""
        with self._lock:
            self._catch_up()
            paths = [*reversed(self._folder.sealed_results()), self._folder.results]
        return [state for path in paths for state in lines_about(task_id, Journal(path))]

    def wait(self, task_id: str, timeout: float | None = None) -> StateRecord | None:
        """Return the task's final line once there is one; None if ``timeout`` seconds pass before (None: for ever)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        watch: Watch | None = None
        told = True
        while True:
            seen = watch.seen() if watch else 0
            before = self._offset
            state = self.state(task_id)
            if state.status in FINAL_STATES:
                return state
            left = 3600.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return None
            if watch is None:
                watch = self._watcher()  # the first look above was without one: look again before waiting
                continue
            if not told and self._offset != before:
                watch.found_by_looking()
            told = watch.wait(seen, left)

    def close(self) -> None:
        """End the watcher and close the file."""
        with self._lock:
            if self._watch:
                self._watch.close()
                self._watch = None
            self._journal.close()

    def _watcher(self) -> Watch:
        with self._lock:
            if self._watch is None:
                self._folder.make()
                self._watch = Watch(self._folder.path, frozenset({self._folder.results.name}))
            return self._watch

    def _catch_up(self) -> None:
        """Index the lines that were appended since last time."""
        inode = self._journal.refresh()
        if inode != self._inode or (inode and self._journal.size() < self._offset):
            self._rewind(inode)
        if not inode:
            return
        while lines := self._journal.read(self._offset):
            for line in lines.splitlines(keepends=True):
                self._note(line)
                self._offset += len(line)

    def _note(self, line: bytes) -> None:
        state = state_in(line)
        if state is None or state.task_id in self._final:
            return
        if state.status in FINAL_STATES:
            self._final[state.task_id] = self._offset
            self._open.pop(state.task_id, None)
        else:
            self._open[state.task_id] = self._offset

    def _from_sealed(self, task_id: str) -> StateRecord | None:
        """Look for a final line in the sealed results, newest first; a search in vain is remembered."""
        if task_id in self._absent:
            return None
        for path in self._folder.sealed_results():
            for state in lines_about(task_id, Journal(path)):
                if state.status in FINAL_STATES:
                    return state
        self._absent.add(task_id)
        return None
