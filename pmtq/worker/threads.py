"""A thread of a pool: a consumer of its own, with a name of its own, in the process of its parent.

1. All of them share one watch. Of those that have been idle for a while one looks whether there is work that nobody told
   of; the others sleep until they are told. When that one is busy, or ends, another looks in its place.
2. A thread cannot be ended from outside, so no limit on its tasks is kept but its own will.

It does not know who else belongs to the pool.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

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


QUIET_WAITS = 4
"""After so many waits in a row without news, two seconds, a thread has tidied up and need not look for itself."""
TOLD_WITHIN = 10.0
"""Seconds after which it does so all the same."""


class SharedWatch(Watch):
    """A watch for threads that all look for the same: to have one of them look now and then is enough."""

    def __init__(self, folder: Path, names: frozenset[str]) -> None:
        """Watch the files called ``names`` in ``folder``, which exists."""
        super().__init__(folder, names)
        self._looker = 0
        """The thread that looks for all, by its number; 0 if there is none."""
        self._own = threading.local()

    def wait(self, seen: int, timeout: float) -> bool:
        """Wait as any watch does, or, if another thread looks, until something has changed or that thread is busy."""
        quiet = getattr(self._own, "quiet", 0)
        follows = quiet >= QUIET_WAITS and timeout >= self._poll and not self._looks_for_all()
        told = self._be_told(seen) if follows else super().wait(seen, timeout)
        self._own.quiet = 0 if told else quiet + 1
        return told

    def hand_over(self) -> None:
        """Have another thread look, if this one has looked for all and is not going to wait soon."""
        if self._looker == threading.get_ident():
            with self._changed:
                self._looker = 0
                self._changed.notify_all()

    def _looks_for_all(self) -> bool:
        """Say whether this thread looks for all, which it does from now on if none does."""
        with self._changed:
            return self._takes_over() or self._looker == threading.get_ident()

    def _takes_over(self) -> bool:
        """Look for all if none does; say whether it came to that. The caller holds ``_changed``."""
        if self._looker:
            return False
        self._looker = threading.get_ident()
        return True

    def _be_told(self, seen: int) -> bool:
        with self._changed:
            self._wait_for(lambda: self._count != seen or self._takes_over(), TOLD_WITHIN)
            return self._count != seen


class ThreadBoard(Board):
    """The board of such a thread, which has another one look when it is busy."""

    def __init__(self, told: set[str], watch: SharedWatch) -> None:
        """Take what Board takes, and the watch that the threads share."""
        super().__init__(told)
        self._watch = watch

    @property
    def busy(self) -> bool:
        """Whether the consumer has a task to run."""
        return self._busy

    @busy.setter
    def busy(self, busy: bool) -> None:
        self._busy = busy
        if busy:
            self._watch.hand_over()


class Threads(Pool):
    """A pool of threads."""

    def __init__(self, plan: Plan, presence: Presence, shutdown: Shutdown, told: set[str]) -> None:
        """Work by ``plan``; ``told`` are functions whose limits need no more words."""
        super().__init__(plan, presence, shutdown)
        self._watch = SharedWatch(plan.folder.path, files_of(plan.folder, plan.queues))
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
        self, plan: Plan, parent: str, number: int, watch: SharedWatch, ended: Callable[[], None], told: set[str]
    ) -> None:
        """Start place ``number`` of the pool of the worker ``parent``; ``ended`` is called by the thread at its end."""
        self._presence: Presence = take_name_of_child(plan, parent, number)
        self.name = self._presence.name
        self.board: Board = ThreadBoard(told, watch)
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
            self._watch.hand_over()
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
