"""Decides how many children a pool should have: more when all are busy and work waits, fewer when some have long been idle.

It is told what is the case and knows no process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

KEEPALIVE = float(os.environ.get("AUTOSCALE_KEEPALIVE", "30"))
"""Seconds for which a child must not have been needed before it goes; Celery's name and value."""
LOOK = 0.25
"""Seconds between two looks at whether more are needed."""


class Autoscaler:
    """Keeps the number of children between two bounds."""

    def __init__(self, most: int, fewest: int) -> None:
        """Take the bounds."""
        self._most, self._fewest = most, fewest
        self._since = math.nan
        self._spare = 0
        """So many children at least were idle at every look ``_since`` then."""

    def size(self, children: int, busy: int, work_waits: Callable[[], bool], now: float) -> int:
        """Return how many there should be, when ``busy`` of ``children`` are at work; ``now`` is in seconds.

        ``work_waits`` is asked only when it matters. Growing doubles the number, so that a rush is met within a second.
        """
        if not self._fewest <= children <= self._most:
            return min(max(children, self._fewest), self._most)
        if busy >= children:
            self._since = math.nan
            return min(self._most, max(1, 2 * children)) if children < self._most and work_waits() else children
        idle = children - busy
        if math.isnan(self._since):
            self._since, self._spare = now, idle
        self._spare = min(self._spare, idle)
        if now - self._since < KEEPALIVE:
            return children
        self._since = math.nan
        return max(self._fewest, children - self._spare)
