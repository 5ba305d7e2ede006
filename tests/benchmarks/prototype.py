"""The smallest program that could be called a file-backed task queue: what the machine allows, to measure ours against.

It writes the same lines to the same two files under the same kind of lock, and keeps none of the promises: a lost
worker's tasks are lost, no argument and no line is checked, no outcome is noted, nothing is cleared, nothing is told.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from filelock import lock_descriptor, unlock_descriptor
from watchdog.events import FileModifiedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

CHUNK = 256 * 1024


class Record(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A task, the way pmtq writes it."""

    task_id: str
    function: str
    params: list[Any] | None = None
    sent: str


class State(msgspec.Struct, omit_defaults=True):
    """A step of a task's life, the way pmtq writes it."""

    task_id: str
    status: str
    result: Any = None
    attempt: int = 0
    worker: str = ""
    at: str = ""


encode = msgspec.json.Encoder().encode
encode_lines = msgspec.json.Encoder().encode_lines
decode_record = msgspec.json.Decoder(Record).decode
decode_state = msgspec.json.Decoder(State).decode


def now() -> str:
    """Return the time as RFC 3339 text."""
    return _text(int(time.time() * 1000))


@lru_cache(maxsize=4)
def _text(at: int) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at // 1000))}.{at % 1000:03d}Z"


class LockedFile:
    """A file that processes append to under a kernel lock."""

    def __init__(self, path: Path) -> None:
        """Open the file and its lock."""
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)

    def append(self, data: bytes) -> None:
        """Add bytes under the lock."""
        while not lock_descriptor(self.lock, blocking=False):
            pass
        os.write(self.descriptor, data)
        unlock_descriptor(self.lock)


class Client:
    """Posts tasks and waits for results."""

    def __init__(self, folder: Path) -> None:
        """Open the two files."""
        self.queue = LockedFile(folder / "queue.jsonl")
        self.results = LockedFile(folder / "results.jsonl")
        self.offset = 0
        self.bell = Bell(folder, "results.jsonl")

    def post(self, function: str, params: list[Any] | None = None) -> str:
        """Append one record and return its id."""
        task_id = os.urandom(11).hex()
        record = Record(task_id=task_id, function=function, params=params, sent=now())
        self.queue.append(encode(record) + b"\n")
        return task_id

    def get(self, task_id: str) -> Any:
        """Wait for the outcome."""
        while (state := self.find(task_id)) is None:
            self.bell.wait()
        return state.result

    def find(self, task_id: str) -> State | None:
        """Read on in the results until the outcome is met."""
        data = os.pread(self.results.descriptor, CHUNK, self.offset)
        data = data[: data.rfind(b"\n") + 1]  # a reader without the lock may see half of a write
        for line in data.splitlines(keepends=True):
            self.offset += len(line)
            state = decode_state(line)
            if state.task_id == task_id and state.status == "SUCCESS":
                return state
        return None


class Worker:
    """Claims tasks by their STARTED lines, runs them, and settles them together with the next claim."""

    def __init__(self, folder: Path, functions: dict[str, Callable[..., Any]], name: str = "worker1@host") -> None:
        """Open the files."""
        self.queue = LockedFile(folder / "queue.jsonl")
        self.results = LockedFile(folder / "results.jsonl")
        self.functions = functions
        self.name = name
        self.queue_offset = self.results_offset = 0
        self.taken: set[str] = set()
        self.finished: list[State] = []

    def work(self, size: int = 64 * 1024) -> int:
        """Settle the last batch and claim the next in one hold, then run it; return how many tasks that were."""
        while not lock_descriptor(self.results.lock, blocking=False):
            pass
        while data := os.pread(self.results.descriptor, CHUNK, self.results_offset):  # what others have taken
            data = data[: data.rfind(b"\n") + 1]
            self.taken.update(decode_state(line).task_id for line in data.splitlines())
            self.results_offset += len(data)
        data = os.pread(self.queue.descriptor, size, self.queue_offset)
        data = data[: data.rfind(b"\n") + 1]
        self.queue_offset += len(data)
        records = [record for record in map(decode_record, data.splitlines()) if record.task_id not in self.taken]
        at = now()
        self.taken.update(record.task_id for record in records)
        self.finished += [State(record.task_id, "STARTED", None, 1, self.name, at) for record in records]
        if self.finished:
            lines = encode_lines(self.finished)
            self.results_offset += os.write(self.results.descriptor, lines)
        unlock_descriptor(self.results.lock)
        self.finished = [
            State(record.task_id, "SUCCESS", self.functions[record.function](*(record.params or ())), 1, self.name, at)
            for record in records
        ]
        return len(records)


class Bell(FileSystemEventHandler):
    """Rings when a file changes; it costs nothing until somebody waits for it."""

    def __init__(self, folder: Path, name: str) -> None:
        """Take the file's folder and name."""
        self.folder, self.name = folder, name
        self.rung = threading.Event()
        self.hung = False

    def wait(self) -> None:
        """Wait until it rings; the first time, hang it up and return at once."""
        if not self.hung:
            observer = Observer()
            observer.daemon = True
            observer.schedule(self, str(self.folder), event_filter=[FileModifiedEvent])
            observer.start()
            self.hung = True
            return
        self.rung.wait(1)
        self.rung.clear()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Ring for our file only."""
        if str(event.src_path).endswith(self.name):
            self.rung.set()


def main(folder: str, name: str = "worker1@host") -> None:
    """Be a worker process that runs empty tasks until it is killed."""
    worker = Worker(Path(folder), {"nothing": lambda: None}, name)
    bell = Bell(Path(folder), "queue.jsonl")
    while True:
        if not worker.work() and not worker.finished:
            bell.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
