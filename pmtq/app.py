"""The app: names the queue folder, turns functions into tasks, and posts calls to them.

1. ``delay`` returns when the record stands in the queue file; the function runs elsewhere, later.
2. A call that could never run is refused at the call: wrong arguments, or some that JSON cannot hold.
3. The same module serves the client and the worker; which is which depends on how the process is started.
"""

from __future__ import annotations

import difflib
import inspect
import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cached_property, partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pmtq.arguments import Moment, moment, plain_positional, require_json_arguments, task_name
from pmtq.backend import Backend
from pmtq.broker import Broker
from pmtq.exceptions import NotRegistered, NotSerializable
from pmtq.folder import DEFAULT_QUEUE, DEFAULT_URL, Folder
from pmtq.jsonable import PLAIN
from pmtq.records import TaskRecord, new_task_id, timestamp
from pmtq.result import AsyncResult

P = ParamSpec("P")
R = TypeVar("R")


class PMTQ:
    """A task queue in one folder, and the tasks that are known by name."""

    def __init__(
        self,
        main: str = "",
        *,
        broker: str = DEFAULT_URL,
        include: Iterable[str] = (),
        durable: bool = False,
    ) -> None:
        """Name the app.

        ``main`` stands for ``__main__`` in the names of tasks, so that the worker, which imports the module, has the
        same names. ``broker`` is ``file://`` and a folder; the environment variable ``PMTQ_BROKER_URL`` overrides it.
        ``include`` lists modules a worker imports for their tasks. With ``durable`` every call waits until its
        record would survive a power cut.
        """
        self.main = main
        self.broker_url = os.environ.get("PMTQ_BROKER_URL") or broker
        self.include = [name for name in include if name]
        self.durable = durable
        self.tasks: dict[str, Task[..., Any]] = {}

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
        return Backend(self.folder)

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self, /, *, name: str = "", queue: str = DEFAULT_QUEUE, acks_late: bool = True, durable: bool | None = None
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Turn a function into a task; used as ``@app.task`` or ``@app.task(name="Image.resize")``.

        ``name`` is the function's name in records, by default its module and name. ``queue`` is where its calls go.
        ``acks_late=False`` makes it start once at most: if its worker dies it has failed, instead of running again.
        """
        if function is None:
            return partial(self._register, **options)
        return self._register(function, **options)

    def send_task(
        self,
        name: str,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        task_id: str = "",
        queue: str = DEFAULT_QUEUE,
        countdown: float | None = None,
        eta: Moment | None = None,
        expires: Moment | timedelta | float | None = None,
        durable: bool | None = None,
    ) -> AsyncResult:
        """Post a call to the function called ``name``, which only the worker need have; see ``Task.apply_async``."""
        args = list(args)
        kwargs = dict(kwargs) if kwargs else {}
        if (args and not PLAIN.issuperset(map(type, args))) or kwargs:
            require_json_arguments(name, args, kwargs)
        now = time.time()
        record = TaskRecord(
            task_id=task_id or new_task_id(),
            function=name,
            params=kwargs or args or None,
            args=args if args and kwargs else None,
            sent=timestamp(now),
        )
        if countdown is not None:
            record.eta = moment(countdown, now, "countdown")
        elif eta is not None:
            record.eta = moment(eta, now, "eta")
        if expires is not None:
            record.expires = moment(expires, now, "expires")
        try:
            self.broker.publish(record, queue, durable=self.durable if durable is None else durable)
        except NotSerializable:
            require_json_arguments(name, args, kwargs)  # says which of them it is
            raise
        return AsyncResult(record.task_id, self.backend, name)

    def AsyncResult(self, id: str) -> AsyncResult:  # noqa: A002, N802  (Celery's names)
        """Return the promise of a task of which only the id is known."""
        return AsyncResult(id, self.backend)

    def find_task(self, name: str) -> Task[..., Any]:
        """Return the task registered under ``name``; raises ``NotRegistered`` with the nearest names."""
        if name in self.tasks:
            return self.tasks[name]
        near = difflib.get_close_matches(name, self.tasks, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        known = ", ".join(sorted(self.tasks)) or "none"
        raise NotRegistered(f"no task is called {name!r}; this app has: {known}.{hint}", name, tuple(self.tasks))

    def _register(self, function: Callable[P, R], **options: Any) -> Task[P, R]:
        task = Task(self, function, **options)
        self.tasks[task.name] = task
        return task


class Task(Generic[P, R]):
    """A function with a name, callable here and now, or posted to run in a worker."""

    def __init__(
        self,
        app: PMTQ,
        function: Callable[P, R],
        *,
        name: str = "",
        queue: str = DEFAULT_QUEUE,
        acks_late: bool = True,
        durable: bool | None = None,
    ) -> None:
        """Use ``@app.task``; its documentation explains the options."""
        update_wrapper(self, function)  # first, because it copies the function's own attributes over ours
        self.app = app
        self.run = function
        self.name = name or task_name(function, app.main)
        self.queue = queue
        self.acks_late = acks_late
        self.durable = durable
        self.signature = inspect.signature(function)
        self._positional = plain_positional(self.signature)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, as if it were no task."""
        return self.run(*args, **kwargs)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult:
        """Post a call with these arguments; short for ``apply_async(args, kwargs)``."""
        if kwargs or len(args) != self._positional:
            self._check(args, kwargs)
        return self.app.send_task(self.name, args, kwargs, queue=self.queue, durable=self.durable)

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult:
        """Post a call and return the promise of its result, once the record stands in the queue file.

        Options: ``task_id`` of your choice; ``queue``; ``countdown`` in seconds, or ``eta``, before which it does not
        run; ``expires`` (a time, or seconds from now), from when on it does not run any more; ``durable``.
        Times are ``datetime`` (naive ones are UTC) or RFC 3339 text. Raises ``TypeError`` for arguments that do not
        fit the function, ``NotSerializable`` for those that JSON cannot hold, ``OperationalError`` if the queue
        cannot be written; in each case nothing was queued.
        """
        args = tuple(args)
        self._check(args, kwargs or {})
        return self.app.send_task(self.name, args, kwargs, **{"queue": self.queue, "durable": self.durable, **options})

    def AsyncResult(self, id: str) -> AsyncResult:  # noqa: A002, N802  (Celery's names)
        """Return the promise of one of this task's calls, of which only the id is known."""
        return AsyncResult(id, self.app.backend, self.name)

    def _check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self.signature} {error}. Nothing was queued.") from None

    def __repr__(self) -> str:
        """Return a short text with the name."""
        return f"<task: {self.name}>"
