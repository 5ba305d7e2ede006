"""The app: names the queue folder, knows its tasks by name, and posts calls to them.

1. ``send_task`` returns when the record stands in the queue file; the function runs elsewhere, later.
2. A call that could never run is refused at the call: wrong arguments, or some that JSON cannot hold.
3. The same module serves the client and the worker; which is which depends on how the process is started.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar, Unpack, cast, overload

from pmtq import current, signals
from pmtq.announcing import announce, announce_all
from pmtq.arguments import require_json_arguments
from pmtq.backend import Backend
from pmtq.broker import Broker
from pmtq.call_options import CallOptions, fill_in
from pmtq.calls import adopt, new_record
from pmtq.canvas import Signature
from pmtq.clock import now
from pmtq.conductor import Workflows
from pmtq.configuring import Configurable
from pmtq.doors import Doors
from pmtq.exceptions import NotRegistered, NotSerializable
from pmtq.folder import DEFAULT_URL, Folder
from pmtq.fork import put_in_order_after_fork
from pmtq.periodic import PeriodicTasks
from pmtq.request import running
from pmtq.result import AsyncResult
from pmtq.routes import Router
from pmtq.task import Task as TaskOf
from pmtq.workflow import Call

P = ParamSpec("P")
R = TypeVar("R")
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Usual:
    """What a call gets that has no options of its own."""

    version: int
    """Of the settings that say so."""
    queue: str
    priority: int
    inherits: bool
    """Whether what a task posts has the task's own priority."""
    has_routes: bool


