"""The tasks of the long run; its workers and its clients both import this module."""

from __future__ import annotations

from typing import Any

from pmtq import PMTQ

LONG = 1_000_000
"""Characters in a long result."""
RETRY_SECONDS = 0.2

app = PMTQ("tests.benchmarks.soak.tasks")


@app.task(name="same")
def same(value: int) -> int:
    """Return what it is given."""
    return value


@app.task(name="long")
def long(letter: str) -> str:
    """Return that letter a million times."""
    return letter * LONG


@app.task(name="fail")
def fail(text: str) -> None:
    """Raise ``ValueError``."""
    raise ValueError(text)


@app.task(name="again", bind=True, max_retries=None)
def again(self: Any, times: int) -> int:
    """Ask to be tried again so often; return how often it was."""
    if self.request.retries < times:
        raise self.retry(countdown=RETRY_SECONDS)
    return int(self.request.retries)


@app.task(name="total")
def total(values: list[int]) -> int:
    """Return the sum: the body of a chord."""
    return sum(values)
