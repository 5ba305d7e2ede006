"""What the living workers know and do, in Celery's words and shapes: ``app.control.inspect().active()``.

1. The answers stand in the folder's files, so they come at once, also from workers that are too busy to answer.
2. Each is a dict with the workers' names as keys, or None if no worker is there. The processes of a pool speak for theirs.

It does not know how to change anything.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Protocol

from pmtq.clock import now
from pmtq.conf import Settings
from pmtq.exceptions import ImproperlyConfigured
from pmtq.folder import Folder
from pmtq.inspection import Owed, Running, View, Worker
from pmtq.ledger import REVOKE
from pmtq.records import epoch
from pmtq.states import REVOKED

Answers = dict[str, Any]


class App(Protocol):
    """What an inquiry needs of the app it is made for."""

    @property
    def folder(self) -> Folder:
        """The queue folder."""

    @property
    def conf(self) -> Settings:
        """The settings."""

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The tasks that are known by name."""


def chosen_workers(view: View, destination: Iterable[str] | None) -> list[Worker]:
    """Return the living workers called so (None: all), without the processes of their pools.

    Raises ``ImproperlyConfigured`` for a name that no living worker has.
    """
    workers = {worker.name: worker for worker in view.workers if not worker.parent}
    if destination is None:
        return list(workers.values())
    names = [destination] if isinstance(destination, str) else list(destination)
    for name in names:
        if name not in workers:
            there = ", ".join(workers) or "none"
            raise ImproperlyConfigured(
                f"no worker called {name!r} is running. Nobody was asked or told. Running: {there}"
            )
    return [workers[name] for name in names]


class Inspect:
    """Asks the workers of one app's folder; each question looks anew."""

    def __init__(
        self,
        app: App,
        destination: Iterable[str] | None = None,
        timeout: float = 1.0,
        callback: Callable[[Any], object] | None = None,
    ) -> None:
        """Ask ``destination`` (None: all). ``callback`` gets each worker's answer as ``{name: answer}``."""
        self.app = app
        self.destination = [destination] if isinstance(destination, str) else destination
        self.timeout = timeout
        self.callback = callback

    def active(self, safe: object = None) -> Answers | None:
        """Return the tasks that run."""
        return self._asked(
            lambda asked, worker: [_as_request(one, worker) for one in asked.running(worker, begun=True)]
        )

    def reserved(self, safe: object = None) -> Answers | None:
        """Return the tasks that a worker has claimed to run next."""
        return self._asked(
            lambda asked, worker: [_as_request(one, worker) for one in asked.running(worker, begun=False)]
        )

    def scheduled(self, safe: object = None) -> Answers | None:
        """Return the tasks that wait for their time. Nobody holds them; each is told of the first worker that could run it."""
        return self._asked(
            lambda asked, worker: [_as_scheduled(one, worker) for one in asked.later if asked.is_for(one, worker)]
        )

    def active_queues(self) -> Answers | None:
        """Return the queues that each worker serves."""
        return self._asked(lambda _, worker: [_as_queue(name) for name in worker.queues])

    def registered(self, *taskinfoitems: str) -> Answers | None:
        """Return the names of the tasks that each worker knows, with these attributes where this app has the task."""
        tasks = self.app.tasks
        return self._asked(
            lambda _, worker: [_as_listed(name, tasks.get(name), taskinfoitems) for name in worker.functions]
        )

    registered_tasks = registered

    def revoked(self) -> Answers | None:
        """Return the ids of revoked tasks, as far back as results are kept; every worker knows all of them."""
        return self._asked(lambda asked, _: asked.revoked)

    def stats(self) -> Answers | None:
        """Return what each worker is: its process, pool, time, and how many of its tasks ended how."""
        return self._asked(lambda asked, worker: asked.stats(worker))

    def conf(self, with_defaults: bool = False) -> Answers | None:
        """Return the settings of this app; a worker with the same code has the same."""
        settings = self.app.conf.table(with_defaults=with_defaults)
        return self._asked(lambda _, __: settings)

    def ping(self, destination: Iterable[str] | None = None) -> Answers | None:
        """Return ``{"ok": "pong"}`` for each worker that is alive, which the kernel's lock on its file says."""
        return self._asked(lambda _, __: {"ok": "pong"}, destination)

    def report(self) -> Answers | None:
        """Return a text on each worker and the machine."""
        return self._asked(lambda asked, worker: {"ok": _report(asked.view, worker)})

    def clock(self) -> Answers | None:
        """Return how many bytes of results there are: all workers go by that one order of events."""
        results = self.app.folder.results
        size = results.stat().st_size if results.exists() else 0
        return self._asked(lambda _, __: {"clock": size})

    def query_task(self, *ids: str | Iterable[str]) -> Answers | None:
        """Return, of these tasks, those that each worker has: ``{id: [where, what]}``, active, reserved or scheduled."""
        wanted = {one for some in ids for one in ([some] if isinstance(some, str) else some)}
        return self._asked(lambda asked, worker: asked.queried(worker, wanted))

    def _asked(
        self, question: Callable[[_Asked, Worker], Any], destination: Iterable[str] | None = None
    ) -> Answers | None:
        asked = _Asked(View(self.app.folder, now()))
        workers = chosen_workers(asked.view, self.destination if destination is None else destination)
        answers = {worker.name: question(asked, worker) for worker in workers}
        if self.callback:
            for name, answer in answers.items():
                self.callback({name: answer})
        return answers or None


