"""The smallest program that could be called a file-backed task queue: what the machine allows, to measure ours against.

It writes the same lines to the same two files under the same kind of lock, and keeps none of the promises: a lost
worker's tasks are lost, no argument and no line is checked, no outcome is noted, nothing is cleared, nothing is told.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from filelock import lock_descriptor, unlock_descriptor
from watchdog.events import FileModifiedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

CHUNK = 256 * 1024


class Record(msgspec.Struct):
    """A task, the way pmtq writes it."""

    task_id: str
    function: str
    params: list[Any]
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
    at = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at % 1 * 1000):03d}Z"


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

    def post(self, function: str, params: list[Any]) -> str:
        """Append one record and return its id."""
        task_id = os.urandom(11).hex()
        self.queue.append(encode(Record(task_id, function, params, now())) + b"\n")
        return task_id

    def find(self, task_id: str) -> State | None:
        """Read on in the results until the outcome is met."""
        data = os.pread(self.results.descriptor, CHUNK, self.offset)
        for line in data.splitlines(keepends=True):
            self.offset += len(line)
            state = decode_state(line)
            if state.task_id == task_id and state.status == "SUCCESS":
                return state
        return None


class Worker:
    """Claims a piece of the queue, runs it, writes the results; an offset that all workers share says who has what."""

    def __init__(self, folder: Path, functions: dict[str, Callable[..., Any]], name: str = "worker1@host") -> None:
        """Open the files."""
        self.queue = LockedFile(folder / "queue.jsonl")
        self.results = LockedFile(folder / "results.jsonl")
        self.offset = os.open(folder / "offset", os.O_RDWR | os.O_CREAT)
        self.functions = functions
        self.name = name
        self.finished: list[State] = []

    def work(self, size: int = 64 * 1024) -> int:
        """Settle the last piece and claim the next in one hold, then run it; return how many tasks that were."""
        while not lock_descriptor(self.results.lock, blocking=False):
            pass
        start = int(os.pread(self.offset, 20, 0) or b"0")
        data = os.pread(self.queue.descriptor, size, start)
        data = data[: data.rfind(b"\n") + 1]
        os.pwrite(self.offset, b"%020d" % (start + len(data)), 0)
        records = [decode_record(line) for line in data.splitlines()]
        at = now()
        self.finished += [State(record.task_id, "STARTED", None, 1, self.name, at) for record in records]
        if self.finished:
            os.write(self.results.descriptor, encode_lines(self.finished))
        unlock_descriptor(self.results.lock)
        self.finished = [
            State(record.task_id, "SUCCESS", self.functions[record.function](*record.params), 1, self.name, at)
            for record in records
        ]
        return len(records)


class Bell(FileSystemEventHandler):
    """Rings when a file changes."""

    def __init__(self, folder: Path, name: str) -> None:
        """Watch one file of the folder."""
        self.name = name
        self.rung = threading.Event()
        observer = Observer()
        observer.daemon = True
        observer.schedule(self, str(folder), event_filter=[FileModifiedEvent])
        observer.start()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Ring for our file only."""
        if str(event.src_path).endswith(self.name):
            self.rung.set()

    def wait(self) -> None:
        """Wait until it rings."""
        self.rung.wait(1)
        self.rung.clear()
