"""Tells the time, in the one place where a test can move it.

    >>> from pmtq.clock import moved_clock, now
    >>> with moved_clock(at="2027-01-01T07:00:00Z") as clock:
    ...     clock.advance(60)
    ...     now()
    1798786860.0

1. ``now()`` is the system's time, unless it was moved. A moved clock stands still until it is moved on.
2. Whoever waits for a time is woken by every move, and looks again.
3. It moves for this process alone, in all its threads. What something takes, and how long to wait for an answer, is
   measured by clocks that nobody moves (``time.perf_counter``, ``time.monotonic``).

It knows nothing else of pmtq.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

_moved: Clock | None = None
_sleepers: list[Callable[[], object]] = []


def now() -> float:
    """Return the time in seconds since 1970."""
    clock = _moved  # read once: another thread may just be putting it back
    return time.time() if clock is None else clock.now()


@contextmanager
def moved_clock(at: datetime | str | float | None = None) -> Iterator[Clock]:
    """Let a clock that stands at ``at`` tell the time until the block ends.

    ``at`` is a ``datetime`` (a naive one is UTC), RFC 3339 text or seconds since 1970; None is the present moment.
    """
    global _moved  # noqa: PLW0603  (this is the one place that has the time)
    before, _moved = _moved, Clock(now() if at is None else at)
    wake_sleepers()
    try:
        yield _moved
    finally:
        _moved = before
        wake_sleepers()


@contextmanager
def woken_by_moves(wake: Callable[[], object]) -> Iterator[None]:
    """Have ``wake()`` called whenever the clock is moved, in the thread that moves it, until the block ends."""
    _sleepers.append(wake)
    try:
        yield
    finally:
        _sleepers.remove(wake)


def wake_sleepers() -> None:
    """Make all who wait for a time look at the clock."""
    for wake in tuple(_sleepers):
        wake()


class Clock:
    """A clock that stands still until it is moved; any thread may do that."""

    def __init__(self, at: datetime | str | float) -> None:
        """Stand at ``at``; see ``moved_clock``, which makes others look at it."""
        self._lock = threading.Lock()
        self._now = _seconds(at)

    def now(self) -> float:
        """Return the time it shows, in seconds since 1970."""
        return self._now

    def advance(self, by: timedelta | float) -> None:
        """Go on by so many seconds; a negative number goes back, as a clock does that is set right."""
        with self._lock:
            self._now += by.total_seconds() if isinstance(by, timedelta) else by
        wake_sleepers()

    def move_to(self, at: datetime | str | float) -> None:
        """Show the time ``at``, forward or back."""
        with self._lock:
            self._now = _seconds(at)
        wake_sleepers()


def _seconds(at: datetime | str | float) -> float:
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if isinstance(at, datetime):
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return float(at)
