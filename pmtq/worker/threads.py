"""A thread of a pool: a consumer of its own, with a name of its own, in the process of its parent.

All of them share one watcher. A thread cannot be ended from outside, so no limit on its tasks is kept but its own will.

It does not know who else belongs to the pool.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from pmtq import signals
from pmtq.presence import Presence
from pmtq.watch import Watch
from pmtq.worker.board import Board
from pmtq.worker.consumer import Consumer, files_of
from pmtq.worker.ending import Shutdown, leave
from pmtq.worker.naming import take_name_of_child
from pmtq.worker.plan import Plan
from pmtq.worker.pool import Child, Pool

logger = logging.getLogger("pmtq.worker")


class Threads(Pool):
    """A pool of threads."""

    def __init__(self, plan: Plan, presence: Presence, shutdown: Shutdown, told: set[str]) -> None:
        """Work by ``plan``; ``told`` are functions whose limits need no more words."""
        super().__init__(plan, presence, shutdown)
        self._watch = Watch(plan.folder.path, files_of(plan.folder, plan.queues))
        self._told = told

    def run(self) -> None:
        """Keep the threads at work until the end."""
        signals.worker_process_init.send(self.name)
        try:
            super().run()
        finally:
            self._watch.close()
            signals.worker_process_shutdown.send(self.name, pid=os.getpid(), exitcode=0)

    def _make_child(self, number: int) -> Child:
        return ThreadChild(self.plan, self.name, number, self._watch, self._child_ended, self._told)

    def _child_ended(self) -> None:
        if self._pipe:
            self._pipe.wake()


class ThreadChild:
    """The thread, as its parent sees it."""

    def __init__(
        self, plan: Plan, parent: str, number: int, watch: Watch, ended: Callable[[], None], told: set[str]
    ) -> None:
        """Start place ``number`` of the pool of the worker ``parent``; ``ended`` is called by the thread at its end."""
        self._presence: Presence = take_name_of_child(plan, parent, number)
        self.name = self._presence.name
        self.board = Board(told)
        self.consumer = Consumer(plan.folder, self._presence, list(plan.queues), plan.load(), self.board, watch)
        self._watch = watch
        self._ended = ended
        self._status: int | None = None
        self._thread = threading.Thread(target=self._run, args=(plan.burst,), name=self.name, daemon=True)
        self._thread.start()
        self.description = f"thread {self._thread.native_id}"

    def _run(self, burst: bool) -> None:
        status = 1
        try:
            self.consumer.run(burst=burst)
            leave(self._presence)
            status = 0
        except BaseException:
            logger.exception("%s has died", self.name)
            self._presence.abandon()
        finally:
            self._status = status
            self._ended()

    def sentinel(self) -> int | None:
        """Return None: it says itself when it ends."""
        return None

    def status(self) -> int | None:
        """Return 0 when it has ended, 1 when it died of something; None while it lives."""
        return self._status

    def end_gently(self) -> None:
        """Have it end after its running task."""
        self.consumer.stop()
        self._watch.wake()

    def break_off(self) -> None:
        """Note that its task is called off on purpose; the process ends in a moment."""
        self.consumer.abandon()

    def kill(self, patience: float = 0.0) -> None:
        """Do nothing: it ends with its process."""

    def log_stacks(self) -> None:
        """Do nothing: its process has logged the stacks of all threads."""

    def close(self) -> None:
        """Give back what belongs to it; it has ended."""
        self._thread.join()
