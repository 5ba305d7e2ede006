"""Stops between the stages of a task's life, so that a person can follow them with their own eyes.

It does not know the stages' order: whoever runs the task calls ``at`` with the name of each.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

from pmtq.records import TaskRecord


class FullSpeed:
    """No stops; the pace of a worker at work."""

    waits = False

    def at(self, stage: str, record: TaskRecord, where: str) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class Slow:
    """A stop of some seconds at every stage (``--slow``), or until Enter is pressed (``--step``)."""

    waits = True

    def __init__(self, seconds: float | None, say: Callable[[str], None]) -> None:
        """Stop for ``seconds`` at each stage, None: until Enter. ``say`` shows a line to the person."""
        self._seconds = seconds
        self._say = say
        self._stopped = threading.Event()

    def at(self, stage: str, record: TaskRecord, where: str) -> None:
        """Say which stage the record has reached and where that can be seen; then stop."""
        prompt = "" if self._seconds is not None else "   [Enter goes on]"
        self._say(f"{stage:<8} {record.function} {record.task_id}: {where}{prompt}")
        if self._stopped.is_set():
            return
        if self._seconds is not None:
            self._stopped.wait(self._seconds)
        else:
            self._wait_for_enter()

    def _wait_for_enter(self) -> None:
        """Return when Enter was pressed, or when the worker is to end; without a keyboard there are no more stops."""
        while not self._stopped.is_set():
            # A blocking read would go on after a signal: Python takes system calls up again (PEP 475).
            if os.name == "posix" and not select.select([0], [], [], 0.1)[0]:
                continue
            byte = os.read(0, 1)
            if not byte:
                self._stopped.set()
            if byte in {b"", b"\n"}:
                return

    def stop(self) -> None:
        """Make no more stops, because the worker is to end."""
        self._stopped.set()
