"""Calls that must survive a power cut, posted by one process: ``python -m tests.benchmarks.durable HOW THREADS BATCH SECONDS``.

``HOW`` is ``durable``, or ``plain`` for the same calls without that; PMTQ_BROKER_URL names the folder. Each of so many
threads posts empty tasks for so long, ``BATCH`` in one call; printed is how many tasks a second that were, of all threads.
With ``fsync`` in the place of ``HOW`` nothing of pmtq is used: a line is written to a file, and synced, again and again.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

LINE = b"x" * 99 + b"\n"
"""About as long as the record of an empty task."""


def posting(durable: bool, batch: int) -> Callable[[], object]:
    """Return what posts once."""
    from tests.benchmarks.tasks import app, nothing

    if batch == 1:
        return partial(nothing.apply_async, durable=durable)
    return partial(app.send_tasks, [(nothing, (), {}, {"durable": durable})] * batch)


def syncing() -> Callable[[], object]:
    """Return what writes a line and waits for the disk, in the folder where the queue would be."""
    folder = os.environ["PMTQ_BROKER_URL"].removeprefix("file://")
    descriptor = os.open(f"{folder}/lines", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return lambda: (os.write(descriptor, LINE), os.fsync(descriptor))


def rate(post: Callable[[], object], threads: int, batch: int, seconds: float) -> float:
    """Return how many tasks a second ``threads`` threads post, ``batch`` with each call of ``post``."""
    post()
    counts: list[int] = []
    begun = time.perf_counter()

    def body() -> None:
        count = 0
        while time.perf_counter() - begun < seconds:
            post()
            count += batch
        counts.append(count)

    running = [threading.Thread(target=body) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / (time.perf_counter() - begun)


def main(how: str, threads: str, batch: str, seconds: str) -> None:
    """Do what the command line says and print the rate."""
    post = syncing() if how == "fsync" else posting(how == "durable", int(batch))
    print(json.dumps(rate(post, int(threads), int(batch), float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
