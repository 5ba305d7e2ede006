"""Reads the two files as they grow, and keeps what they have said about the demo's own tasks.

1. Everything shown comes from the files, as any onlooker could read it; the two programs are not asked.
2. Reading takes no lock and stops at the last newline.

It does not know screens, and decides nothing.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from pmtq.folder import Folder
from pmtq.records import StateRecord, TaskRecord, decode_state, decode_task
from pmtq.states import FINAL_STATES, STARTED

LINES_KEPT = 60
"""More than a screen has room for."""


class Line(NamedTuple):
    """One line of a file, as it stands there, and the words in it that a reader's eye should find."""

    text: str
    task_id: str
    status: str = ""


class Event(NamedTuple):
    """One line about a task of the demo's own."""

    file: str
    """The name of the file in which the line stands."""
    picture: str
    """The name of the photograph."""
    record: TaskRecord | StateRecord


class Tail:
    """The lines that are appended to a file from now on, also when it is renamed and begun afresh."""

    def __init__(self, path: Path) -> None:
        """Begin at the end of the file; if there is none yet, at the top of the one that will come."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._open()
        if self._file:
            self._file.seek(0, os.SEEK_END)

    def new_lines(self) -> list[bytes]:
        """Return the whole lines that were added since last time, without their newlines."""
        lines = self._read()
        if self._is_another_file():
            self._open()
            lines += self._read()
        return lines

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self.close()
        self._rest = b""
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            return  # nobody has written to it yet

    def _is_another_file(self) -> bool:
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            return False
        return self._file is None or os.fstat(self._file.fileno()).st_ino != inode

    def _read(self) -> list[bytes]:
        if self._file is None:
            return []
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return lines


class Story:
    """What the two files have said so far."""

    def __init__(self, folder: Folder, pictures: Path, planned: int) -> None:
        """Listen to ``folder`` from now on; the demo's own tasks are those with a file in ``pictures``."""
        self.folder = folder
        self.planned = planned
        """How many tasks there will be."""
        self.queue_lines: deque[Line] = deque(maxlen=LINES_KEPT)
        self.results_lines: deque[Line] = deque(maxlen=LINES_KEPT)
        self.posted: dict[str, str] = {}
        """The name of the photograph by task id, in the order of the records."""
        self.states: dict[str, StateRecord] = {}
        """The last line about each of these tasks that has one."""
        self.worker_is_there = False
        self._pictures = str(pictures)
        self._queue, self._results = Tail(folder.queue()), Tail(folder.results)

    def listen(self) -> list[Event]:
        """Take in what was added to the files; return what of it concerns the demo's own tasks, in order."""
        # A record comes before the lines about it. Read the other way round, a line might come whose record is missing.
        results = self._results.new_lines()
        events = [event for line in self._queue.new_lines() if (event := self._hear_record(line))]
        events += [event for line in results if (event := self._hear_state(line))]
        self.worker_is_there = bool(self.folder.worker_names())
        return events

    def close(self) -> None:
        """Close the files."""
        self._queue.close()
        self._results.close()

    def ended(self) -> list[StateRecord]:
        """Return the last lines of the tasks that have ended, well or not."""
        return [state for state in self.states.values() if state.status in FINAL_STATES]

    def running(self) -> list[str]:
        """Return the names of the photographs that are being resized."""
        return [self.posted[task_id] for task_id, state in self.states.items() if state.status == STARTED]

    def unfinished(self) -> list[str]:
        """Return the ids of the tasks that have not ended."""
        ended = {state.task_id for state in self.ended()}
        return [task_id for task_id in self.posted if task_id not in ended]

    def is_complete(self) -> bool:
        """Say whether all tasks there will be have ended."""
        return len(self.ended()) == self.planned

    def _hear_record(self, line: bytes) -> Event | None:
        try:
            record = decode_task(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            record = TaskRecord(function="")  # somebody's line that is none: shown like the others
        self.queue_lines.append(Line(line.decode("utf-8", "replace"), record.task_id))
        file = record.params.get("file") if isinstance(record.params, dict) else None
        if not isinstance(file, str) or os.path.dirname(file) != self._pictures:  # noqa: PTH120  (text from a file)
            return None
        self.posted[record.task_id] = os.path.basename(file)  # noqa: PTH119
        return Event(self.folder.queue().name, self.posted[record.task_id], record)

    def _hear_state(self, line: bytes) -> Event | None:
        try:
            state = decode_state(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            state = StateRecord()
        self.results_lines.append(Line(line.decode("utf-8", "replace"), state.task_id, state.status))
        if state.task_id not in self.posted:
            return None
        self.states[state.task_id] = state
        return Event(self.folder.results.name, self.posted[state.task_id], state)