class PMTQ(Configurable, PeriodicTasks, Workflows, Doors):
    """A task queue in one folder, and the tasks that are known by name.

    Here is what posts a call. How it is set up stands in ``Configurable``, what runs by the clock in ``PeriodicTasks``,
    and the ways to everything else in ``Workflows`` and ``Doors``.
    """

    def __init__(
        self,
        main: str = "",
        *,
        broker: str | None = None,
        backend: str | None = None,
        include: Iterable[str] = (),
        durable: bool = False,
        task_cls: type[TaskOf[..., Any]] | str | None = None,
        config_source: object = None,
        set_as_current: bool = True,
        **settings: Any,
    ) -> None:
        """Name the app.

        ``main`` stands for ``__main__`` in the names of tasks, so that the worker, which imports the module, has the
        same names. ``broker`` is ``file://`` and a folder; the environment variable ``PMTQ_BROKER_URL`` overrides it.
        ``include`` lists modules a worker imports for their tasks. With ``durable`` every call waits until its
        record would survive a power cut. ``task_cls`` is the class of its tasks, or its name, ``"proj.tasks:Own"``.
        ``config_source`` is for ``config_from_object``. Further names are settings, as in ``app.conf``.
        """
        self.main = main
        self._broker_url = ""
        urls = {"broker_url": broker, "result_backend": backend}
        super().__init__(include, config_source, settings, {name: url for name, url in urls.items() if url})
        if task_cls is not None:
            self.Task = resolve_name(task_cls) if isinstance(task_cls, str) else task_cls
        self.durable = durable
        self.router = Router(self.conf)
        self._usual = _Usual(-1, "", 0, inherits=False, has_routes=False)
        put_in_order_after_fork(self, last=True)  # receivers may use the app
        current.enter(self, newest=set_as_current)

    @property
    def broker_url(self) -> str:
        """Where the queue is: the environment's word, else the settings', else ``queue_dir`` in the current directory."""
        return self._broker_url or self.conf.broker_url or DEFAULT_URL

    @broker_url.setter
    def broker_url(self, url: str) -> None:
        """Use another one from now on, whatever the environment says."""
        for used in ("folder", "broker", "backend"):  # made already if the module sent a task while it was imported
            vars(self).pop(used, None)
        self._broker_url = url

    @cached_property
    def folder(self) -> Folder:
        """The queue folder; a relative one is found from the directory in which it is first used."""
        return Folder.from_url(self.broker_url)

    @cached_property
    def broker(self) -> Broker:
        """Where records are published."""
        return Broker(self.folder)

    @cached_property
    def backend(self) -> Backend:
        """Where states are read."""
        return Backend(self.folder, keeps_values=self.conf.keeps_values)

    @overload
    def task(self, function: Callable[P, R], /) -> TaskOf[P, R]: ...
    @overload
    def task(
        self, /, *, bind: Literal[True], **options: Any
    ) -> Callable[[Callable[Concatenate[Any, P], R]], TaskOf[P, R]]: ...
    @overload
    def task(self, /, *, bind: Literal[False] = False, **options: Any) -> Callable[[Callable[P, R]], TaskOf[P, R]]: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Turn a function into a task; used as ``@app.task`` or ``@app.task(name="Image.resize", max_retries=5)``.

        The options are the attributes of ``Task``, and ``base``, the class of which the task is to be.
        """
        if function is None:
            return partial(self._make_task, **options)
        return self._make_task(function, **options)

    def _make_task(
        self, function: Callable[P, R], base: type[TaskOf[..., Any]] | None = None, **options: Any
    ) -> TaskOf[P, R]:
        task = cast("TaskOf[P, R]", (base or self.Task)(self, function, **options))
        self.tasks[task.name] = task
        return task

    Task: type[TaskOf[..., Any]] = TaskOf
    """The class of tasks, to be subclassed, ``class Resize(app.Task)``, or replaced by one's own, ``app.Task = Own``."""

    def send_task(
        self,
        name: str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        task: TaskOf[..., Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[Any]:
        """Post a call to the function called ``name``, which only the worker need have; see ``Task.apply_async``."""
        if options and (options.get("link") or options.get("link_error")):
            sig = Signature(task or name, args, kwargs, app=self)
            return cast("AsyncResult[Any]", self.conductor.send(sig, options={**options}))
        record, queue, durable = self.record_of(task or name, args, kwargs, options)
        backend = self.backend
        sealed = backend.index.sealed  # what is sealed from now on may hold its result already
        if signals.before_task_publish.receivers:
            announce(signals.before_task_publish, record, queue)
        try:
            self.broker.publish(record, queue, durable=durable)
        except NotSerializable:
            require_json_arguments(name, *record.arguments())  # says which of them it is
            raise
        if signals.after_task_publish.receivers:
            announce(signals.after_task_publish, record, queue)
        posted: AsyncResult[Any] = AsyncResult(record.task_id, backend, name, self)
        if sealed and "task_id" not in options:
            posted.not_in = sealed
        return posted

    def record_of(
        self,
        task: TaskOf[..., Any] | str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] = _NO_OPTIONS,
        *,
        waits: bool = False,
    ) -> Call:
        """Return the record of a call, its queue, and whether it must survive a power cut.

        With ``waits`` it is a step that comes after others: the running task does not post it as a child of its own, and
        calls that are the same are not looked for, because the arguments are not known yet.
        """
        at = now()
        args, kwargs = args if type(args) is tuple else tuple(args or ()), kwargs or {}
        usual = self._usual
        if usual.version != self.conf.version:
            usual = self._look_at_settings()
        if isinstance(task, str):
            name = task
        else:
            name = task.name
            if task.has_wishes:
                options = task.call_options(args, kwargs, options, are_known=not waits)
        record = new_record(name, args, kwargs, at)
        if options or usual.has_routes:
            options = self.router.route(name, options, args, kwargs, task)
            fill_in(record, options, at)
        parent = running.get()
        if parent and not waits:
            adopt(record, parent)
        if (usual.priority or usual.inherits) and options.get("priority") is None:
            record.priority = parent.record.priority if parent and usual.inherits else usual.priority
        if not options:
            return record, usual.queue, self.durable
        durable = options.get("durable")
        return record, options.get("queue") or usual.queue, self.durable if durable is None else durable

    def _look_at_settings(self) -> _Usual:
        """Keep what the settings say about calls: looking them up for each would cost a tenth of it."""
        conf = self.conf
        priority, inherits = conf.task_default_priority or 0, conf.task_inherit_parent_priority
        self._usual = _Usual(conf.version, conf.task_default_queue, priority, inherits, not self.router.is_plain)
        return self._usual

    def send_tasks(self, calls: Iterable[tuple[Any, ...]]) -> list[AsyncResult[Any]]:
        """Post many calls, those to one queue (and of one priority) in one write, and return their promises in order.

        A call is ``(name or task, args)``, ``(name or task, args, kwargs)`` or ``(name or task, args, kwargs, options)``.
        If one of them is refused, nothing was queued.
        """
        made = [self.record_of(*call) for call in calls]
        announce_all(signals.before_task_publish, made)
        self.broker.publish_all(made)
        announce_all(signals.after_task_publish, made)
        return [AsyncResult(record.task_id, self.backend, record.function, self) for record, _, _ in made]

    def AsyncResult(self, id: str, task_name: str = "") -> AsyncResult[Any]:  # noqa: A002, N802  (Celery's names)
        """Return the promise of a task of which only the id is known."""
        return AsyncResult(id, self.backend, task_name, self)

    def register_task(self, task: TaskOf[P, R] | type[TaskOf[P, R]]) -> TaskOf[P, R]:
        """Have ``task``, a class with a ``run`` of its own or an instance of one, called by its name."""
        task = task() if isinstance(task, type) else task
        task.bind_to(self)
        self.tasks[task.name] = task
        return task

    def find_task(self, name: str) -> TaskOf[..., Any]:
        """Return the task registered under ``name``; raises ``NotRegistered`` with the nearest names."""
        if name in self.tasks:
            return self.tasks[name]
        near = difflib.get_close_matches(name, self.tasks, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        known = ", ".join(sorted(self.tasks)) or "none"
        raise NotRegistered(f"no task is called {name!r}; this app has: {known}.{hint}", name, tuple(self.tasks))

    def close(self) -> None:
        """End the watcher and close the files; the next use opens them again."""
        for used in ("broker", "backend"):
            if made := vars(self).pop(used, None):
                made.close()

    def __enter__(self) -> Self:
        """Use it for a while."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
