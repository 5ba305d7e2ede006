"""A worker as a process of its own, for tests that end it: worker_process.py FOLDER NAME [burst]."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from pmtq import PMTQ
from pmtq.presence import Presence
from pmtq.worker.consumer import Consumer


def make_app(path: Path) -> PMTQ:
    """Return an app on the folder ``path``, whose tasks leave a line in ``runs.log`` beside it."""
    app = PMTQ("tasks", broker=f"file://{path}")
    log_path = path.parent / "runs.log"
    descriptor = -1

    def note(entry: str) -> None:
        nonlocal descriptor
        if descriptor < 0:
            descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{entry}\n".encode())

    @app.task(name="tasks.log")
    def log(entry, seconds=0.0):
        note(entry)
        if seconds:
            time.sleep(seconds)
        return entry

    def die(entry):
        note(entry)
        os.kill(os.getpid(), signal.SIGKILL)

    app.task(name="tasks.die")(die)
    app.task(name="tasks.die_once", acks_late=False)(die)

    @app.task(name="tasks.hang")
    def hang(entry, until):
        note(entry)
        while not os.path.exists(until):
            time.sleep(0.002)
        return entry

    return app


def main(path: str, name: str, *options: str) -> None:
    """Work until SIGTERM; with ``burst`` until nothing is left to run."""
    app = make_app(Path(path))
    here = Presence(app.folder, name, {"name": name, "pid": os.getpid()})
    consumer = Consumer(app.folder, here, ["celery"], app.tasks)
    signal.signal(signal.SIGTERM, lambda *_: consumer.stop())
    consumer.run(burst="burst" in options)
    here.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
