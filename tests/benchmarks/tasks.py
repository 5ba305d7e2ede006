"""The tasks that the figures are measured with; pmtq's worker and its client both import this module."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pmtq import PMTQ
from tests.benchmarks import history

HOLD_SECONDS = 60.0
"""Longer than anything waits for a worker that holds a task; short enough not to be in the way for ever."""

app = PMTQ("tests.benchmarks.tasks")


@app.task(name="nothing")
def nothing() -> None:
    """Do nothing: all that is measured is the queue."""


@app.task(name="hold")
def hold(diary: str) -> None:
    """Write this process's id into ``diary``; whoever is the first to do so then holds the task until it is killed."""
    path = Path(diary)
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if path.read_text().count("\n") == 1:
        time.sleep(HOLD_SECONDS)


@app.task(name="same")
def same(value: int) -> int:
    """Return what it is given: a member of a chord."""
    return value


@app.task(name="total")
def total(values: list[int], diary: str) -> int:
    """Write a line into ``diary`` and return the sum: the body of a chord."""
    with Path(diary).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return sum(values)


@app.task(name="increment")
def increment(value: int) -> int:
    """Return 1 more: the step of a chain."""
    return value + 1


@app.task(name="mark")
def mark(task: str, seconds: float) -> None:
    """Note start and end."""
    history.mark(task, seconds)
