"""Steers what runs in a folder: calls off, pauses, limits, moves, requeues, and tells workers what to do. ``app.control``.

1. What holds for the tasks (a pause, a rate, a revocation) is a line in the results. Every worker reads it, those too that
   are started later; so it needs no worker to be there, and outlives them all.
2. What holds for a worker (its pool, its queues, its end) is put into that worker's inbox.
3. Answers have Celery's shape, ``[{worker: {"ok": …}}]``, and come at once: nobody waits for a timeout.

It does not know how a worker obeys.
"""

from __future__ import annotations

import difflib
import math
import os
import signal as signals
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Protocol

from pmtq.backend import Backend
from pmtq.clock import now
from pmtq.conf import Settings
from pmtq.dead import DEAD_STATES, Dead, DeadTasks, options_again
from pmtq.disk import nudge
from pmtq.exceptions import ImproperlyConfigured
from pmtq.folder import Folder, priority_of
from pmtq.follower import Follower
from pmtq.inbox import tell
from pmtq.inquiry import Inspect, chosen_workers
from pmtq.inspection import View, Worker
from pmtq.ledger import PAUSE, RATE_LIMIT
from pmtq.moving import NotMovedError, move
from pmtq.rates import interval
from pmtq.records import StateRecord, timestamp
from pmtq.request import nothing_running
from pmtq.result import AsyncResult
from pmtq.revoking import Fate, Revoking
from pmtq.states import FAILURE, REJECTED

TIME_LIMIT = "time_limit"
FRONT = 9
"""The priority of what is moved to the front."""
Replies = list[dict[str, dict[str, Any]]]
"""One answer a worker, with the key ``ok`` or ``error``."""
Names = Iterable[str] | None
WITHOUT_EFFECT = {
    "enable_events": "every step of a task stands in the results anyway: pmtq events",
    "disable_events": "every step of a task stands in the results, which is where workers learn of it",
    "election": "workers agree by the lock of the results, and need no leader",
    "heartbeat": "a worker is alive as long as it holds the lock of its file; it has nothing to send",
}
"""Celery's commands that change nothing here, and why."""


