"""Celery, doing the same tasks; where it works is told by the environment, see ``peers``."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery

from tests.benchmarks import history

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BACKEND"])
app.conf.worker_disable_rate_limits = True
if folder := os.environ.get("BENCH_FOLDER"):
    app.conf.broker_transport_options = {
        "data_folder_in": f"{folder}/messages",
        "data_folder_out": f"{folder}/messages",
        "control_folder": f"{folder}/control",
        "polling_interval": 0.005,  # the default of a second would make every round trip take as long
    }
if visibility := os.environ.get("BENCH_VISIBILITY"):
    app.conf.broker_transport_options = {
        "visibility_timeout": int(visibility),
        "unacked_restore_interval": 1,  # with these two as installed it looks every 100 s, however short the timeout
        "unacked_restore_throttle": 1,
    }


@app.task(name="nothing")
def nothing() -> None:
    """Do nothing."""


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


@app.task(name="mark", acks_late=True, reject_on_worker_lost=True)
def mark(task: str, seconds: float) -> None:
    """Note start and end; acknowledged after its end, and given back when its pool process dies."""
    history.mark(task, seconds)
