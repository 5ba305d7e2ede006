"""The rule by which a long run says that something grows, and the table it says it in.

1. Only the second half of the run counts: in the first one caches fill and files come to their usual size.
2. The line through it is Theil and Sen's, whose slope is the median of the slopes between all pairs of points: a
   moment in which the machine was busy, or a file about to be cleared, hardly moves it.
3. A series grows if that line rises by more than its allowance from the start of the half to its end. An allowance is a
   share of the series' median, and at least a fixed amount.

It does not know what is measured, nor how.
"""

from __future__ import annotations

import statistics
from itertools import combinations
from typing import NamedTuple

MOST = 500
"""Points of which all pairs are compared, evenly drawn from more: of a night there would be millions of pairs."""
FEWEST = 4
"""Points in the second half without which nothing can be said."""


class Watched(NamedTuple):
    """One series of a run."""

    name: str
    unit: str
    values: list[float]
    share: float
    """Of the median: the line may rise by so much …"""
    least: float
    """… or by this, if that is more; in ``unit``."""
    falls: bool = False
    """Whether it is a falling line that is bad."""


class Verdict(NamedTuple):
    """What the second half of a series shows."""

    name: str
    unit: str
    median: float
    rise: float
    """From the start of the half to its end, along the line."""
    allowed: float
    grows: bool
    """Or falls, where that is what is bad."""


def slope(times: list[float], values: list[float]) -> float:
    """Return the median of the slopes between all pairs of points."""
    points = zip(times, values, strict=True)
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x2 != x1)


def thinned(values: list[float]) -> list[float]:
    """Return at most ``MOST`` of the values, evenly drawn."""
    step = -(-len(values) // MOST)
    return values[::step] if step > 1 else values


def second_half(times: list[float]) -> int:
    """Return the index of the first moment that counts."""
    middle = (times[0] + times[-1]) / 2 if times else 0.0
    return next((number for number, time in enumerate(times) if time >= middle), 0)


def judge(times: list[float], series: Watched) -> Verdict | None:
    """Return what the second half shows; None if it has too few points."""
    begin = second_half(times)
    late, values = times[begin:], series.values[begin:]
    if len(late) < FEWEST:
        return None
    rise = slope(thinned(late), thinned(values)) * (late[-1] - late[0])
    median = statistics.median(values)
    allowed = max(series.share * median, series.least)
    return Verdict(series.name, series.unit, median, rise, allowed, (-rise if series.falls else rise) > allowed)
