"""Clients and a worker that are at work when the power goes: ``power_load.py FOLDER SEED CALLS NOTES_FD``.

Each client is a thread with a name of one letter, and numbers its calls: ``d0``, ``d1`` … What it has its answer about, it
says at once in the pipe of notes, one line a call. What the file system would bring to the disk by itself some time, in any
order, is brought there here from time to time: any one file of the folder.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pmtq import PMTQ, sealing
from pmtq.exceptions import LockHeld
from pmtq.presence import Presence
from pmtq.worker.consumer import Consumer

LATER = "2099-01-01"
QUEUES = ["celery", "plain"]
BATCH = 10
PROMISED = frozenset("dfbe")
"""The clients whose calls are durable: single calls of two threads that share an app, batches, calls for later."""
IN_TURN = frozenset("np")
"""Those whose calls are not: into the queue where the others are durable, and into one where none is."""


def make_app(path: Path, durable: bool = False) -> PMTQ:
    """Return an app on the folder ``path`` whose task returns its argument."""
    app = PMTQ("tasks", broker=f"file://{path}", durable=durable)

    @app.task(name="tasks.echo")
    def echo(value):
        return value

    return app


class Load:
    """The clients and the worker on one folder."""

    def __init__(self, path: Path, seed: int, calls: int, notes: int) -> None:
        self.path, self.calls, self.notes, self.seed = path, calls, notes, seed
        self.durable = make_app(path, durable=True)
        self.left = threading.Semaphore(0)
        self.failures: list[str] = []

    def answered(self, *names: str) -> None:
        """Say of whom the caller knows that they are queued."""
        os.write(self.notes, "".join(f"{name}\n" for name in names).encode())

    def one_by_one(self, letter: str, app: PMTQ, **options: str) -> None:
        """Post calls, one each; bring something to the disk now and then if the caller does not wait for it."""
        chance = random.Random(f"{self.seed}{letter}")
        for number in range(self.calls):
            name = f"{letter}{number}"
            app.tasks["tasks.echo"].apply_async([name], task_id=name, **options)
            self.answered(name)
            if not app.durable and chance.random() < 0.1:
                self.bring_something_to_the_disk(chance)

    def many_at_once(self) -> None:
        """Post calls in batches."""
        names = [f"b{number}" for number in range(self.calls)]
        for start in range(0, self.calls, BATCH):
            some = names[start : start + BATCH]
            self.durable.send_tasks([("tasks.echo", [name], {}, {"task_id": name}) for name in some])
            self.answered(*some)

    def bring_something_to_the_disk(self, chance: random.Random) -> None:
        """Do what the kernel does by itself within half a minute."""
        files = sorted(path for path in self.path.rglob("*.jsonl") if path.is_file())
        with suppress(FileNotFoundError):  # the worker has cleared it away
            descriptor = os.open(chance.choice(files), os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def work(self) -> None:
        """Run what is there and clear away what is done with, until the clients are through."""
        sealing.SEAL_BYTES = sealing.IDLE_SEAL_BYTES = 0
        app, chance = make_app(self.path), random.Random(self.seed)
        here = Presence(app.folder, "w", {"name": "w", "pid": os.getpid()})
        while True:
            through = self.left.acquire(blocking=False)
            consumer = Consumer(app.folder, here, QUEUES, app.tasks)
            consumer.run(burst=True)
            for _ in range(3):
                with suppress(LockHeld):  # the next time, as in a worker
                    consumer._claimer.tidy(time.time() + sealing.GRACE + 1, idle=chance.random() < 0.5)
            if through:
                break
        here.leave()

    def run(self) -> int:
        """Have them all at work at once; return how many of them failed."""
        hasty = [make_app(self.path) for _ in IN_TURN]
        clients = [
            self._thread(self.one_by_one, "d", self.durable),
            self._thread(self.one_by_one, "f", self.durable),
            self._thread(self.many_at_once),
            self._thread(self.one_by_one, "e", make_app(self.path, durable=True), eta=LATER),
            self._thread(self.one_by_one, "n", hasty[0]),
            self._thread(self.one_by_one, "p", hasty[1], queue="plain"),
        ]
        worker = self._thread(self.work)
        for client in clients:
            client.join()
        self.left.release()
        worker.join()
        return len(self.failures)

    def _thread(self, body: Callable[..., None], *args: object, **options: str) -> threading.Thread:
        def guarded() -> None:
            try:
                body(*args, **options)
            except BaseException as error:
                self.failures.append(repr(error))
                raise

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread


if __name__ == "__main__":
    sys.exit(Load(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])).run())
