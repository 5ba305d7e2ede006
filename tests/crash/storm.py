"""A storm: eight producers, four workers, and somebody who kills, freezes and ends them at random; then the history is read.

    python -m tests.crash.storm --tasks 10000 --kills 50 --seed 1 FOLDER

1. A task says when it begins and when it ends, and in which worker, in ``history.log``: a file of its own, so that what pmtq
   says of itself is held against something that it did not write.
2. A producer notes each id that it was given. One that is killed may have posted one task more than it has noted.
3. All chance comes from the seed. What the machine makes of it is another matter: the same seed is the same storm on other waves.

It runs in a process without threads, because it forks: a worker is there in milliseconds that way.
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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from pmtq.archive import state_in
from pmtq.folder import Folder
from pmtq.inheritance import MAX_STARTS
from pmtq.records import StateRecord
from pmtq.states import FAILURE, FINAL_STATES, LOST, RELEASED, STARTED, SUCCESS
from pmtq.worker.ending import block_signals, unblock_signals
from tests.crash import worker_process

PRODUCERS, WORKERS = 8, 4
BEGIN, END = "B", "E"
STUCK = 60.0
"""Seconds without any progress after which the rest is given up as lost."""
HASTY = 0.2
"""The share of blows that do not wait for tasks to run."""
LULL = 5.0
"""Seconds after which the others come although no task has run: the workers that are there may all be waiting."""
LOOK = 0.002
"""Seconds between two looks at how far the tasks are."""


class Event(NamedTuple):
    """One line of the history: a task has begun or ended."""

    kind: str
    label: str
    worker: str
    at: int
    """Nanoseconds since 1970."""


@dataclass
class Report:
    """What came of a storm."""

    seed: int = 0
    tasks: int = 0
    kills: int = 0
    """So many processes were ended by SIGKILL …"""
    frozen: int = 0
    """… and so many stopped for a while …"""
    ended: int = 0
    """… and so many asked to end."""
    lost: int = 0
    unexpected: int = 0
    overlapping: int = 0
    doubled: int = 0
    """Runs of a task that had been begun by a worker that nobody killed."""
    reruns: int = 0
    needless: int = 0
    """Runs beyond the one that each kill of a worker explains."""
    unruly: int = 0
    """Tasks whose lines in the results tell no life that a task may have."""
    redelivery: list[float] = field(default_factory=list)
    """Seconds from a kill until the task that it had broken off began again."""
    seconds: float = 0.0
    first: str = ""
    """The first thing that went wrong."""

    @property
    def faults(self) -> int:
        """Return how often a promise was broken."""
        return self.lost + self.unexpected + self.overlapping + self.doubled + self.needless + self.unruly

    def wrong(self, kind: str, what: str) -> None:
        """Count one."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.first = self.first or f"{kind}: {what}"


# The history


def read_history(path: Path) -> Iterator[Event]:
    """Yield the events in the order in which they were written."""
    if path.exists():
        with path.open() as file:
            for line in file:
                kind, label, worker, at = line.split()
                yield Event(kind, label, worker, int(at))


def check_runs(
    history: Iterable[Event], asked: set[str], told: set[str], killed: dict[str, int], report: Report
) -> None:
    """Compare what ran with what was asked for; ``killed`` says when each worker was killed, in nanoseconds since 1970."""
    last: dict[str, str] = {}
    broken_off: dict[str, str] = {}
    """For each worker the task that it has begun and not ended."""
    explained: Counter[str] = Counter()
    for kind, label, worker, at in history:
        if kind == END:
            if last.get(label) != worker:
                report.wrong("overlapping", f"{label} ended in {worker} after it had begun in {last.get(label)}")
            broken_off.pop(worker, None)
            continue
        if before := last.get(label):
            report.reruns += 1
            if before not in killed:
                report.wrong(
                    "doubled", f"{label} ran in {worker} although {before}, which ran it before, was not killed"
                )
            else:
                explained[before] += 1
                if explained[before] > 1:
                    report.wrong("needless", f"the kill of {before} is the reason for a second run, of {label}")
                if broken_off.get(before) == label:
                    report.redelivery.append((at - killed[before]) / 1e9)
        elif label not in asked:
            report.wrong("unexpected", f"{label} ran, and nobody had asked for it")
        last[label] = worker
        broken_off[worker] = label
    for label in sorted(told - last.keys()):
        report.wrong("lost", f"{label} never ran")


def read_states(folder: Folder) -> Iterator[StateRecord]:
    """Yield all state lines, oldest first.

    A kill may break off a write where one page of the file ends: half a line is as if it had never been written.
    """
    for path in [*reversed(folder.sealed_results()), folder.results]:
        with path.open("rb") as file:
            for line in file:
                state = state_in(line)
                if state and state.task_id:
                    yield state


class Life(NamedTuple):
    """Where a task stands in the results."""

    status: str = ""
    attempt: int = 0
    holder: str = ""
    at: str = ""
    deaths: int = 0


