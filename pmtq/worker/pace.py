"""A worker that stops between the stages of a task's life, so that a person can follow them with their own eyes."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from pmtq.execute import execute
from pmtq.folder import Folder
from pmtq.presence import Presence
from pmtq.records import TaskRecord
from pmtq.request import nothing_running
from pmtq.task import Task
from pmtq.worker.consumer import Consumer, tell


class Slow:
    """A stop of some seconds at every stage (``--slow``), or until Enter is pressed (``--step``)."""

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


class SteppingConsumer(Consumer):
    """Takes one task at a time, and stops at each of its stages."""

    def __init__(
        self, pace: Slow, folder: Folder, presence: Presence, queues: list[str], tasks: Mapping[str, Task[..., Any]]
    ) -> None:
        """Stop as ``pace`` says; the rest is as for any consumer."""
        super().__init__(folder, presence, queues, tasks)
        self._pace = pace

    def stop(self) -> None:
        """End after the task that is running, without further stops."""
        super().stop()
        self._pace.stop()

    def _wanted(self) -> Callable[[TaskRecord], bool]:
        """Want one task, after its record was shown where it stands."""
        seen: list[TaskRecord] = []

        def look_at(record: TaskRecord) -> bool:
            seen.append(record)
            return False

        self._exchange([], look_at)
        for record in seen:
            self._pace.at("seen", record, "its line stands in the queue file, and no final line in results.jsonl")
        taken: list[TaskRecord] = []

        def wanted(record: TaskRecord) -> bool:
            taken.append(record)
            return len(taken) == 1

        return wanted

    @nothing_running()
    def _run_batch(self) -> None:
        """Run the one task that was claimed, stage by stage."""
        claim = self._batch.popleft()
        self._running = claim
        record = claim.record
        self._pace.at("claimed", record, "its STARTED line stands in results.jsonl")
        self._pace.at("running", record, "the function is called now")
        outcome, line, _ = execute(claim, self._traces[record.function], time.perf_counter())
        self._lines.append(line)
        self._outcomes.append(outcome)
        self._running = None
        tell(claim, outcome)
        self._settle()
        self._pace.at("result", record, "its final line stands in results.jsonl")
        self._tidy(idle=True)
        self._pace.at("cleared", record, "once every record is done with, the queue file is empty again")
