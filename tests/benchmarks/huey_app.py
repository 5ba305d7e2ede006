"""Huey, doing the same empty task; where it works is told by the environment, see ``peers``."""

from __future__ import annotations

import os

from tests.benchmarks import history
from tests.benchmarks.peers import open_huey

huey = open_huey(os.environ["BENCH_STORAGE"], os.environ["BENCH_PLACE"])


@huey.task(name="nothing")
def nothing() -> None:
    """Do nothing."""


@huey.task(name="mark")
def mark(task: str, seconds: float) -> None:
    """Note start and end."""
    history.mark(task, seconds)