class _Asked:
    """One question's look at the folder."""

    def __init__(self, view: View) -> None:
        self.view = view

    def running(self, worker: Worker, *, begun: bool) -> list[Running]:
        names = {one.name for one in self.view.workers if worker.name in {one.name, one.parent}}
        return [task for task in self._running if task.worker in names and task.begun == begun]

    @cached_property
    def _running(self) -> list[Running]:
        return self.view.running()

    @cached_property
    def later(self) -> list[Owed]:
        return [owed for queue in self.view.queues() for owed in self.view.later(queue)]

    def is_for(self, owed: Owed, worker: Worker) -> bool:
        able = (
            one.name
            for one in self.view.workers
            if not one.parent and owed.queue in one.queues and owed.function in one.functions
        )
        return next(able, "") == worker.name

    @cached_property
    def revoked(self) -> list[str]:
        flagged = [
            name.removeprefix(f"{REVOKE} ") for name in self.view.ledger.controls if name.startswith(f"{REVOKE} ")
        ]
        return [*(state.task_id for state in self.view.ended() if state.status == REVOKED), *flagged]

    @cached_property
    def _ended(self) -> Counter[tuple[str, str]]:
        """How many tasks ended how at each worker, the processes of a pool counted for theirs."""
        return Counter((state.worker.partition("#")[0], state.status) for state in self.view.ended())

    def stats(self, worker: Worker) -> dict[str, Any]:
        processes = [one.pid for one in self.view.workers if one.parent == worker.name] or [worker.pid]
        return {
            "total": {status: count for (name, status), count in self._ended.items() if name == worker.name},
            "pid": worker.pid,
            "uptime": int(worker.seconds_up(self.view.now)),
            "pool": {"implementation": worker.pool, "max-concurrency": worker.concurrency, "processes": processes},
            "broker": {"transport": "file", "hostname": worker.host, "virtual_host": str(self.view.folder.path)},
        }

    def queried(self, worker: Worker, wanted: set[str]) -> dict[str, Any]:
        found = {
            task.task_id: ["active" if task.begun else "reserved", _as_request(task, worker)]
            for task in self._running
            if task.task_id in wanted and task in self.running(worker, begun=task.begun)
        }
        waiting = (one for one in self.later if one.task_id in wanted and self.is_for(one, worker))
        return found | {one.task_id: ["scheduled", _as_scheduled(one, worker)["request"]] for one in waiting}


def _as_request(task: Running, worker: Worker) -> dict[str, Any]:
    """Return a task in the shape in which Celery shows a request."""
    return {
        "id": task.task_id,
        "name": task.function,
        "type": task.function,
        "args": task.args,
        "kwargs": task.kwargs,
        "hostname": worker.name,
        "time_start": _epoch(task.since) if task.begun else None,
        "acknowledged": False,
        "delivery_info": {
            "exchange": "",
            "routing_key": task.queue,
            "priority": task.priority,
            "redelivered": task.attempt > 1,
        },
        "worker_pid": task.pid or None,
    }


def _as_scheduled(owed: Owed, worker: Worker) -> dict[str, Any]:
    request = {
        "id": owed.task_id,
        "name": owed.function,
        "type": owed.function,
        "args": owed.args,
        "kwargs": owed.kwargs,
        "hostname": worker.name,
        "time_start": None,
        "acknowledged": False,
        "delivery_info": {"exchange": "", "routing_key": owed.queue, "priority": owed.priority, "redelivered": False},
        "worker_pid": None,
    }
    return {"eta": owed.eta, "priority": owed.priority, "request": request}


def _as_queue(name: str) -> dict[str, Any]:
    return {"name": name, "routing_key": name, "exchange": {"name": "", "type": "direct"}, "durable": True}


def _as_listed(name: str, task: Any, items: Iterable[str]) -> str:
    known = [(item, getattr(task, item)) for item in items if getattr(task, item, None) is not None]
    return f"{name} [{' '.join(f'{item}={value}' for item, value in known)}]" if known else name


def _report(view: View, worker: Worker) -> str:
    rows = [
        ("worker", worker.name),
        ("process", f"{worker.pid} on {worker.host}"),
        ("pool", f"{worker.pool} ({worker.concurrency})"),
        ("queues", ", ".join(worker.queues)),
        ("folder", str(view.folder.path)),
        ("asked from", f"Python {platform.python_version()} on {platform.system()}, process {os.getpid()}"),
    ]
    return "\n".join(f"{name}: {value}" for name, value in rows)


def _epoch(moment: str) -> float | None:
    try:
        return epoch(moment)
    except ValueError:
        return None
