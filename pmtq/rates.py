"""Reads how often a task may start, as Celery writes it, and answers with the seconds between two starts.

    >>> interval("10/m")
    6.0

It knows no task and no clock.
"""

from __future__ import annotations

import math

from pmtq.exceptions import ImproperlyConfigured

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def interval(rate: str | float | None) -> float:
    """Return the seconds from one start to the next, 0.0 if there is no limit.

    ``rate`` is ``"10/s"``, ``"10/m"`` or ``"10/h"``; a bare number, also as text, is per second; None, 0 and empty text
    are no limit. Raises ``ImproperlyConfigured`` for anything else.
    """
    if rate is None or rate == "":
        return 0.0
    number, _, unit = str(rate).partition("/")
    try:
        starts, seconds = float(number), _SECONDS[unit.strip() or "s"]
    except (ValueError, KeyError):
        raise _no_rate(rate) from None
    if isinstance(rate, bool) or starts < 0 or not math.isfinite(starts):
        raise _no_rate(rate)
    return seconds / starts if starts else 0.0


def _no_rate(rate: object) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"rate limit {rate!r} is none, and was not set. Write starts per second, minute or hour as '10/s', '10/m' or '10/h', "
        "a bare number per second, or None for no limit"
    )
