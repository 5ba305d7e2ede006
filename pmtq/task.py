"""A task: a function with a name, callable here and now, or posted to run in a worker.

1. ``delay`` returns when the record stands in the queue file; the function runs elsewhere, later.
2. What a task is like (its retries, limits, queue) stands in attributes with Celery's names. A subclass may set them too.

It does not know how a worker runs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import update_wrapper
from types import MethodType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from pmtq import retry
from pmtq.arguments import Moment, moment, plain_positional, task_name
from pmtq.backend import Backend
from pmtq.call_options import CallOptions
from pmtq.calls import changes_of
from pmtq.clock import now
from pmtq.composing import Composable
from pmtq.conf import Settings
from pmtq.exceptions import MaxRetriesExceededError, OperationalError, Retry
from pmtq.failures import failure_told
from pmtq.ledger import carry
from pmtq.records import StateRecord, timestamp
from pmtq.request import Request, called_directly, own_claim, running
from pmtq.result import AsyncResult, EagerResult
from pmtq.states import FAILURE, LOST, RELEASED, RETRY, STARTED
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


class Task(TaskOptions, Composable, Generic[P, R_co]):
    """A function with a name, callable here and now, or posted to run in a worker.

    What it is like stands in the attributes of ``TaskOptions``.
    """

    app: App
    run: Callable[P, R_co]

    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError

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
        cannot be written; in each case nothing was queued.
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

    def retry(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Moment | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """End this try; run the task again later, ``default_retry_delay`` seconds from now unless told otherwise.

        ``args`` and ``kwargs`` replace those of the call, ``options`` such as ``expires`` or ``headers`` too. Write ``raise
        self.retry(exc=error)``: it raises by itself unless ``throw`` is false, but so the reader sees that nothing behind it
        runs. With ``throw=False`` what the function goes on to return or raise is passed over. After ``max_retries`` retries
        (None is the task's own number) it raises ``exc`` instead, or ``MaxRetriesExceededError`` if none is given. In a
        task that was called directly it raises ``exc``.
        """
        claim, request = own_claim(), self.request
        if claim is None:
            raise exc or Retry("a task that is called directly cannot be tried again: use delay or apply")
        most = self.max_retries if max_retries is None else max_retries
        if retry.is_exhausted(request.retries, most):
            if exc:
                raise exc
            raise MaxRetriesExceededError(
                f"{self.name} ({request.id}) was tried {request.retries + 1} times, and max_retries is {most}. "
                "It is not tried again. To have the reason here write self.retry(exc=error)",
                task_args=request.args,
                task_kwargs=request.kwargs,
            )
        if eta is None:
            when = moment(self.default_retry_delay if countdown is None else countdown, now(), "countdown")
        else:
            when = moment(eta, now(), "eta")
        again = Retry("", exc, when)
        again.changes = changes_of(request.args, request.kwargs, args, kwargs, options, now())
        if claim.record.after is not None and "params" in again.changes:
            again.changes["immutable"] = True  # the values of the steps before are among the arguments already
        if throw:
            raise again from exc
        claim.again = again
        return again

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None) -> None:
        """Report how far the task has come: ``state`` is any word, ``meta`` what ``AsyncResult.info`` shows with it.

        Every process sees it at once. ``task_id`` is that of another task, by default of the one that runs.
        """
        claim = own_claim()
        if claim is not None and claim.is_eager and not self.app.conf.task_store_eager_result:
            return
        task_id = task_id or self.request.id
        if not task_id or not state:
            raise ValueError(f"update_state(task_id={task_id!r}, state={state!r}) needs a task that runs, and a state")
        is_own = claim is not None and claim.record.task_id == task_id
        if state in {RETRY, LOST, RELEASED} or (state == STARTED and not is_own):
            raise ValueError(
                f"update_state(state={state!r}) of {task_id} would have another worker run the task, or none. Nothing was "
                "written. Choose another word; to have a task tried again, it calls self.retry()"
            )
        record = StateRecord(task_id, state, meta, at=timestamp(now()))
        if state == FAILURE:
            record.result, record.error = None, failure_told(meta)
        if claim is not None and is_own:
            record.attempt, record.worker = claim.started.attempt, claim.started.worker
            carry(claim.started, record)
        self.app.backend.store(record)

    def send_event(self, type_: str, **fields: Any) -> None:
        """Report something of your own choice; ``pmtq events`` shows it."""
        self.update_state(state=type_, meta=fields or None)

    @property
    def request(self) -> Request:
        """What is known about the call that runs; of an empty one outside of a worker."""
        return Request(own_claim())

    def AsyncResult(self, id: str) -> AsyncResult[Any]:  # noqa: A002, N802  (Celery's names)
        """Return the promise of one of this task's calls, of which only the id is known."""
        return self.app.AsyncResult(id, self.name)

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Be told that a try begins; what this raises is raised by the task."""

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Be told that the task has returned ``retval``."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Be told that the task has failed for good; ``einfo`` is a ``failures.ExceptionInfo``."""

    def on_retry(
        self, exc: BaseException | None, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Be told that the task is going to be tried again; ``exc`` is what ``retry`` was given, None if nothing."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Be told that the task has returned or failed for good; ``retval`` is the value or the exception."""

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
