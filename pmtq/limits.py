"""Raises ``SoftTimeLimitExceeded`` in what takes too long, so that it can clean up, and even return a value.

1. A function is interrupted by the system's timer, wherever it is; only a main thread hears that. A coroutine is
   interrupted where it waits.
2. Once the call has ended its limit can no longer strike: neither in what follows nor in the next task.

It does not know tasks. A hard limit is no business of the process that it ends: see ``worker.overtime``.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, TypeVar

from pmtq.exceptions import SoftTimeLimitExceeded

R = TypeVar("R")
_SHORTEST = 1e-6
"""Seconds; a timer set to none would never ring."""
_LONGEST = 1e9
"""Seconds; about what a system's timer can hold."""


def can_interrupt_functions() -> bool:
    """Say whether a soft limit can be kept here: in the main thread, on a system with timers."""
    return threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")


@contextmanager
def soft_limit(seconds: float) -> Iterator[None]:
    """Raise ``SoftTimeLimitExceeded`` in the block after ``seconds``, where ``can_interrupt_functions``; else do nothing."""
    if not can_interrupt_functions():
        yield
        return
    alarm, began = _Alarm(seconds), time.monotonic()
    handler = signal.signal(signal.SIGALRM, alarm)
    outer, _ = signal.setitimer(signal.ITIMER_REAL, min(max(seconds, _SHORTEST), _LONGEST))
    try:
        yield
    finally:
        alarm.is_over = True  # first: the signal may be on its way while the timer is being stopped
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        if handler is not None:  # somebody may have set it outside of Python
            signal.signal(signal.SIGALRM, handler)
        if outer:  # there is one alarm clock in a process; whoever had set it finds it going on
            signal.setitimer(signal.ITIMER_REAL, max(outer - (time.monotonic() - began), _SHORTEST))


def interruptible(coroutine: Coroutine[Any, Any, R], seconds: float) -> Awaitable[R]:
    """Return an awaitable for ``coroutine`` that raises ``SoftTimeLimitExceeded`` in it after ``seconds``."""
    return _Interruptible(coroutine, seconds)


class _Alarm:
    """A handler of the timer's signal that rings until it ``is_over``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.is_over = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if not self.is_over:
            raise _exceeded(self._seconds)


class _Interruptible(Awaitable[R]):
    """Passes on what a coroutine waits for; makes of the cancellation by its own timer the exception that is wanted.

    ``asyncio.timeout`` would cancel the coroutine, which then could not tell why, nor go on.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, R], seconds: float) -> None:
        self._coroutine = coroutine
        self._seconds = seconds
        self._struck = False

    def __await__(self) -> Generator[Any, Any, R]:
        task = asyncio.current_task()
        assert task
        timer = asyncio.get_running_loop().call_later(self._seconds, self._strike, task)
        go_on: Callable[[], Any] = partial(self._coroutine.send, None)
        try:
            while True:
                try:
                    waited_for = go_on()
                except StopIteration as end:
                    value: R = end.value
                    return value
                go_on = yield from self._wait(waited_for, task)
        finally:
            timer.cancel()

    def _wait(self, waited_for: Any, task: asyncio.Task[Any]) -> Generator[Any, Any, Callable[[], Any]]:
        """Wait, and return the next step of the coroutine."""
        try:
            return partial(self._coroutine.send, (yield waited_for))
        except asyncio.CancelledError as error:
            if not self._struck:
                return partial(self._coroutine.throw, error)
            self._struck = False
            task.uncancel()
            return partial(self._coroutine.throw, _exceeded(self._seconds))
        except BaseException as error:  # noqa: BLE001  (whatever it is, it is the coroutine's)
            return partial(self._coroutine.throw, error)

    def _strike(self, task: asyncio.Task[Any]) -> None:
        self._struck = True
        task.cancel()


def _exceeded(seconds: float) -> SoftTimeLimitExceeded:
    return SoftTimeLimitExceeded(f"it ran longer than its soft time limit of {seconds:g} s")
