"""When a task that failed is tried again, and when no more.

It is told numbers and answers with numbers; it knows no clock, no task and no file.
"""

from __future__ import annotations

import random

DEFAULT_MAX_RETRIES = 3
DEFAULT_RETRY_DELAY = 180.0
"""Seconds, as in Celery (docs.celeryq.dev/en/stable/reference/celery.app.task.html)."""


def backoff(retries: int, factor: float, longest: float, *, jitter: bool) -> float:
    """Return the seconds to wait before the next try, after ``retries`` of them were made: doubled each time.

    With ``jitter`` it is a random part of that, so that tasks that failed together do not come back together.
    """
    doubled = factor * 2 ** min(retries, 64)
    wait = min(longest, doubled)
    return random.uniform(0.0, wait) if jitter else wait  # noqa: S311  (no secret)


def is_exhausted(retries: int, max_retries: int | None) -> bool:
    """Say whether the task must not ask again; None is for ever."""
    return max_retries is not None and retries >= max_retries
