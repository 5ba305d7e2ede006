"""Everything around a call besides the call: handlers, signals, retries by themselves, limits, kept output.

1. What a task does not wish for costs it nothing: ``Trace.is_plain`` says that the function is all there is.
2. A handler or receiver that raises is logged; it changes nothing about the outcome.

It does not know what an outcome looks like in a file.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import msgspec

from pmtq import retry, signals
from pmtq.claim import Claim, Terms
from pmtq.exceptions import Ignore, Reject, Replaced, Retry
from pmtq.failures import ExceptionInfo, rebuilt, traceback_of
from pmtq.ledger import TIME_LIMIT
from pmtq.limits import interruptible, soft_limit
from pmtq.output import kept_output
from pmtq.rates import interval
from pmtq.records import StateRecord, TaskRecord
from pmtq.request import Request, running
from pmtq.states import FAILURE, REJECTED, SUCCESS
from pmtq.task import Task

logger = logging.getLogger("pmtq.worker")


_HANDLERS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")
_SIGNALS = (
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.task_failure,
    signals.task_retry,
    signals.task_rejected,
)
_NO_CONTROLS: Mapping[str, StateRecord] = MappingProxyType({})


class Trace:
    """One task as a worker runs it: its function, and all that is wished for around a call."""

    def __init__(
        self, task: Task[..., Any], outputs: Path | None = None, hard_limit: Callable[[str, float], None] | None = None
    ) -> None:
        """Look at what ``task`` wishes for.

        ``outputs`` is the folder for what tasks print. ``hard_limit`` is called with a task's id and the seconds it may run,
        and with 0 when it has ended; None where no process stands by to end this one.
        """
        conf = task.app.conf
        self.task = task
        self.function = task.run if type(task).__call__ is Task.__call__ else _through_own_call(task)
        self.is_coroutine = inspect.iscoroutinefunction(task.run)
        self.run = _awaited(self.function) if self.is_coroutine else self.function
        self._outputs = outputs
        self._hard_limit = hard_limit
        rate = None if conf.worker_disable_rate_limits else task.rate_limit or conf.task_default_rate_limit
        self.terms = Terms(conf.task_acks_late if task.acks_late is None else task.acks_late, interval(rate))
        self.own_limits = (
            task.time_limit or conf.seconds("task_time_limit") or 0.0,
            task.soft_time_limit or conf.seconds("task_soft_time_limit") or 0.0,
        )
        """Seconds of the hard and of the soft limit, as the task or the settings have them; 0 is none."""
        self._ignores = conf.task_ignore_result if task.ignore_result is None else task.ignore_result
        self._disabled = not conf.keeps_values
        self._again_for = tuple(task.autoretry_for)
        self._speaks_for_itself: tuple[type[BaseException], ...] = (Retry, Ignore, Reject, *task.dont_autoretry_for)
        self._wishes = bool(
            self._again_for
            or task.keep_output
            or self._ignores
            or self._disabled
            or any(getattr(type(task), name) is not getattr(Task, name) for name in _HANDLERS)
            or any(name in vars(task) for name in _HANDLERS)
        )
        self.is_plain = True
        self.look_again()

    def look_again(self, controls: Mapping[str, StateRecord] = _NO_CONTROLS) -> None:
        """See whether signals have got receivers since, and people have set other limits; called before each batch."""
        self._limits = self.own_limits
        if controls and (control := controls.get(f"{TIME_LIMIT} {self.task.name}")):
            self._limits = _limits(control.result) or self.own_limits
        self.is_plain = not (self._wishes or any(self._limits) or any(one.receivers for one in _SIGNALS))

    def call(self, claim: Claim, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call the function as the task wishes; return its value or raise what it raises."""
        args = self._told(claim, args, kwargs)
        with self.around(claim, args, kwargs), self._held_to_hard_limit(claim):
            try:
                return self._run_within(self._soft_limit_of(claim), claim.record.each, args, kwargs)
            except Replaced as replaced:
                if claim.is_eager:
                    return replaced.value
                raise

    async def call_async(self, claim: Claim, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Do the same in an event loop, with a task that is a coroutine function."""
        args, each = self._told(claim, args, kwargs), claim.record.each
        with self.around(claim, args, kwargs), self._held_to_hard_limit(claim):
            function = partial(_await_each, self.function, each) if each else self.function
            return await _within(self._soft_limit_of(claim), function(*args, **kwargs))

    def ignores(self, claim: Claim) -> bool:
        """Say whether the value of this call is to be thrown away, as far as files go."""
        asked = claim.record.ignore_result
        ignores = self._disabled or (self._ignores if asked is None else asked)
        return bool(ignores) and not claim.record.followers  # who waits for it wants its value

    def _told(self, claim: Claim, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any]:
        """Return the arguments of a task that follows a failure: request, exception and traceback where it takes them.

        A function that does not take these three gets the id of the task that failed, as it stands in the record.
        """
        failure = claim.failure
        if failure is None:
            return args
        record = failure.record or TaskRecord(task_id=failure.task_id, function="")
        told = (Request(Claim(record, failure)), rebuilt(failure), failure.traceback)
        try:
            self.task.header.bind(*told, *args[1:], **kwargs)
        except TypeError:
            return args
        return [*told, *args[1:]]

    @contextmanager
    def around(self, claim: Claim, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Tell who wants to know that the call begins; have it tried again if it raises what the task names for that."""
        task, task_id = self.task, claim.record.task_id
        signals.task_prerun.send(task, task_id=task_id, task=task, args=args, kwargs=kwargs)
        try:
            with kept_output(task_id, self._outputs) if task.keep_output and self._outputs else nullcontext():
                task.before_start(task_id, args, kwargs)
                yield
        except self._speaks_for_itself:  # or it is not to be tried again
            raise
        except self._again_for as error:
            self._try_again(task.request.retries, error)

    def tell(self, claim: Claim, outcome: StateRecord, value: Any, failure: BaseException | None) -> None:
        """Tell handlers and receivers how the try has ended: the function returned ``value``, or raised ``failure``."""
        task, status, (args, kwargs) = self.task, outcome.status, claim.record.arguments()
        about = {"task_id": claim.record.task_id, "args": args, "kwargs": kwargs}
        for told in self._hearers(claim, outcome, value, failure):
            try:
                told()
            except Exception as error:
                logger.exception(
                    "Task %s %s: a handler failed; its outcome stays %s", task.name, outcome.task_id, status
                )
                einfo = ExceptionInfo(error, traceback_of(error))
                signals.task_internal_error.send(
                    task, **about, request=task.request, exception=error, traceback=error.__traceback__, einfo=einfo
                )

    def _hearers(
        self, claim: Claim, outcome: StateRecord, value: Any, failure: BaseException | None
    ) -> Iterator[Callable[[], object]]:
        """Yield calls of those who want to hear of this outcome, in Celery's order."""
        task, status, (args, kwargs) = self.task, outcome.status, claim.record.arguments()
        call = (claim.record.task_id, args, kwargs)
        about = {"task_id": claim.record.task_id, "args": args, "kwargs": kwargs}
        reason = failure.exc if isinstance(failure, Retry) else failure
        einfo = ExceptionInfo(reason or failure, outcome.traceback) if failure else None
        retval = value if failure is None else failure
        if status == SUCCESS:
            yield lambda: task.on_success(value, *call)
            yield lambda: signals.task_success.send(task, result=value, runtime=outcome.runtime)
        elif status == FAILURE and failure:
            raised = {"exception": failure, "traceback": failure.__traceback__, "einfo": einfo}
            yield lambda: task.on_failure(failure, *call, einfo)
            yield lambda: signals.task_failure.send(task, **about, **raised)
        elif isinstance(failure, Retry) and not isinstance(failure, Replaced):
            yield lambda: task.on_retry(reason, *call, einfo)
            yield lambda: signals.task_retry.send(task, request=task.request, reason=failure, einfo=einfo)
        elif status == REJECTED:
            yield lambda: signals.task_rejected.send(task, message=claim.record, exc=failure)
        if status in {SUCCESS, FAILURE}:
            yield lambda: task.after_return(status, retval, *call, einfo)
        state = REJECTED if isinstance(failure, Reject) else status
        yield lambda: signals.task_postrun.send(task, **about, task=task, retval=retval, state=state)

    def _try_again(self, retries: int, error: BaseException) -> NoReturn:
        task = self.task
        options = dict(task.retry_kwargs)
        if task.retry_backoff:
            factor = float(task.retry_backoff)
            options["countdown"] = retry.backoff(retries, factor, task.retry_backoff_max, jitter=task.retry_jitter)
        raise task.retry(exc=error, **options)

    # A process that runs the task itself, for a caller, keeps its signals and is not ended: an eager call has no limits.

    def _soft_limit_of(self, claim: Claim) -> float:
        return 0.0 if claim.is_eager else claim.record.soft_time_limit or self._limits[1]

    def _run_within(self, soft: float, each: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        run = partial(_run_each, self.run, each) if each else self.run
        if not soft:
            return run(*args, **kwargs)
        if self.is_coroutine:
            function = partial(_await_each, self.function, each) if each else self.function
            return _awaited(lambda: _within(soft, function(*args, **kwargs)))()
        with soft_limit(soft):
            return run(*args, **kwargs)

    @contextmanager
    def _held_to_hard_limit(self, claim: Claim) -> Iterator[None]:
        """Have the process ended that is here when the call takes longer than its hard limit."""
        hard = claim.record.time_limit or self._limits[0]
        if not (hard and self._hard_limit) or claim.is_eager:
            yield
            return
        self._hard_limit(claim.record.task_id, hard)
        try:
            yield
        finally:
            self._hard_limit(claim.record.task_id, 0.0)


def _limits(control: Any) -> tuple[float, float] | None:
    """Return the hard and the soft limit that somebody has set, both in seconds; None for what are no limits."""
    try:
        hard, soft = msgspec.convert(control, tuple[float | None, float | None], strict=False)
    except msgspec.ValidationError:
        return None
    return max(hard or 0.0, 0.0), max(soft or 0.0, 0.0)


async def _within(soft: float, coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await (interruptible(coroutine, soft) if soft else coroutine)


def _run_each(function: Callable[..., Any], each: str, items: Sequence[Any]) -> list[Any]:
    """Call the function for each item, as a map or a starmap does."""
    return [function(*item) if each == "starmap" else function(item) for item in items]


async def _await_each(function: Callable[..., Any], each: str, items: Sequence[Any]) -> list[Any]:
    """Do the same with a coroutine function, one call after the other."""
    return [await (function(*item) if each == "starmap" else function(item)) for item in items]


def _through_own_call(task: Task[..., Any]) -> Callable[..., Any]:
    """Return a function that calls the task by the ``__call__`` of its own class, which may do more than run it."""

    def run(*args: Any, **kwargs: Any) -> Any:
        claim = running.get()
        if claim is not None:
            claim.is_entering = True
        return task(*args, **kwargs)

    return run


def _awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs the coroutine function to its end, in an event loop that its thread keeps."""

    def run(*args: Any, **kwargs: Any) -> Any:
        if not hasattr(_loops, "runner"):
            _loops.runner = asyncio.Runner()
        return _loops.runner.run(function(*args, **kwargs), context=copy_context())

    return run


def close_event_loop() -> None:
    """End the event loop that this thread has kept for tasks that are coroutine functions, if it has one."""
    if runner := vars(_loops).pop("runner", None):
        runner.close()


_loops = threading.local()
