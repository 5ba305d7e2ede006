"""A worker as a process of its own, for tests that end it: worker_process.py FOLDER NAME [burst]."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from pathlib import Path

from pmtq import PMTQ
from pmtq.presence import Presence
from pmtq.worker.consumer import Consumer
from pmtq.worker.ending import unblock_signals


def make_app(path: Path) -> PMTQ:
    """Return an app on the folder ``path``, whose tasks leave a line in ``runs.log`` beside it, or two in ``history.log``."""
    app = PMTQ("tasks", broker=f"file://{path}")
    log_path = path.parent / "runs.log"
    history_path = path.parent / "history.log"

    @functools.cache
    def open_once(log: Path) -> int:
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(entry: str) -> None:
        os.write(open_once(log_path), f"{entry}\n".encode())

    @app.task(name="tasks.log")
    def log(entry, seconds=0.0):
        note(entry)
        if seconds:
            time.sleep(seconds)
        return entry

    @app.task(name="tasks.tell", bind=True)
    def tell(self, entry, seconds=0.0):
        history = open_once(history_path)
        os.write(history, f"B {entry} {self.request.hostname} {time.time_ns()}\n".encode())
        if seconds:
            time.sleep(seconds)
        os.write(history, f"E {entry} {self.request.hostname} {time.time_ns()}\n".encode())
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
    unblock_signals()
    consumer.run(burst="burst" in options)
    here.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
