"""What the tests share besides fixtures: looking into a queue folder, moving a claimer by hand, ending processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pmtq.claim import Claim, Terms
from pmtq.claimer import Claimer
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.presence import Presence
from pmtq.records import StateRecord, TaskRecord, timestamp
from pmtq.states import SUCCESS

WORKER_PROCESS = Path(__file__).parent / "crash" / "worker_process.py"
NOW = 1_800_000_000.0
"""A moment in 2027, for every test that passes the time in."""
TASKS = """
from pmtq import PMTQ

app = PMTQ("tasks")

@app.task
def add(x, y):
    return x + y

@app.task
def fail(text):
    raise ValueError(text)
"""
"""What ``tasks.py`` holds in the tests of the command line."""


class Said(NamedTuple):
    """What a command returned, and what it wrote to stdout and stderr."""

    status: int
    out: str
    err: str


Run = Callable[..., Said]


def eventually(fact: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until ``fact()`` is true; return what it said last."""
    deadline = time.monotonic() + seconds
    while not (said := fact()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return said


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a file; none if it is not there."""
    if not path.exists():
        return []
    data = path.read_bytes()  # somebody may be writing to it: only whole lines count
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines() if line]


def all_states(folder: Folder) -> list[dict[str, Any]]:
    """Return the state lines of all results files, sealed ones first, oldest first."""
    paths = [*reversed(folder.sealed_results()), folder.results]
    return [line for path in paths for line in read_lines(path) if "task_id" in line]


def all_lines(folder: Folder) -> dict[str, str]:
    """Return every text file of the folder, by name."""
    return {
        str(path.relative_to(folder.path)): path.read_text(errors="replace") for path in folder.path.rglob("*.jsonl")
    }


def is_owed(folder: Folder, task_id: str) -> bool:
    """Say whether a task of that id stands in a queue file that is not sealed."""
    places = map(folder.queue, folder.queue_names())
    return any(line.get("task_id") == task_id for path in places for line in read_lines(path))


def is_empty(path: Path) -> bool:
    """Say whether a file is there and empty; while a queue is cleared it has no name for a moment."""
    return path.exists() and path.stat().st_size == 0


def life(folder: Folder, task_id: str) -> list[tuple[str, int]]:
    """Return status and attempt of each line about one task."""
    return [(line["status"], line.get("attempt", 0)) for line in all_states(folder) if line["task_id"] == task_id]


def post_by_hand(folder: Folder, text: str | bytes, queue: str = DEFAULT_QUEUE) -> None:
    """Add text to a queue file the way ``>>`` in a shell does."""
    folder.path.mkdir(mode=0o700, exist_ok=True)
    with folder.queue(queue).open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def success(claim: Claim, result: Any = None, now: float = NOW) -> StateRecord:
    """Return the final line of a claim that went well."""
    started = claim.started
    return StateRecord(started.task_id, SUCCESS, result, started.attempt, started.worker, timestamp(now))


def die(presence: Presence) -> None:
    """Free a worker's name and leave its files, as the kernel does after ``kill -9``."""
    presence.after_fork()
    presence.notes.close()


def queued(folder: Folder, queue: str = DEFAULT_QUEUE) -> list[tuple[str, object]]:
    """Return function and parameters of each record of a queue."""
    return [(line["function"], line.get("params")) for line in read_lines(folder.queue(queue))]


def in_child(action: Callable[[], object], user: int | None = None) -> str:
    """Do something in a forked child, as another user if one is named; return the value, or the error, as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        said = "nothing"
        try:
            os.close(reading)
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            said = str(action())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


class Hand:
    """One worker's claimer, moved by the test step by step, with the time passed in."""

    def __init__(self, folder: Folder, name: str, known: dict[str, bool], queues: list[str]) -> None:
        self.folder, self.name = folder, name
        self.presence = Presence(folder, name, {"pid": os.getpid()})
        terms = {name: Terms(acks_late) for name, acks_late in known.items()}
        self.claimer = Claimer(folder, self.presence, queues, terms)
        self.claimer.succeed_namesake(NOW)

    def claim(self, count: int = 1, now: float = NOW, outcomes: tuple[StateRecord, ...] = ()) -> list[Claim]:
        """Claim up to ``count`` tasks."""
        taken = 0

        def wanted(_: TaskRecord) -> bool:
            nonlocal taken
            taken += 1
            return taken <= count

        return self.claimer.exchange(list(outcomes), now, wanted)

    def settle(self, *claims: Claim, result: Any = None, now: float = NOW) -> None:
        """Post SUCCESS for the claims."""
        self.claimer.exchange([success(claim, result, now) for claim in claims], now)

    def run_all(self, now: float = NOW) -> list[str]:
        """Claim and settle one by one until nothing is left now; return the ids in the order they ran."""
        ran = []
        while claims := self.claim(now=now):
            self.settle(*claims, now=now)
            ran += [claim.record.task_id for claim in claims]
        return ran

    def die(self) -> None:
        """Free the name's lock without a word, as the kernel does after ``kill -9``."""
        die(self.presence)


class Processes:
    """Worker processes of a test, each ended by its own pid."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker called ``name`` (see crash/worker_process.py)."""
        process = subprocess.Popen(
            [sys.executable, str(WORKER_PROCESS), str(self.folder.path), name, *options], stdin=subprocess.DEVNULL
        )
        self.running[name] = process
        return process

    def kill(self, name: str) -> None:
        """End it at once, as a power switch would."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self, name: str) -> int:
        """Ask it to end, and return its exit status."""
        process = self.running.pop(name)
        process.terminate()
        return process.wait(timeout=20)
