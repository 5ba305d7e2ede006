"""A child process of a pool: it claims for itself, and its parent only looks after it.

1. It starts clean: no descriptor, thread, lock or signal handler of its parent's is in use in it.
2. It goes when its parent has gone, when it has run as many tasks as it may, or has grown too large; but never in the
   middle of a task.

It does not know who else belongs to the pool.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pmtq import signals
from pmtq.exceptions import PmtqError
from pmtq.fork import put_in_order_after_fork
from pmtq.presence import Presence
from pmtq.worker.alone import wake
from pmtq.worker.board import Board, SharedBoard
from pmtq.worker.consumer import Consumer
from pmtq.worker.ending import (
    POSIX,
    QUIT,
    STACKS,
    QuietEnding,
    Shutdown,
    Stage,
    answer_as_child,
    block_signals,
    catching,
    leave,
    unblock_signals,
)
from pmtq.worker.naming import take_name_of_child
from pmtq.worker.plan import Plan
from pmtq.worker.pool import USED_UP, Child, Pool

logger = logging.getLogger("pmtq.worker")


class Prefork(Pool):
    """A pool of processes."""

    def __init__(
        self,
        plan: Plan,
        presence: Presence,
        shutdown: Shutdown,
        start_method: str = "",
        look_after: Callable[[], None] | None = None,
    ) -> None:
        """Start children by ``start_method``: without one ``fork``, or ``spawn`` where the system has no fork.

        ``look_after`` is called at every look at the children, for a process that is none of them: the scheduler's.
        """
        super().__init__(plan, presence, shutdown)
        self._look_after = look_after
        self._context = multiprocessing.get_context(start_method or ("fork" if hasattr(os, "fork") else "spawn"))

    def _make_child(self, number: int) -> Child:
        return ProcessChild(self.plan, self.name, number, self._context)

    def _look_round(self) -> None:
        super()._look_round()
        if self._look_after and self._shutdown.stage == Stage.WORKING:
            self._look_after()


class ProcessChild:
    """The process, as its parent sees it."""

    def __init__(self, plan: Plan, parent: str, number: int, context: Any) -> None:
        """Start place ``number`` of the pool of the worker ``parent``; raises ``OSError`` if the system has no room."""
        self.name = f"{parent}#{number}"
        self.board: Board = SharedBoard(context)
        self._descriptors: set[int] = set()
        process = context.Process(target=_run, args=(plan, parent, number, os.getpid(), self.board), name=self.name)
        before = _open_descriptors()
        block_signals()  # the child has its own handlers before the first one reaches it
        try:
            process.start()
        finally:
            unblock_signals()
        self._process: BaseProcess = process
        self._descriptors = _open_descriptors() - before
        put_in_order_after_fork(self)
        self.description = f"process {process.pid}"
        logger.debug("%s is %s", self.name, self.description)

    def sentinel(self) -> int | None:
        """Return what becomes readable when it ends."""
        return self._process.sentinel

    def status(self) -> int | None:
        """Return its exit status, negative for a signal; None while it lives."""
        return self._process.exitcode

    def end_gently(self) -> None:
        """Have it end after its running task. Elsewhere the console tells the children, and terminate() is a kill."""
        if POSIX:
            self._process.terminate()

    def break_off(self) -> None:
        """Have it note that its task was called off on purpose, and end."""
        self._signal(QUIT)

    def kill(self, patience: float = 0.0) -> None:
        """End it unless it has ended after ``patience`` seconds; return when it is gone."""
        self._process.join(patience)
        self._process.kill()
        self._process.join()

    def log_stacks(self) -> None:
        """Have it log what it is doing."""
        self._signal(STACKS)

    def close(self) -> None:
        """Give back what belongs to it; it has ended."""
        self._descriptors = set()
        self._process.close()

    def after_fork(self) -> None:
        """Close a younger sibling's copies of the descriptors."""
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _signal(self, number: int | None) -> None:
        if number and self._process.pid and self._process.exitcode is None:
            os.kill(self._process.pid, number)


def resident_kib() -> int:
    """Return how much memory this process has in use; where the system does not tell, the most it ever had."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024
    if not POSIX:
        return 0
    import resource  # noqa: PLC0415  (not everywhere)

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _run(plan: Plan, parent: str, number: int, parent_pid: int, board: Board) -> None:
    """Be the child. Returns when nothing is left in a burst, or when the parent is gone, too."""
    answer_as_child()
    plan.prepare(f"{parent}#{number}")
    try:
        presence = take_name_of_child(plan, parent, number)
    except PmtqError as error:
        logger.error("%s", error)  # noqa: TRY400  (the sentence says it all)
        raise SystemExit(1) from None
    plan.prepare(presence.name)
    signals.worker_process_init.send(presence.name)
    status = 1
    try:
        is_used_up = _work(plan, Consumer(plan.folder, presence, list(plan.queues), plan.load(), board), parent_pid)
        leave(presence)
        status = USED_UP if is_used_up else 0
    except PmtqError as error:
        logger.error("%s", error)  # noqa: TRY400
    finally:
        signals.worker_process_shutdown.send(presence.name, pid=os.getpid(), exitcode=status)
    raise SystemExit(status)


def _work(plan: Plan, consumer: Consumer, parent_pid: int) -> bool:
    """Run tasks; say whether the end came because the process is used up."""
    is_too_large = False

    def still_wanted() -> bool:
        nonlocal is_too_large
        if plan.max_memory_per_child:
            is_too_large = resident_kib() > plan.max_memory_per_child
        return not is_too_large and _lives(parent_pid)

    def stop() -> None:
        consumer.stop()
        wake(plan)  # it may be waiting for the queue files

    if plan.max_tasks_per_child:
        consumer.left = plan.max_tasks_per_child
    ending = QuietEnding(stop, consumer.abandon)
    with catching(ending):
        consumer.run(burst=plan.burst, still_wanted=still_wanted)
    return (is_too_large or not consumer.left) and not ending.was_asked


def _lives(parent_pid: int) -> bool:
    """Say whether the parent of this process is alive."""
    if POSIX:
        return os.getppid() == parent_pid
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()


def _open_descriptors() -> set[int]:
    """Return the numbers of this process's open descriptors, where the system tells them."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return {number for number in map(int, os.listdir(folder)) if _is_open(number)}  # noqa: PTH208
    return set()


def _is_open(descriptor: int) -> bool:
    """Say whether it is; the one with which the list was read is not any more."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
