"""A task: a function with a name, callable here and now, or posted to run in a worker.

1. ``delay`` returns when the record stands in the queue file; the function runs elsewhere, later.
2. What a task is like (its retries, limits, queue) stands in attributes with Celery's names. A subclass may set them too.

It does not know how a worker runs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import update_wrapper
from types import MethodType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from pmtq.arguments import plain_positional, task_name
from pmtq.backend import Backend
from pmtq.bound import Bound
from pmtq.call_options import CallOptions
from pmtq.composing import Composable
from pmtq.conf import Settings
from pmtq.handlers import Handlers
from pmtq.request import called_directly, running
from pmtq.result import AsyncResult, EagerResult
from pmtq.task_options import TaskOptions

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class App(Protocol):
    """What a task needs of the app it belongs to."""

    main: str
    conf: Settings

    @property
    def backend(self) -> Backend:
        """Where states are read and written."""

    def send_task(
        self,
        name: str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        task: Any = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[Any]:
        """Post a call."""

    def run_here(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: Any) -> EagerResult[Any]:
        """Run a task in this process."""

    def AsyncResult(self, id: str, task_name: str = "") -> AsyncResult[Any]:  # noqa: A002, N802  (Celery's names)
        """Return the promise of a task of which only the id is known."""


class Task(TaskOptions, Bound, Handlers, Composable, Generic[P, R_co]):
    """A function with a name, callable here and now, or posted to run in a worker.

    What it is like stands in the attributes of ``TaskOptions``. While it runs its function may do what ``Bound`` has, and
    its class may have ``Handlers``. Calls that are not made yet are ``Composable``.
    """

    app: App
    run: Callable[P, R_co]

    def __init__(self, app: App | None = None, function: Callable[P, R_co] | None = None, **options: Any) -> None:
        """Use ``@app.task``, or subclass, define ``run`` and hand an instance to ``app.register_task``."""
        if function is not None:
            update_wrapper(self, function, updated=())  # not its own attributes: they mean something else
        for name, value in options.items():
            setattr(self, name, value)
        if function is not None:
            self.run = MethodType(function, self) if self.bind else function
        self.header = inspect.signature(self.run)
        self._positional = plain_positional(self.header)
        if app is not None:
            self.bind_to(app)

    def bind_to(self, app: App) -> None:
        """Belong to ``app``: take a name as it gives names, and the attributes that its settings have for that name."""
        self.app = app
        self.name = self.name or task_name(type(self) if "run" in vars(type(self)) else self.run, app.main)
        self.take_annotations()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the function here and now, as if it were no task."""
        claim = running.get()
        if claim is None:
            return self.run(*args, **kwargs)
        if claim.is_entering and claim.record.function == self.name:  # a subclass hands on the call of the worker
            claim.is_entering = False
            return self.run(*args, **kwargs)
        with called_directly(self):
            return self.run(*args, **kwargs)

    @overload  # a coroutine function promises what it returns in the end
    def delay(self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> AsyncResult[T]: ...
    @overload
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]: ...
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[Any]:
        """Post a call with these arguments; short for ``apply_async(args, kwargs)``."""
        if kwargs or len(args) != self._positional:
            self.require_fitting(args, kwargs)
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs)
        return self.app.send_task(self.name, args, kwargs, task=self)

    @overload
    def apply_async(
        self: Task[P, Coroutine[Any, Any, T]],
        args: Iterable[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[T]: ...
    @overload
    def apply_async(
        self, args: Iterable[Any] | None = ..., kwargs: Mapping[str, Any] | None = ..., **options: Unpack[CallOptions]
    ) -> AsyncResult[R_co]: ...
    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AsyncResult[Any]:
        """Post a call and return the promise of its result, once the record stands in the queue file.

        The options are those of ``CallOptions``, and override the task's own. Raises ``TypeError`` for arguments that do
        not fit the function, ``NotSerializable`` for those that JSON cannot hold, ``OperationalError`` if the queue
        cannot be written; in each case nothing was queued. Only if a ``durable`` record stands there and the disk refuses to
        say that it would survive a power cut, it is an ``OperationalError`` too, and the task runs.
        """
        args = tuple(args or ())
        self.require_fitting(args, kwargs or {})
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        return self.app.send_task(self.name, args, kwargs, task=self, **options)

    @overload
    def apply(
        self: Task[P, Coroutine[Any, Any, T]],
        args: Iterable[Any] | None = ...,
        kwargs: Mapping[str, Any] | None = ...,
        **options: Unpack[CallOptions],
    ) -> EagerResult[T]: ...
    @overload
    def apply(
        self, args: Iterable[Any] | None = ..., kwargs: Mapping[str, Any] | None = ..., **options: Unpack[CallOptions]
    ) -> EagerResult[R_co]: ...
    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> EagerResult[Any]:
        """Run the task here and now with everything that belongs to it, tries included, and return its result.

        Nothing waits: ``countdown`` and ``eta`` are passed over. Nothing is written unless ``task_store_eager_result`` is set.
        """
        return self.app.run_here(self, tuple(args or ()), dict(kwargs or {}), options)

    def AsyncResult(self, id: str) -> AsyncResult[Any]:  # noqa: A002, N802  (Celery's names)
        """Return the promise of one of this task's calls, of which only the id is known."""
        return self.app.AsyncResult(id, self.name)

    def require_fitting(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise ``TypeError`` for arguments that do not fit the function, unless ``typing`` is false."""
        if not self.typing:
            return
        try:
            self.header.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self.header} {error}. Nothing was queued.") from None

    def __repr__(self) -> str:
        """Return a short text with the name."""
        return f"<task: {self.name}>"