class App(Protocol):
    """What control needs of the app it belongs to."""

    @property
    def folder(self) -> Folder:
        """The queue folder."""

    @property
    def backend(self) -> Backend:
        """Where results are read."""

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The tasks that are known by name."""

    @property
    def conf(self) -> Settings:
        """The settings."""

    def send_task(self, name: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        """Post a call."""


class Control:
    """Steers one app's folder."""

    def __init__(self, app: App) -> None:
        """Steer the folder of ``app``; nothing is opened before the first command."""
        self._app = app

    def inspect(
        self, destination: Names = None, timeout: float = 1.0, callback: Callable[[Any], object] | None = None
    ) -> Inspect:
        """Return what asks the workers. ``timeout`` is Celery's: the answers stand in files, so nobody waits."""
        return Inspect(self._app, destination, timeout, callback)

    # What holds for tasks

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Names = None,
        terminate: bool = False,
        signal: str | int = "SIGTERM",
    ) -> Replies:
        """Call off a task, or several. One that waits is REVOKED at once; one that runs goes on, and is not started again.

        With ``terminate`` the process that runs it is ended as well, by ``signal``; only a pool of processes can do that.
        """
        self._require_all(destination, "a revocation")
        ids = [task_id] if isinstance(task_id, str) else list(dict.fromkeys(task_id))
        return self._replies(ids, self.call_off(ids, terminate=terminate, signal=signal))

    def terminate(
        self, task_id: str | Iterable[str], destination: Names = None, signal: str | int = "SIGTERM"
    ) -> Replies:
        """Call off tasks and end the processes that run them; see ``revoke``."""
        return self.revoke(task_id, destination, terminate=True, signal=signal)

    def call_off(self, ids: Iterable[str], *, terminate: bool = False, signal: str | int = "SIGTERM") -> list[Fate]:
        """Do the same, and return what became of each task."""
        if terminate:
            return [self._revoking.terminate(task_id, signal) for task_id in ids]
        return self._revoking.revoke(list(ids))

    def revoke_group(self, group_id: str, *, terminate: bool = False, signal: str | int = "SIGTERM") -> list[Fate]:
        """Call off every task of a group that is not done with, and return what became of each."""
        return self._revoking.revoke_those(
            lambda record: record.group_id == group_id, terminate=terminate, signal=signal
        )

    def revoke_by_headers(
        self, headers: Mapping[str, Any], *, terminate: bool = False, signal: str | int = "SIGTERM"
    ) -> list[Fate]:
        """Call off every task that is not done with and was sent with all of these ``headers``."""
        wanted = dict(headers).items()
        return self._revoking.revoke_those(
            lambda record: all((record.headers or {}).get(name) == value for name, value in wanted),
            terminate=terminate,
            signal=signal,
        )

    def purge(self, queues: Names = None) -> int:
        """Call off all that waits in these queues (None: in all); return how many tasks that were."""
        return self._revoking.purge(queues)

    discard_all = purge

    def rate_limit(self, task_name: str, rate_limit: str | float | None, destination: Names = None) -> Replies:
        """Let the task start so often in all workers together: ``"10/m"``; a bare number is per second.

        0 is no limit, also where the code sets one; None takes it back to what the code says.
        """
        self._require_all(destination, "a rate limit")
        interval(rate_limit)
        self._set(f"{RATE_LIMIT} {task_name}", rate_limit)
        self._nudge(self._app.folder.queue_names())
        said = "what its code says" if rate_limit is None else f"{rate_limit} in all workers together"
        return self._told(f"the rate limit of {task_name} is {said}", task_name)

    def time_limit(
        self, task_name: str, soft: float | None = None, hard: float | None = None, destination: Names = None
    ) -> Replies:
        """Limit the seconds that the task may run from its next start on; without both it is what the code says again."""
        self._require_all(destination, "a time limit")
        for limit in (soft, hard):
            _require_seconds(limit)
        self._set(f"{TIME_LIMIT} {task_name}", None if soft is None and hard is None else [hard, soft])
        return self._told(
            f"the time limits of {task_name} are {_seconds(soft)} (soft) and {_seconds(hard)} (hard)", task_name
        )

    def pause(self, queue: str | None = None, task: str | None = None) -> Replies:
        """Start nothing more from a queue, or of a task, until ``resume``. What is sent meanwhile waits; what runs goes on."""
        self._set(*(self._pause(queue, task), True))
        return self._told(f"{_what(queue, task)} is paused")

    def resume(self, queue: str | None = None, task: str | None = None) -> Replies:
        """Start again what ``pause`` held back, at once."""
        self._set(self._pause(queue, task), None)
        names = self._app.folder.queue_names()
        self._nudge(names if task else [name for name in names if priority_of(name)[0] == queue])
        return self._told(f"{_what(queue, task)} goes on")

    def paused(self) -> list[str]:
        """Return what is paused: ``queue low``, ``task shop.tasks.ship``."""
        controls = self._follower.look().controls
        return [name.removeprefix(f"{PAUSE} ") for name in controls if name.startswith(f"{PAUSE} ")]

    def move(
        self, task_id: str, *, front: bool = False, queue: str | None = None, priority: int | None = None
    ) -> tuple[str, int]:
        """Have a waiting task run earlier (``front``: before all without the highest priority, 9), later or elsewhere.

        Return the queue and the priority with which it waits now. Raises ``NotMovedError`` if it does not wait.
        """
        if front + (priority is not None) > 1 or not (front or queue or priority is not None):
            raise NotMovedError(
                f"task {task_id} was not moved: say where to. Give front, or a queue, a priority, or both"
            )
        priority = FRONT if front else priority
        if priority is not None and not 0 <= priority <= FRONT:
            raise NotMovedError(
                f"task {task_id} was not moved: priority {priority} is none. Give one from 0 to {FRONT}"
            )
        name = move(self._app.folder, task_id, queue, priority)
        self._nudge([name])
        return priority_of(name)

    def dead(self, limit: int | None = 20, states: Iterable[str] = DEAD_STATES, function: str = "") -> list[Dead]:
        """Return the tasks that ended badly, the newest first, as far back as results are kept."""
        return self._dead.list(limit, frozenset(states), function)

    def requeue(
        self,
        task_id: str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        countdown: float | None = None,
    ) -> AsyncResult[Any]:
        """Post the call of a dead task again, under a new id, with these arguments in the place of its own.

        It goes to the queue it stood in; where that is not known any more, to the one that the app has for such calls. Its
        header ``requeued_from`` is the old id. Raises ``NotRequeuedError``.
        """
        record, stood_in = self._dead.call(task_id)
        own_args, own_kwargs = record.arguments()
        options = options_again(record, now()) | {"queue": queue or stood_in or None, "countdown": countdown}
        options = {name: value for name, value in options.items() if value is not None}
        with nothing_running():
            result = self._post(
                record.function,
                list(own_args if args is None else args),
                own_kwargs if kwargs is None else kwargs,
                options,
            )
        self._dead.note(task_id, result.id)
        return result

    def requeue_all(self, function: str = "", states: Iterable[str] = (FAILURE, REJECTED)) -> list[AsyncResult[Any]]:
        """Requeue all that failed (of ``function``, if one is named) and was not requeued before, the oldest first.

        Those are left out of which the call is not known any more.
        """
        dead = self.dead(None, states, function)
        return [self.requeue(one.task_id) for one in reversed(dead) if one.function and not one.requeued_as]

    def requeue_rejected(self, number: int, text: str | None = None) -> AsyncResult[Any]:
        """Post line ``number`` of ``rejected.jsonl`` (from 1) again, with the mended ``text`` in the place of its own."""
        task_id, function = self._dead.mended(number, text)
        return AsyncResult(task_id, self._app.backend, function)

    def rejected_text(self, number: int) -> str:
        """Return what stood in a queue file and was no record: line ``number`` of ``rejected.jsonl``, from 1."""
        return self._dead.rejected_line(number).text

    # What holds for workers

    def shutdown(self, destination: Names = None) -> Replies:
        """End workers after the tasks that they run."""
        return [{worker.name: {"ok": self._end(worker)}} for worker in self._workers(destination)]

    def pool_grow(self, n: int = 1, destination: Names = None) -> Replies:
        """Have workers run ``n`` tasks more at a time."""
        return self._tell(destination, "pool_grow", n=_at_least(1, n, "n"))

    def pool_shrink(self, n: int = 1, destination: Names = None) -> Replies:
        """Have workers run ``n`` tasks fewer at a time."""
        return self._tell(destination, "pool_shrink", n=_at_least(1, n, "n"))

    def pool_restart(
        self, modules: object = None, reload: bool = False, reloader: object = None, destination: Names = None
    ) -> Replies:
        """Have workers replace the processes of their pools, one by one, each after the task it runs.

        A new process of a pool that forks has the code that its worker has: ``modules`` and ``reload`` are refused.
        """
        if modules or reload or reloader:
            raise ImproperlyConfigured(
                "a pool cannot load modules again: its processes are copies of their worker. Nothing was restarted. "
                "Start the worker again: pmtq control shutdown, then pmtq worker"
            )
        return self._tell(destination, "pool_restart")

    def autoscale(self, max: int, min: int, destination: Names = None) -> Replies:  # noqa: A002  (Celery's names)
        """Have workers keep between ``min`` and ``max`` processes, as many as there is work for."""
        _at_least(_at_least(0, min, "min"), max, "max")
        return self._tell(destination, "autoscale", max=max, min=min)

    def add_consumer(self, queue: str, exchange: object = None, exchange_type: object = None, routing_key: object = None,
                     options: object = None, destination: Names = None) -> Replies:  # fmt: skip
        """Have workers serve ``queue``, too. A queue is a file: the other arguments are Celery's, and change nothing."""
        self._app.folder.queue(queue)
        return self._tell(destination, "add_consumer", queue=queue)

    def cancel_consumer(self, queue: str, destination: Names = None) -> Replies:
        """Have workers serve ``queue`` no more."""
        self._app.folder.queue(queue)
        return self._tell(destination, "cancel_consumer", queue=queue)

    def ping(self, destination: Names = None, timeout: float = 1.0) -> Replies:
        """Return an answer for each worker that is alive, which the kernel's lock on its file says, busy or not."""
        return [{worker.name: {"ok": "pong"}} for worker in self._workers(destination)]

    def enable_events(self, destination: Names = None) -> Replies:
        """Change nothing: every step of a task stands in the results anyway."""
        return self._no_effect("enable_events", destination)

    def disable_events(self, destination: Names = None) -> Replies:
        """Change nothing: the steps of a task in the results are how workers work together."""
        return self._no_effect("disable_events", destination)

    def election(self, id: str = "", topic: str = "", action: object = None) -> Replies:  # noqa: A002  (Celery's names)
        """Change nothing: the lock of the results makes the decisions that a leader would."""
        return self._no_effect("election", None)

    def heartbeat(self, destination: Names = None) -> Replies:
        """Change nothing: a worker is alive as long as it holds the lock of its file."""
        return self._no_effect("heartbeat", destination)

    def broadcast(
        self, command: str, arguments: Mapping[str, Any] | None = None, destination: Names = None, **_: Any
    ) -> Replies:
        """Give one of the commands above by its name. Raises ``ImproperlyConfigured`` for any other name."""
        if command not in COMMANDS:
            near = difflib.get_close_matches(command, COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(sorted(COMMANDS))}."
            raise ImproperlyConfigured(f"there is no command {command!r}. Nothing was changed. {hint}")
        options = {} if destination is None else {"destination": destination}
        replies: Replies = getattr(self, command)(**(arguments or {}), **options)
        return replies

    # How it is done

    @cached_property
    def _follower(self) -> Follower:
        return Follower(self._app.folder)

    @cached_property
    def _revoking(self) -> Revoking:
        return Revoking(self._app.folder)

    @cached_property
    def _dead(self) -> DeadTasks:
        return DeadTasks(self._app.folder, self._app.backend)

    def _set(self, control: str, value: Any) -> None:
        """Write a control line, unless the same holds already."""
        with self._follower.hold() as ledger:
            line = ledger.controls.get(control)
            if (line.result if line else None) != value:
                self._follower.write([StateRecord(control=control, result=value, at=timestamp(now()))])

    def _pause(self, queue: str | None, task: str | None) -> str:
        if bool(queue) == bool(task):
            raise ImproperlyConfigured(
                f"queue={queue!r} and task={task!r}: name one of the two. Nothing was changed. "
                'Write pause(queue="low") or pause(task="shop.tasks.ship")'
            )
        if queue:
            self._app.folder.queue(queue)
        return f"{PAUSE} {_what(queue, task)}"

    def _nudge(self, names: Iterable[str]) -> None:
        """Make idle workers look at once."""
        for name in names:
            nudge(self._app.folder.queue(name))

    def _workers(self, destination: Names) -> list[Worker]:
        """Return the living workers called so, by default all. Raises ``ImproperlyConfigured`` for a name that none has."""
        return chosen_workers(View(self._app.folder, now()), destination)

    def _require_all(self, destination: Names, what: str) -> None:
        if destination is not None:
            raise ImproperlyConfigured(
                f"{what} holds for all workers of the folder, so destination={list(destination)!r} cannot be met. "
                "Nothing was changed. Leave the destination out"
            )

    def _told(self, said: str, function: str = "") -> Replies:
        """Return the answers of the living workers to what holds for all of them."""
        replies: Replies = []
        for worker in self._workers(None):
            knows = not function or function in worker.functions
            answer = {"ok": said} if knows else {"error": f"this worker knows no task {function}; {said}"}
            replies.append({worker.name: answer})
        return replies

    def _tell(self, destination: Names, command: str, **fields: Any) -> Replies:
        replies: Replies = []
        for worker in self._workers(destination):
            told = tell(self._app.folder, worker.name, command, **fields)
            shown = " ".join([command, *(f"{name}={value}" for name, value in fields.items())])
            replies.append({worker.name: {"ok": f"told: {shown}"} if told else {"error": "it has just ended"}})
        return replies

    def _no_effect(self, command: str, destination: Names) -> Replies:
        return [
            {worker.name: {"ok": f"nothing to do: {WITHOUT_EFFECT[command]}"}} for worker in self._workers(destination)
        ]

    def _end(self, worker: Worker) -> str:
        """End one worker by a signal where it can get one, else through its inbox; return what was done."""
        if os.name == "posix" and worker.host in {"", socket.gethostname()} and worker.pid not in {0, os.getpid()}:
            try:
                os.kill(worker.pid, signals.SIGTERM)
            except ProcessLookupError:
                return "it has just ended"
            return f"process {worker.pid} ends after the tasks it runs"
        tell(self._app.folder, worker.name, "shutdown")
        return "told: shutdown"

    def _replies(self, ids: list[str], fates: list[Fate]) -> Replies:
        """Return what Celery's workers would answer to a revocation: each that it is marked, or why it cannot be ended."""
        problems = {
            fate.worker.partition("#")[0]: {"error": f"{fate.task_id} {fate.what}"} for fate in fates if fate.is_refused
        }
        said = {"ok": f"tasks {', '.join(ids)} flagged as revoked"}
        return [{worker.name: problems.get(worker.name, said)} for worker in self._workers(None)]

    def _post(self, name: str, args: list[Any], kwargs: Mapping[str, Any], options: dict[str, Any]) -> AsyncResult[Any]:
        """Post a call, checked against the function where this process has it."""
        if name in self._app.tasks:
            result: AsyncResult[Any] = self._app.tasks[name].apply_async(args, kwargs, **options)
            return result
        return self._app.send_task(name, args, kwargs, **options)


COMMANDS = frozenset({
    "add_consumer", "autoscale", "cancel_consumer", "disable_events", "election", "enable_events", "heartbeat", "pause",
    "ping", "pool_grow", "pool_restart", "pool_shrink", "rate_limit", "resume", "revoke", "shutdown", "terminate",
    "time_limit",
})  # fmt: skip
"""What ``broadcast`` and ``pmtq control`` may name."""


def _what(queue: str | None, task: str | None) -> str:
    return f"queue {queue}" if queue else f"task {task}"


def _seconds(limit: float | None) -> str:
    return "none" if limit is None else f"{limit:g} s"


def _require_seconds(limit: float | None) -> None:
    if limit is not None and (
        isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf
    ):
        raise ImproperlyConfigured(f"the time limit {limit!r} is none, and was not set. Give seconds above 0, or None")


def _at_least(least: int, number: int, name: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ImproperlyConfigured(
            f"{name}={number!r} cannot be. No worker was told. Give a whole number from {least} on"
        )
    return number
