"""The client's side of a measurement, in a process of its own: ``python -m tests.benchmarks.client NAME FOLDER WHAT …``.

``enqueue SECONDS``            posts empty tasks one by one for so long, and prints how many a second that were
``fill N``                     posts N of them and prints nothing of interest
``round-trip N SECONDS PAUSE`` posts one and waits for its result, up to N times and for so long, with a pause before
                               each; prints each one's seconds
``fill-when-told N GATE``      says in the folder ``GATE`` that it is there, and posts N as soon as a file ``go`` is there

What is printed is one line of JSON. Each contender has a function here that returns its two calls.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

BLOCK = 20
"""Tasks posted between two looks at the clock."""
WARM_UP = 5
"""Calls that are not counted: they open files and connections."""
PATIENCE = 5.0
"""Seconds to wait for one result before giving up."""
LONGEST = 120.0
"""Seconds to wait for the others."""


class Calls(NamedTuple):
    """What a client does with a queue."""

    post: Callable[[], Any]
    post_and_get: Callable[[], Any]


def of_pmtq(folder: Path) -> Calls:
    """Call pmtq; PMTQ_BROKER_URL names the folder."""
    from tests.benchmarks.tasks import nothing

    return Calls(nothing.delay, lambda: nothing.delay().get(PATIENCE))


def of_pmtq_urgently(folder: Path) -> Calls:
    """Call pmtq with the highest priority, so that nothing that waits is in the way."""
    from tests.benchmarks.tasks import nothing

    def post() -> Any:
        return nothing.apply_async(priority=9)

    return Calls(post, lambda: post().get(PATIENCE))


def of_prototype(folder: Path) -> Calls:
    """Call the prototype."""
    from tests.benchmarks.prototype import Client

    client = Client(folder)
    return Calls(lambda: client.post("nothing"), lambda: client.get(client.post("nothing")))


def of_celery(folder: Path) -> Calls:
    """Call Celery; where it stores results in files it looks for them often, instead of twice a second."""
    from tests.benchmarks.celery_app import nothing

    return Calls(nothing.delay, lambda: nothing.delay().get(PATIENCE, interval=0.005))


def of_huey(folder: Path) -> Calls:
    """Call Huey; it looks for a result every 5 ms, instead of every 50."""
    from tests.benchmarks.huey_app import nothing

    return Calls(nothing, lambda: nothing().get(blocking=True, timeout=PATIENCE, max_delay=0.005))


CLIENTS = {
    "pmtq": of_pmtq,
    "pmtq-urgent": of_pmtq_urgently,
    "prototype": of_prototype,
    "celery": of_celery,
    "huey": of_huey,
}


def enqueue(calls: Calls, seconds: float) -> float:
    """Return how many tasks a second were posted, one call each."""
    post, posted = calls.post, 0
    post()
    begun = time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        for _ in repeat(None, BLOCK):
            post()
        posted += BLOCK
    return posted / spent


def fill(calls: Calls, tasks: int) -> int:
    """Post ``tasks`` tasks."""
    for _ in repeat(None, tasks):
        calls.post()
    return tasks


def fill_when_told(calls: Calls, tasks: int, gate: str) -> int:
    """Post ``tasks`` tasks at the moment in which others do; raises ``TimeoutError`` if it does not come."""
    (Path(gate) / str(os.getpid())).touch()
    deadline = time.monotonic() + LONGEST
    while not (Path(gate) / "go").exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody said go within {LONGEST:g} s")
        time.sleep(0.001)
    return fill(calls, tasks)


def round_trip(calls: Calls, trips: int, seconds: float, pause: float) -> list[float]:
    """Return the seconds from each call to its result."""
    for _ in repeat(None, WARM_UP):
        calls.post_and_get()
    taken: list[float] = []
    enough = time.perf_counter() + seconds
    while len(taken) < trips and time.perf_counter() < enough:
        if pause:
            time.sleep(pause)
        begun = time.perf_counter()
        calls.post_and_get()
        taken.append(time.perf_counter() - begun)
    return taken


def main(name: str, folder: str, what: str, *numbers: str) -> None:
    """Do what the command line says and print the outcome."""
    calls = CLIENTS[name](Path(folder))
    measure: dict[str, Callable[..., Any]] = {
        "enqueue": enqueue,
        "fill": fill,
        "fill-when-told": fill_when_told,
        "round-trip": round_trip,
    }
    print(json.dumps(measure[what](calls, *map(_number, numbers))))


def _number(text: str) -> float | str:
    """Return the number that a text is, or the text: a path begins with a slash."""
    if text.startswith("/"):
        return text
    return float(text) if "." in text else int(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
