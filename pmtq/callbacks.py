"""Calls those who want to know that a task has ended, all of them from one thread.

1. A call is made once, after the task has ended, however soon that was.
2. The thread is there while somebody waits, and ends with the last of them.

It does not know where states come from: it is given the question to ask, and when to ask it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator

from pmtq.exceptions import OperationalError
from pmtq.records import StateRecord

logger = logging.getLogger("pmtq.backend")

Call = Callable[[], object]
LONGEST_END = 2.0
"""Seconds to wait for the thread: one of the calls may take its time."""


class Callbacks:
    """What is to be called at the end of which task."""

    def __init__(self, ended: Callable[[set[str]], Iterable[StateRecord]], looks: Callable[[], Iterator[None]]) -> None:
        """Take the question which tasks have ended, and what yields each time that may have changed."""
        self._ended = ended
        self._looks = looks
        self.after_fork()

    def after_fork(self) -> None:
        """Begin afresh: a forked child has none of its parent's threads, and no part in its calls."""
        self._lock = threading.Lock()
        self._calls: dict[str, list[Call]] = {}
        self._thread: threading.Thread | None = None

    def add(self, task_id: str, call: Call) -> None:
        """Have ``call()`` called once the task has ended; this returns at once."""
        with self._lock:
            self._calls.setdefault(task_id, []).append(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, daemon=True, name="pmtq-callbacks")
                self._thread.start()

    def remove(self, task_id: str, call: Call) -> None:
        """Take that back, unless it is just being called."""
        with self._lock:
            calls = self._calls.get(task_id, [])
            if call in calls:
                calls.remove(call)
            if not calls:
                self._calls.pop(task_id, None)

    def close(self, wake: Callable[[], None]) -> None:
        """Take all of them back, and return when the thread has ended; ``wake`` makes it look."""
        with self._lock:
            self._calls.clear()
            thread = self._thread
        wake()
        if thread and thread is not threading.current_thread():
            thread.join(LONGEST_END)

    def _serve(self) -> None:
        for _ in self._looks():
            with self._lock:
                waiting = set(self._calls)
            if waiting:
                self._call_all(waiting)
            with self._lock:
                if not self._calls:
                    self._thread = None
                    return

    def _call_all(self, waiting: set[str]) -> None:
        try:
            ended = list(self._ended(waiting))
        except OperationalError as error:
            logger.error("%s Who waits for a task is told later.", error)  # noqa: TRY400
            return
        for state in ended:
            with self._lock:
                calls = self._calls.pop(state.task_id, [])
            for call in calls:
                try:
                    call()
                except Exception:
                    logger.exception("what was to be called at the end of task %s failed", state.task_id)
