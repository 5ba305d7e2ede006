"""A great many tasks in rounds, while clients revoke, forget and read: the files stay short, and so does what workers remember.

    python -m tests.crash.rounds --tasks 1000000 --rounds 10 FOLDER

1. In each round two clients post its share in batches; four workers run it, and the round is over when all of it has run.
2. Meanwhile a third client posts single calls, reads and forgets their results, revokes others, and reads what ended in the
   round before, from a file that was sealed meanwhile.
3. What ran is counted in ``runs.log``, which the tasks write and pmtq does not.

It runs in a process without threads, because it forks.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from pmtq.exceptions import TaskRevokedError
from pmtq.folder import Folder
from pmtq.states import PENDING, SUCCESS
from tests.benchmarks.processes import peak_megabytes
from tests.crash import worker_process
from tests.crash.storm import forked

WORKERS, CLIENTS, BATCH = 4, 2, 500
EXPIRES = 20.0
"""Seconds that results are kept: with the usual day, files would rightly grow all the time."""
WHIMS = 10
"""So often does the third client in each round what clients do besides posting."""
PATIENCE = 120.0
"""Seconds for a round, and for any result; more means that it hangs."""
LOOK = 0.02
"""Seconds between two looks at the sizes of the files."""
UNSEALED = 60.0
"""Megabytes that a folder may hold of which nothing has been cleared yet."""
MOST_MEMORY = 100.0
"""Megabytes that a worker may need."""


@dataclass
class Report:
    """What came of it."""

    tasks: int = 0
    lost: int = 0
    doubled: int = 0
    unexpected: int = 0
    sizes: list[float] = field(default_factory=list)
    """For each round the most that the folder held, in megabytes."""
    memory: float = 0.0
    """The most that a worker has needed, in megabytes; Linux alone tells that."""
    first: str = ""
    """The first thing that went wrong."""

    def wrong(self, kind: str, what: str) -> None:
        """Count one."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.first = self.first or f"{kind}: {what}"

    @property
    def faults(self) -> int:
        """Return how often a promise was broken."""
        return self.lost + self.doubled + self.unexpected


class Rounds:
    """The processes, and what is seen of them."""

    def __init__(self, path: Path, tasks: int, rounds: int) -> None:
        """Prepare ``rounds`` rounds of ``tasks`` tasks together in ``path``, which is an empty folder."""
        self.path, self.share, self.rounds = path, tasks // rounds, rounds
        self.folder = Folder(path / "queue_dir")
        self.report = Report()
        self._workers: list[int] = []

    def run(self, progress: Callable[[str], object]) -> Report:
        """Run it all, and return what came of it."""
        try:
            for number in range(WORKERS):
                self._workers.append(forked(partial(worker_process.main, str(self.folder.path), f"w{number}")))
            for number in range(self.rounds):
                self._round(number)
                progress(f"{number + 1} of {self.rounds} rounds, at most {max(self.report.sizes):.0f} MB")
        finally:
            self._end_workers()
        heir = forked(partial(worker_process.main, str(self.folder.path), "heir", "burst"))  # it finds nothing to run
        os.waitpid(heir, 0)
        self._count()
        return self.report

    def _round(self, number: int) -> None:
        (self.path / f"begun-{number}").touch()
        clients = [forked(partial(post, self.folder.path, labels)) for labels in self._labels(number)]
        clients.append(forked(partial(have_whims, self.folder.path, number)))
        self.report.sizes.append(0.0)
        deadline = time.monotonic() + PATIENCE
        owed = (number + 1) * (self.share + WHIMS)
        while (clients or self._ran() < owed) and time.monotonic() < deadline:
            self.report.sizes[-1] = max(self.report.sizes[-1], megabytes_in(self.folder.path))
            clients = [pid for pid in clients if not self._has_ended(pid, number)]
            time.sleep(LOOK)
        for pid in clients:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self.report.wrong("unexpected", f"a client of round {number} was not through after {PATIENCE:g} s")

    def _labels(self, number: int) -> list[list[str]]:
        """Return the labels of a round, of each client its own."""
        return [[label_of("r", number, one) for one in range(client, self.share, CLIENTS)] for client in range(CLIENTS)]

    def _ran(self) -> int:
        """Return how many tasks have run, at no great cost."""
        with suppress(FileNotFoundError):
            return (self.path / "runs.log").stat().st_size // len(label_of("r", 0, 0) + "\n")
        return 0

    def _has_ended(self, pid: int, number: int) -> bool:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done and status:
            self.report.wrong("unexpected", f"a client of round {number} ended with status {status}; it said why")
        return bool(done)

    def _end_workers(self) -> None:
        for pid in self._workers:
            self.report.memory = max(self.report.memory, peak_megabytes(pid) if sys.platform == "linux" else 0.0)
            os.kill(pid, signal.SIGTERM)
        for pid in self._workers:
            if status := os.waitpid(pid, 0)[1]:
                self.report.wrong("unexpected", f"a worker was asked to end, and ended with status {status}")
        if self.report.memory > MOST_MEMORY:
            self.report.wrong("unexpected", f"a worker has needed {self.report.memory:.0f} MB")
        half = len(self.report.sizes) // 2
        if half > 1 and max(self.report.sizes[half:]) > max(UNSEALED, 2 * max(self.report.sizes[:half])):
            self.report.wrong("unexpected", f"the folder grows: {self.report.sizes} MB in the rounds")

    def _count(self) -> None:
        """Compare what ran with what was asked for."""
        ran = Counter((self.path / "runs.log").read_text().splitlines())
        for number in range(self.rounds):
            singles = [label_of("s", number, one) for one in range(WHIMS)]
            for label in chain(singles, *self._labels(number)):
                self.report.tasks += 1
                if (times := ran.pop(label, 0)) != 1:
                    self.report.wrong("doubled" if times else "lost", f"{label} ran {times} times")
        for label in ran:
            self.report.wrong("unexpected", f"{label} ran, and should not")


