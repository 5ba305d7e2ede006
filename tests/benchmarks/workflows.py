"""The client's side of a workflow's measurement, in a process of its own: ``python -m tests.benchmarks.workflows NAME …``.

``chord TIMES SIZE WORKERS DIARY``  calls a chord of ``SIZE`` plain tasks and a body, which writes a line into that file
``chain TIMES SIZE WORKERS``        calls a chain of ``SIZE`` steps

``NAME`` is that of a queue in ``TASKS``. When all workers have answered and one small workflow has gone through, the
clock runs from each call to its value. That is compared with what it must be, and the mean of the seconds is printed.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from statistics import fmean
from typing import Any, NamedTuple

TASKS = {"pmtq": "tests.benchmarks.tasks", "celery": "tests.benchmarks.celery_app"}
"""Where the tasks are; the names in there, and those of chains and chords, are the same for both."""
PATIENCE = 120.0
"""Seconds to wait for a value before giving up."""
START = 30.0
"""Seconds to wait for the workers."""
WARM_UP = 10
"""The size of the workflow that is not counted: it opens files and connections."""


class Workflow(NamedTuple):
    """What is called, and what must come out of it."""

    name: str
    call: Any
    value: int


def chord_of(queue: str, size: int, diary: str) -> Workflow:
    """Return a chord of tasks that return 0, 1, 2 …, and of a body that sums these up."""
    tasks = import_module(TASKS[queue])
    header = [tasks.same.s(number) for number in range(size)]
    return Workflow(f"a chord of {size:,}", import_module(queue).chord(header, tasks.total.s(diary)), sum(range(size)))


def chain_of(queue: str, size: int) -> Workflow:
    """Return a chain of steps that each add 1, from 0 on."""
    tasks = import_module(TASKS[queue])
    steps = [tasks.increment.s(0), *(tasks.increment.s() for _ in range(size - 1))]
    return Workflow(f"a chain of {size:,}", import_module(queue).chain(*steps), size)


def wait_for_workers(queue: str, workers: int) -> None:
    """Wait until so many workers answer; raises ``TimeoutError``."""
    control, deadline = import_module(TASKS[queue]).app.control, time.monotonic() + START
    while (answered := len(control.ping())) < workers:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{answered} of {workers} workers answered within {START:g} s")
        time.sleep(0.05)


def seconds(workflow: Workflow) -> float:
    """Return the seconds from the call to the value; raises ``RuntimeError`` if none comes, or another."""
    begun = time.perf_counter()
    try:
        value = workflow.call.apply_async().get(timeout=PATIENCE)
    except Exception as error:
        spent = time.perf_counter() - begun
        raise RuntimeError(
            f"{workflow.name} had no value after {spent:.0f} s: {type(error).__name__} {error}"
        ) from error
    spent = time.perf_counter() - begun
    if value != workflow.value:
        raise RuntimeError(f"the value of {workflow.name} is {value!r:.80} instead of {workflow.value}")
    return spent


def main(queue: str, what: str, times: str, size: str, workers: str, *diary: str) -> None:
    """Do what the command line says and print the seconds."""
    make = {"chord": chord_of, "chain": chain_of}[what]
    wait_for_workers(queue, int(workers))
    seconds(make(queue, WARM_UP, *(f"{path}-warm-up" for path in diary)))
    print(json.dumps(fmean(seconds(make(queue, int(size), *diary)) for _ in range(int(times)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