def check_lives(states: Iterable[StateRecord], told: set[str], report: Report) -> None:
    """Check each task's life: attempts rise by one, a start follows no end, and a final state never changes."""
    lives: dict[str, Life] = defaultdict(Life)
    for line in states:
        life = lives[line.task_id]
        if (line.status, line.at) == (life.status, life.at):
            continue  # written once more where the results started afresh
        if why := _slip(life, line):
            report.wrong(
                "unruly", f"{line.task_id} is {line.status}, attempt {line.attempt}, in {line.worker}: {why}; {life}"
            )
        deaths = life.deaths + (line.status == LOST)
        holder = line.worker if line.status == STARTED else ""
        lives[line.task_id] = Life(line.status, line.attempt, holder, line.at, deaths)
    for label in sorted(told):
        if lives[label].status not in FINAL_STATES:
            report.wrong("lost", f"{label} has no end; it is {lives[label].status or 'unknown'}")


def _slip(life: Life, line: StateRecord) -> str:
    """Say why ``line`` cannot follow on ``life``; empty if it can."""
    if life.status in FINAL_STATES:
        return "it had ended"
    if line.status == STARTED:
        return (
            "it was held"
            if life.holder
            else ""
            if line.attempt == life.attempt + 1
            else "starts are not counted by one"
        )
    if line.status == FAILURE and life.status == LOST:
        return "" if life.deaths >= MAX_STARTS else f"it was given up after {life.deaths} deaths"
    if line.status not in {RELEASED, LOST, SUCCESS}:
        return "nothing of that kind was asked for"
    if line.worker != life.holder:
        return f"{life.holder or 'nobody'} held it"
    return "" if line.attempt == life.attempt - (line.status == RELEASED) else "starts are not counted by one"


# The storm


