"""Keeps what a task prints and logs, one text file per task: ``queue_dir/logs/<task_id>.log``.

1. It also goes where it went before.
2. Tasks that run side by side, in threads or in an event loop, each have their own.
3. What cannot be kept, on a full disk or in a file that is refused, costs a warning and never the task.

What a thread prints that a task has started, and what a program prints that it calls, is not seen here. A task's id may be
any text, so one that cannot be a file's name is replaced by a digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

from pmtq import disk
from pmtq.exceptions import OperationalError

logger = logging.getLogger("pmtq.output")
_PLAIN_NAME = re.compile(r"[\w-][\w.-]{0,99}", re.ASCII)
REDIRECTED = "pmtq.redirected"
"""The logger through which a worker logs what tasks print."""
_file: ContextVar[TextIO | None] = ContextVar("output", default=None)
"""The file of the task that runs here."""


def output_path(folder: Path, task_id: str) -> Path:
    """Return the file in ``folder`` that keeps what the task printed."""
    plain = _PLAIN_NAME.fullmatch(task_id) and not task_id.startswith("id-")
    name = task_id if plain else "id-" + hashlib.sha256(task_id.encode("utf-8", "surrogatepass")).hexdigest()
    return folder / f"{name}.log"


@contextmanager
def kept_output(task_id: str, folder: Path) -> Iterator[None]:
    """Send what is printed and logged here to the task's file, and to where it went before."""
    path = output_path(folder, task_id)
    try:
        disk.make_folder(folder)
        disk.require_folder(folder)
        descriptor = disk.open_file(path)
    except OperationalError as error:
        logger.warning("What task %s prints is not kept: %s", task_id, error)
        yield
        return
    file = os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace", buffering=1)
    token = _file.set(file)
    _taps.open()
    try:
        yield
    finally:
        _taps.close()
        _file.reset(token)
        try:
            file.close()  # tries once more to write what found no room before
        except OSError as error:
            logger.warning(
                "Not all that task %s printed is kept: %s",
                task_id,
                disk.cannot("append to", path, error, "The rest is lost."),
            )


def _keep(text: str) -> None:
    """Write to the file of the task that runs here, if it has one and there is room.

    It is closed for what a task has left behind, such as a coroutine, which prints on: that goes only where it went before.
    """
    if file := _file.get():
        with contextlib.suppress(OSError, ValueError):
            file.write(text)


class _Taps:
    """What stands in the place of the process's streams as long as a task's output is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._handler = _Handler()
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def open(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                for name in ("stdout", "stderr"):
                    if (stream := getattr(sys, name)) is not None:  # as in a program without a console on Windows
                        setattr(sys, name, _Tee(stream))
                logging.getLogger().addHandler(self._handler)

    def close(self) -> None:
        """Put the streams back that were there before, unless the program has put others there meanwhile."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                logging.getLogger().removeHandler(self._handler)
                for name in ("stdout", "stderr"):
                    stream = getattr(sys, name)
                    if isinstance(stream, _Tee):
                        setattr(sys, name, stream.first)


class _Tee:
    """A stream that also writes to the file of the task that runs here."""

    def __init__(self, first: TextIO) -> None:
        self.first = first

    def write(self, text: str) -> int:
        _keep(text)
        token = _file.set(None)  # the first stream may be what a program put around one of ours, in an earlier task
        try:
            return self.first.write(text)
        finally:
            _file.reset(token)

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.first, name)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _file.get() and record.name != REDIRECTED:  # which stands there as it was printed
            try:
                _keep(self.format(record) + "\n")
            except Exception:  # noqa: BLE001  (a call such as warning("%d", "three") is told as the other handlers tell it)
                self.handleError(record)


_taps = _Taps()
