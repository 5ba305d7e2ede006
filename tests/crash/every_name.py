"""Does a little of everything that leaves a file in a queue folder, so that tests learn the names from the code itself.

``opened_in`` watches every ``open`` of the interpreter meanwhile; a new file under a new name is seen without being listed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pmtq import PMTQ, sealing
from pmtq.beat import timetable_of
from pmtq.exceptions import OperationalError
from pmtq.inbox import Inbox, tell
from pmtq.inspection import View
from pmtq.output import kept_output
from pmtq.presence import find_remains
from pmtq.timetable import Entry
from tests.support import NOW, Hand

WORKER = "w1"


class Opening(NamedTuple):
    """One call of ``open``."""

    name: str
    """Of the file, below the folder."""
    flags: int


_listeners: list[Callable[[str, int], None]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _listeners:
        for listener in _listeners:
            listener(str(arguments[0]), int(str(arguments[2])))


sys.addaudithook(_hook)


@contextmanager
def opened_in(folder: Path) -> Iterator[list[Opening]]:
    """Collect what is opened below a folder."""
    found: list[Opening] = []

    def listen(name: str, flags: int) -> None:
        if name.startswith(f"{folder}/"):
            found.append(Opening(name.removeprefix(f"{folder}/"), flags))

    _listeners.append(listen)
    try:
        yield found
    finally:
        _listeners.remove(listen)


def exercise(folder: Path) -> list[str]:
    """Use everything once; return what was refused. What cannot be done because of that is passed over."""
    sealing_before = sealing.SEAL_BYTES, sealing.IDLE_SEAL_BYTES
    sealing.SEAL_BYTES = sealing.IDLE_SEAL_BYTES = 0
    app = PMTQ("tasks", broker=f"file://{folder}")
    warnings = _Warnings()
    logging.getLogger("pmtq.output").addHandler(warnings)
    try:
        return [said for step in _steps(app) if (said := _refusal(step))] + warnings.said
    finally:
        logging.getLogger("pmtq.output").removeHandler(warnings)
        sealing.SEAL_BYTES, sealing.IDLE_SEAL_BYTES = sealing_before
        app.backend.close()
        app.close()


class _Warnings(logging.Handler):
    """Collects what is refused and costs no more than a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage().partition(": ")[2])


def _refusal(step: Callable[[], object]) -> str:
    try:
        step()
    except OperationalError as error:
        return str(error)
    return ""


def _steps(app: PMTQ) -> Iterator[Callable[[], object]]:
    folder = app.folder
    hands: list[Hand] = []
    yield lambda: app.send_task("tasks.add", [1], task_id="one")
    yield lambda: app.send_task("tasks.add", [2], task_id="two", queue="low", priority=9)
    yield lambda: app.send_task("tasks.add", [3], task_id="typed")
    yield lambda: hands.append(Hand(folder, WORKER, {"tasks.add": True}, ["celery", "low"]))
    yield lambda: tell(folder, WORKER, "ping")
    yield lambda: Inbox(folder, WORKER).commands()
    yield lambda: _keep_output(folder.logs)
    for hand in hands:
        hand.claimer.result_expires = None
        yield lambda hand=hand: _junk(folder.queue())
        yield lambda hand=hand: hand.settle(*hand.claim(9))
        yield lambda hand=hand: hand.claimer.tidy(NOW, idle=True)
        yield lambda hand=hand: hand.claimer.tidy(NOW + 3600, idle=True)
        yield lambda: app.send_task("tasks.add", [4], task_id="three")
        yield lambda hand=hand: hand.settle(*hand.claim(9))
        yield lambda: app.AsyncResult("three").state
        yield lambda: app.AsyncResult("three").forget()
        yield lambda hand=hand: hand.claim(0)  # reads that it is forgotten …
        yield lambda hand=hand: hand.claimer.tidy(NOW + 3600, idle=True)  # … and erases it
    yield lambda: app.AsyncResult("one").state
    yield lambda: app.AsyncResult("never").state
    yield lambda: app.AsyncResult("one").history()
    yield lambda: View(folder, NOW).workers
    yield lambda: [View(folder, NOW).backlog(name, 9) for name in folder.queue_names()]
    yield lambda: [find_remains(folder, name) for name in folder.worker_names()]
    yield lambda: _fire(app)


def _junk(path: Path) -> None:
    """Type a line that is no record, where that does no harm to whatever stands there."""
    if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
        os.write(descriptor, b"junk\n")
        os.close(descriptor)


def _keep_output(folder: Path) -> None:
    with kept_output("one", folder):
        print("said", end="")


def _fire(app: PMTQ) -> None:
    timetable = timetable_of(app)
    try:
        if timetable.leadership.take(0):
            timetable.leadership.write(f'{{"pid":{os.getpid()},"host":"here"}}\n')
            with timetable.change() as entries:
                entries["tick"] = Entry(task="tasks.add", schedule="every 10 s")
    finally:
        timetable.close()
