"""The two files of a queue folder, as the benchmark fills the one and reads the other.

pmtq and the prototype use the same files, so both are given the same bytes and counted by the same reader.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from pmtq.broker import Broker
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.ids import new_task_id
from pmtq.records import TaskRecord, timestamp

PIECE = 4 * 1024 * 1024
AT_ONCE = 10_000


class Backlog:
    """A queue file full of empty tasks, from which others are copied."""

    def __init__(self, folder: Path, tasks: int) -> None:
        """Publish ``tasks`` records, as a client does that has many to post."""
        broker = Broker(Folder(folder))
        for begin in range(0, tasks, AT_ONCE):
            at = timestamp(time.time())
            some = range(begin, min(begin + AT_ONCE, tasks))
            broker.publish_all(
                (TaskRecord(task_id=new_task_id(), function="nothing", sent=at), DEFAULT_QUEUE, False) for _ in some
            )
        self.tasks = tasks
        self._path = broker.folder.queue()
        self._line = self._path.stat().st_size // tasks
        """All lines are equally long."""

    def lines(self, begin: int, end: int) -> bytes:
        """Return the records from number ``begin`` to before ``end``."""
        with self._path.open("rb") as file:
            file.seek(begin * self._line)
            return file.read((end - begin) * self._line)

    def copy_to(self, folder: Path, tasks: int) -> None:
        """Make the first ``tasks`` records the queue of ``folder``."""
        with Folder(folder).queue().open("wb") as file:
            for begin in range(0, tasks, AT_ONCE):
                file.write(self.lines(begin, min(begin + AT_ONCE, tasks)))


class ResultsFollower:
    """Counts the starts and the ends in a results file while it grows, also when another file takes its place."""

    def __init__(self, folder: Path) -> None:
        """Follow the results of ``folder``, which need not exist yet."""
        self._path = Folder(folder).results
        self._descriptor = -1
        self._offset = 0
        self.started = 0
        self.ended = 0

    def count(self) -> int:
        """Read what is new; return how many tasks have ended well so far."""
        if self._descriptor < 0 and not self._open():
            return 0
        self._read_on()
        try:
            replaced = self._path.stat().st_ino != os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return self.ended  # it is being replaced this instant
        if replaced:
            self._read_on()  # nobody writes to the old one any more
            os.close(self._descriptor)
            self._open()
            self._read_on()
        return self.ended

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> bool:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        self._offset = 0
        return True

    def _read_on(self) -> None:
        while data := os.pread(self._descriptor, PIECE, self._offset):
            whole = data.rfind(b"\n") + 1
            if not whole:
                return  # the end of the line is not there yet
            self.started += data.count(b'"status":"STARTED"', 0, whole)
            self.ended += data.count(b'"status":"SUCCESS"', 0, whole)
            self._offset += whole
