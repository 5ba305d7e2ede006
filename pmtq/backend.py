"""The client's side of the results: what state a task is in, and waiting until it has ended.

1. Waiting is woken by a change of the file; all waiting threads of a process share one watcher.
2. An id of which nothing is known is PENDING: it may be sent a moment from now, by somebody else.

It does not know the queue, nor which line of the results it is that decides: ``index`` finds that.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from pmtq.archive import lines_about
from pmtq.callbacks import Callbacks
from pmtq.clock import now
from pmtq.exceptions import ResultsDisabled
from pmtq.folder import Folder
from pmtq.fork import put_in_order_after_fork
from pmtq.index import GONE, NONE, Index, Sealed
from pmtq.journal import Journal
from pmtq.records import StateRecord, encode_lines, timestamp
from pmtq.states import FINAL_STATES, FORGOTTEN, PENDING, WAITING_STATES
from pmtq.watch import Watch


class Backend:
    """Answers from the results of one folder. Threads may share it."""

    def __init__(self, folder: Folder, *, keeps_values: bool = True) -> None:
        """Take the folder; nothing is opened until the first question.

        ``keeps_values`` says whether workers write down what tasks return.
        """
        self.folder = folder
        self._keeps_values = keeps_values
        self._journal = Journal(folder.results, successor=folder.next_results)
        self.index = Index(folder, self._journal)
        """Which line decides about a task; ``index.sealed`` names the results in which no task stands that is posted now."""
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self.callbacks = Callbacks(self.ended, lambda: self._looks(None))
        """Who wants to be called when a task has ended."""
        put_in_order_after_fork(self)

    def after_fork(self) -> None:
        """Begin with a mutex of our own and no watcher: a forked child has none of its parent's threads."""
        self._lock = threading.Lock()
        self._watch = None
        self.callbacks.after_fork()

    def state(self, task_id: str, elsewhere: Sealed = NONE) -> StateRecord:
        """Return the deciding line of the task; one that says PENDING if there is none or nobody holds the task."""
        with self._lock:
            state = self.index.state(task_id, elsewhere)
        if state.status in WAITING_STATES:
            return StateRecord(task_id, PENDING, attempt=state.attempt, retries=state.retries)
        return state

    def ended(self, task_ids: Iterable[str]) -> list[StateRecord]:
        """Return the final lines of those tasks that have ended, in the order in which they did.

        However many they are, each file is read once at most.
        """
        with self._lock:
            return self.index.ended(task_ids)

    def require_values(self, task_id: str) -> None:
        """Raise ``ResultsDisabled`` if waiting for what the task returns would be in vain."""
        if not self._keeps_values:
            raise ResultsDisabled(
                f"the result of task {task_id} is not kept, because result_backend is disabled://. The task runs all the "
                "same, and its state can be asked: result.state. To keep results leave the setting out"
            )

    def store(self, *states: StateRecord) -> None:
        """Append lines about tasks; what they say counts unless the task is final. Raises ``OperationalError``."""
        if not states:
            return
        self.folder.make()
        with self._lock:  # another thread may be reading a line by its place in the file that is open
            self._journal.append(encode_lines(states))

    def history(self, task_id: str) -> list[StateRecord]:
        """Return every line about the task, oldest first, from when it was last forgotten."""
        paths = [*reversed(self.folder.sealed_results()), self.folder.results]
        found: list[StateRecord] = []
        for state in (state for path in paths for state in lines_about(task_id, Journal(path))):
            found = [] if state.status in GONE else [*found, state]
        return found

    def forget(self, task_id: str) -> None:
        """Have the result of a task that has ended removed: nothing is known of it from now on, though it is not run again.

        A worker that is idle takes it out of the files.
        """
        self.store(StateRecord(task_id, FORGOTTEN, at=timestamp(now())))

    def wait(
        self,
        task_id: str,
        timeout: float | None = None,
        told: Callable[[StateRecord], object] | None = None,
        elsewhere: Sealed = NONE,
    ) -> StateRecord | None:
        """Return the task's final line once there is one; None if ``timeout`` seconds pass before (None: for ever).

        ``told`` is called with each state that it is seen in on the way. It is not looked for in ``elsewhere``.
        """
        last = None
        for _ in self._looks(timeout):
            state = self.state(task_id, elsewhere)
            if told and state != last:
                told(state)
            last = state
            if state.status in FINAL_STATES:
                return state
        return None

    def wait_each(self, task_ids: Iterable[str], timeout: float | None = None) -> Iterator[StateRecord]:
        """Yield the final line of each task as they end; stop after ``timeout`` seconds, or when all have ended."""
        left = set(task_ids)
        for _ in self._looks(timeout):
            for state in self.ended(left):
                left.discard(state.task_id)
                yield state
            if not left:
                return

    def when_ready(self, task_id: str, call: Callable[[], object]) -> None:
        """Have ``call()`` called once the task has ended, in a thread that serves all such calls; return at once."""
        self.callbacks.add(task_id, call)
        if watch := self._watch:
            watch.wake()  # it may have ended between two looks

    def was_forgotten(self, task_id: str) -> bool:
        """Say whether the task's result was forgotten, as far as the newest results tell."""
        with self._lock:
            return self.index.was_forgotten(task_id)

    def close(self) -> None:
        """End the watcher and close the file."""
        self.callbacks.close(wake=self._wake)
        with self._lock:
            if self._watch:
                self._watch.close()
                self._watch = None
            self._journal.close()

    def _wake(self) -> None:
        with self._lock:
            if self._watch:
                self._watch.wake()

    def _looks(self, timeout: float | None) -> Iterator[None]:
        """Yield whenever the results may have changed, at once to begin with; end after ``timeout`` seconds."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        yield
        if deadline <= time.monotonic():
            return
        watch, told = self._watcher(), True
        while True:
            seen, before = watch.seen(), self.index.offset
            yield
            if not told and self.index.offset != before:
                watch.found_by_looking()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            told = watch.wait(seen, left)

    def _watcher(self) -> Watch:
        with self._lock:
            if self._watch is None:
                self.folder.make()
                self._watch = Watch(self.folder.path, frozenset({self.folder.results.name}))
            return self._watch
