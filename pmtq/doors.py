"""The doors of an app that no record passes: to the command line, to running workers, to the task and the time of here.

It does not know what stands behind them.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any, cast

from pmtq import control, current, loading
from pmtq.clock import now
from pmtq.conf import Settings
from pmtq.request import directly, running
from pmtq.task import Task


class Doors:
    """What ``PMTQ`` has besides posting calls."""

    conf: Settings
    tasks: dict[str, Task[..., Any]]

    @cached_property
    def control(self: control.App) -> control.Control:
        """What may be set while workers run: revoke a task, pause a queue, limit a rate."""
        return control.Control(self)

    def start(self, argv: list[str] | None = None) -> None:
        """Be the command ``pmtq -A`` this app: ``python -m proj.celery worker -l info``. Ends the program."""
        from pmtq.cli import start  # noqa: PLC0415  (this is the door itself; a client never opens it)

        loading.give_main_its_name()
        start(cast("Any", self), argv)

    def worker_main(self, argv: list[str] | None = None) -> None:
        """Be the command ``pmtq -A`` this app ``worker``."""
        self.start(["worker", *(argv or [])])

    def set_current(self: current.App) -> None:
        """Be the one that ``current_app`` and ``shared_task`` mean."""
        current.enter(self)

    set_default = set_current

    @property
    def current_task(self) -> Task[..., Any] | None:
        """The task that runs here; None outside of tasks."""
        called: Task[..., Any] | None = directly.get()
        claim = running.get()
        return called or (self.tasks.get(claim.record.function) if claim else None)

    def now(self) -> datetime:
        """Return the time, in the time zone of the settings."""
        return datetime.fromtimestamp(now(), self.conf.zone)
