"""What a worker is to do, as whoever starts it has decided.

It does not know how any of it is done.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pmtq.clock import now
from pmtq.current import app_in_use
from pmtq.folder import Folder
from pmtq.records import timestamp
from pmtq.task import Task
from pmtq.worker.pace import Slow

SOLO, PREFORK, THREADS, ASYNCIO, GEVENT, EVENTLET = "solo", "prefork", "threads", "asyncio", "gevent", "eventlet"
PROCESSES = "processes"
"""Another word for ``prefork``."""
USUAL_PLACES = {THREADS: 10, ASYNCIO: 1000, GEVENT: 1000, EVENTLET: 1000}
"""How many tasks a pool runs at a time if nobody says; the others run one."""


def _nothing(name: str) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Plan:
    """What a worker is to do. A pool that cannot fork sends it to its children, so all of it can be pickled."""

    folder: Folder
    queues: list[str]
    load: Callable[[], Mapping[str, Task[..., Any]]]
    """Returns the tasks by name; quick when it is called again in the same process."""
    pool: str = SOLO
    concurrency: int = 1
    burst: bool = False
    """End when nothing is left to run, instead of waiting for more."""
    once: bool = False
    """End after one task."""
    time_limit: float | None = None
    """Seconds after which a task is ended with its process, if it has no limit of its own; None: as the settings say."""
    soft_time_limit: float | None = None
    """Seconds after which ``SoftTimeLimitExceeded`` is raised in a task; the same holds for None."""
    max_tasks_per_child: int | None = None
    """Tasks after which a process of the pool is replaced; the same holds for None."""
    max_memory_per_child: int | None = None
    """KiB of resident memory beyond which it is replaced when it has ended a task; the same holds for None."""
    autoscale: tuple[int, int] | None = None
    """The most and the fewest processes of a pool that grows and shrinks with its work."""
    beat: bool = False
    """Post the periodic tasks, too."""
    schedule: str = ""
    """The file in which the scheduler keeps its last runs; empty for the folder's own."""
    make_pace: Callable[[], Slow] | None = None
    """Says how to stop between the stages of a task, if that is wanted."""
    prepare: Callable[[str], None] = _nothing
    """Called in each process with the name it works under, before its first line in the log."""

    def facts(self, name: str, parent: str = "") -> dict[str, Any]:
        """Return what ``workers/<name>.json`` says to whoever opens it."""
        facts = {
            "name": name,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": timestamp(now()),
            "queues": list(self.queues),
            "functions": sorted(self.load()),
            "pool": self.pool,
            "concurrency": self.concurrency,
        }
        return facts | ({"parent": parent} if parent else {}) | self.changeable()

    def changeable(self) -> dict[str, Any]:
        """Return those of the facts that may change while the worker runs."""
        facts = {"queues": list(self.queues), "concurrency": self.concurrency}
        return facts | ({"autoscale": list(self.autoscale)} if self.autoscale else {})

    def app(self) -> Any:
        """Return the app whose tasks these are."""
        return next((task.app for task in self.load().values()), None) or app_in_use()

    def completed(self) -> Plan:
        """Return the plan with what the app's settings say where it says nothing; tell them the limits that it sets."""
        conf = self.app().conf
        for setting in ("time_limit", "soft_time_limit"):
            if (limit := getattr(self, setting)) is not None:
                conf.update({f"task_{setting}": limit})
        names = ("max_tasks_per_child", "max_memory_per_child")
        given = {name: getattr(self, name) or getattr(conf, f"worker_{name}") for name in names}
        pool = PREFORK if self.pool == PROCESSES else self.pool
        concurrency = self.autoscale[1] if self.autoscale else self.concurrency
        if self.burst:
            concurrency = max(concurrency, 1)  # else nothing would ever be run
        return replace(self, pool=pool, concurrency=concurrency, **given)