class Storm:
    """The processes, and what was done to them."""

    def __init__(self, path: Path, tasks: int, kills: int, seed: int, seconds: float) -> None:
        """Prepare ``tasks`` tasks of so many ``seconds`` and ``kills`` kills, in ``path``, which is an empty folder."""
        self.path, self.tasks, self.kills, self.seconds = path, tasks, kills, seconds
        self.folder = Folder(path / "queue_dir")
        self.history = path / "history.log"
        self.chance = random.Random(seed)
        self.report = Report(seed)
        self.killed: dict[str, int] = {}
        self._workers: dict[str, int] = {}
        """Process ids by name."""
        self._producers: dict[int, int] = {}
        """The same by number."""
        self._frozen: dict[str, float] = {}
        """When each worker that is stopped goes on, in seconds of ``time.monotonic``."""
        self._started = 0

    def run(self, progress: Callable[[str], object]) -> Report:
        """Let it rage, and return what came of it."""
        began = time.monotonic()
        try:
            for number in range(PRODUCERS):
                self._start_producer(number)
            for _ in range(WORKERS):
                self._start_worker()
            self._rage(progress)
            self._calm(progress)
        finally:
            for pid in [*self._workers.values(), *self._producers.values()]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        progress("reading the history")
        self._check()
        self.report.seconds = time.monotonic() - began
        return self.report

    def _rage(self, progress: Callable[[str], object]) -> None:
        blows = 0
        while self.report.kills < self.kills and self.done() < self.tasks:
            self._wait_for(self.tasks * (self.report.kills + self.chance.random()) / self.kills)
            self._strike()
            blows += 1
            if blows % 10 == 0:
                progress(f"{self.report.kills:,} of {self.kills:,} kills, {self.done():,} of {self.tasks:,} tasks")

    def _strike(self) -> None:
        kind = self.chance.choices(["kill", "freeze", "end", "producer"], [60, 15, 15, 10])[0]
        name = self.chance.choice(sorted(self._workers))
        if kind == "kill":
            self.killed[name] = time.time_ns()
            self._finish(self._workers.pop(name), signal.SIGKILL)
            self.report.kills += 1
            self._start_worker()
        elif kind == "freeze":
            self._frozen[name] = time.monotonic() + self.chance.uniform(0.01, 0.1)
            os.kill(self._workers[name], signal.SIGSTOP)
            self.report.frozen += 1
        elif kind == "end":
            self._thaw(everybody=True)  # one that is stopped may keep a lock that the other must have
            status = self._finish(self._workers.pop(name), signal.SIGTERM)
            self.report.ended += 1
            if status:
                self.report.wrong("unruly", f"worker {name} was asked to end, and ended with status {status}")
            self._start_worker()
        elif self._reap_producers():
            number = self.chance.choice(sorted(self._producers))
            self._finish(self._producers.pop(number), signal.SIGKILL)
            self.report.kills += 1
            self._start_producer(number)

    def _calm(self, progress: Callable[[str], object]) -> None:
        """Let everybody come to the end."""
        self._thaw(everybody=True)
        moved, before = time.monotonic(), -1
        while time.monotonic() - moved < STUCK:
            done = self.done()
            if not self._reap_producers() and done >= self.tasks and self._all_ended():
                break
            if done != before:
                moved, before = time.monotonic(), done
                progress(f"{self.report.kills:,} kills, {done:,} of {self.tasks:,} tasks")
            time.sleep(10 * LOOK)
        for name in list(self._workers):
            if status := self._finish(self._workers.pop(name), signal.SIGTERM):
                self.report.wrong("unruly", f"worker {name} was asked to end, and ended with status {status}")

    def done(self) -> int:
        """Return about how many tasks have run, at no great cost."""
        size = self.history.stat().st_size if self.history.exists() else 0
        return size // self._bytes_of_a_task()

    def _bytes_of_a_task(self) -> int:
        return 2 * len(line_of(BEGIN, "p0-000000", "w0000", 10**18))

    def _all_ended(self) -> bool:
        """Say whether every task that was told of has its final line."""
        told = set().union(*(self._told(number) for number in range(PRODUCERS)))
        return told <= {state.task_id for state in read_states(self.folder) if state.status in FINAL_STATES}

    def _wait_for(self, tasks: float) -> None:
        """Wait until so many tasks have run; now and then only for a moment, so that some die before they have begun."""
        deadline = time.monotonic() + (self.chance.uniform(0.005, 0.1) if self.chance.random() < HASTY else LULL)
        while self.done() < tasks and time.monotonic() < deadline:
            time.sleep(LOOK)
            self._thaw()

    def _thaw(self, *, everybody: bool = False) -> None:
        for name, until in list(self._frozen.items()):
            if everybody or time.monotonic() >= until:
                del self._frozen[name]
                if name in self._workers:
                    os.kill(self._workers[name], signal.SIGCONT)

    def _start_worker(self) -> None:
        self._started += 1
        name = f"w{self._started:04}"
        block_signals()  # one that comes before the worker can answer it waits
        self._workers[name] = forked(lambda: worker_process.main(str(self.folder.path), name))
        unblock_signals()

    def _start_producer(self, number: int) -> None:
        share = self.tasks // PRODUCERS + (number < self.tasks % PRODUCERS)
        self._producers[number] = forked(
            lambda: produce(self.folder.path, number, self._notes(number), share, self.seconds)
        )

    def _notes(self, number: int) -> Path:
        return self.path / f"told-{number}.log"

    def _told(self, number: int) -> list[str]:
        return self._notes(number).read_text().split() if self._notes(number).exists() else []

    def _reap_producers(self) -> bool:
        """Let go of those that are done; say whether any is left."""
        for number, pid in list(self._producers.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._producers[number]
                if status:
                    self.report.wrong("unruly", f"producer {number} ended with status {status}")
        return bool(self._producers)

    @staticmethod
    def _finish(pid: int, number: int) -> int:
        os.kill(pid, number)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _check(self) -> None:
        told: set[str] = set()
        asked: set[str] = set()
        for number in range(PRODUCERS):
            labels = self._told(number)
            told.update(labels)
            asked.update(label_of(number, one) for one in range(last_number(labels) + 2))
        self.report.tasks = len(told)
        check_runs(read_history(self.history), asked, told, self.killed, self.report)
        check_lives(read_states(self.folder), told, self.report)


def label_of(producer: int, number: int) -> str:
    """Return the id of a producer's ``number``-th task."""
    return f"p{producer}-{number:06}"


def last_number(labels: list[str]) -> int:
    """Return the number in the last of them; -1 if there is none."""
    return int(labels[-1].partition("-")[2]) if labels else -1


def line_of(kind: str, label: str, worker: str, at: int) -> str:
    """Return a line of the history."""
    return f"{kind} {label} {worker} {at}\n"


def produce(path: Path, producer: int, notes: Path, share: int, seconds: float) -> None:
    """Post tasks until ``share`` have been told; note each. One that was posted and not noted is passed over."""
    app = worker_process.make_app(path)
    told = notes.read_text().split() if notes.exists() else []
    skipped = 1 if told else 2  # the one after the last may have been posted by whoever was killed
    number = last_number(told) + skipped
    task = app.tasks["tasks.tell"]
    with notes.open("a", buffering=1) as file:
        for one in range(number, number + share - len(told)):
            label = label_of(producer, one)
            task.apply_async([label, seconds], task_id=label)
            file.write(f"{label}\n")


def forked(action: Callable[[], object]) -> int:
    """Run ``action`` in a forked child; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        action()
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> int:
    """Run one storm, and print its report as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.storm", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=0.0005, help="that each task takes")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.CRITICAL)  # each kill is followed by a page of warnings
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its processes are ended
    storm = Storm(chosen.folder, chosen.tasks, chosen.kills, chosen.seed, chosen.seconds)
    report = storm.run(lambda text: print(text, file=sys.stderr, flush=True))
    print(json.dumps(asdict(report)))
    return int(report.faults > 0)


if __name__ == "__main__":
    sys.exit(main())