# The clients


def post(path: Path, labels: list[str]) -> None:
    """Post a task for each label."""
    app = worker_process.make_app(path)
    for start in range(0, len(labels), BATCH):
        app.send_tasks([("tasks.log", [one], {}, {"task_id": one}) for one in labels[start : start + BATCH]])


def have_whims(path: Path, number: int) -> None:
    """Do what clients do besides posting many; raises ``AssertionError`` if an answer is not as it should be."""
    app, chance = worker_process.make_app(path), random.Random(number)
    log = app.tasks["tasks.log"]
    kept = label_of("s", number, 0)
    for one in range(WHIMS):
        label = label_of("s", number, one)
        single = log.apply_async([label], task_id=label, priority=chance.choice([0, 9]))
        called_off = log.apply_async(["called off"], countdown=2 * PATIENCE)
        called_off.revoke()
        assert single.get(PATIENCE) == single.id
        with suppress(TaskRevokedError):
            raise AssertionError(f"what was called off gave {called_off.get(PATIENCE)!r}")
        if label != kept:
            single.forget()
            assert single.state == PENDING, f"{label} is {single.state} after it was forgotten"
    before = label_of("s", number - 1, 0)
    if number and (state := app.AsyncResult(before).state) != SUCCESS:
        age = time.time() - (path.parent / f"begun-{number - 1}").stat().st_mtime
        assert age > EXPIRES, f"{before} is {state} {age:.1f} s after its round had begun"


# What is seen from outside


def megabytes_in(folder: Path) -> float:
    """Return how much the files in a folder hold, in units of 1,000,000 bytes."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # it has just been cleared away
            size += path.stat().st_size
    return size / 1e6


def label_of(kind: str, round_number: int, number: int) -> str:
    """Return the id of a task; all are equally long, so that the size of the log tells how many have run."""
    return f"{kind}{round_number:02}-{number:06}"


def main() -> int:
    """Run it, and print the report as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.rounds", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=10)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    os.environ["PMTQ_RESULT_EXPIRES"] = str(EXPIRES)
    logging.disable(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its processes are ended
    report = Rounds(chosen.folder, chosen.tasks, chosen.rounds).run(
        lambda text: print(text, file=sys.stderr, flush=True)
    )
    print(json.dumps(asdict(report)))
    return int(report.faults > 0)


if __name__ == "__main__":
    sys.exit(main())
