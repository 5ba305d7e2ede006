"""Says that something happens, to whoever asked to be told: before a task runs, when a worker is ready, and so on.

    >>> from pmtq.signals import task_failure
    >>> @task_failure.connect(sender="shop.ship")
    ... def tell_somebody(sender, exception, **kwargs):
    ...     print(f"{sender.name} failed: {exception}")

1. Receivers are called at once, one after the other, in the process and the thread where it happens: those of a worker's
   signals must be connected in the worker, which a module that holds tasks does when it is imported.
2. A receiver that raises is logged. The others are still called, and the work goes on as if it had not raised.
3. A receiver is not kept alive by being connected, unless it asks for that with ``weak=False``.
4. A sender may be named: text stands for the sender that is this text, or whose ``name`` it is.

It does not know who sends what; each signal below only says when it is sent. Names and arguments are Celery's, so that
receivers can move there as they are. ``ABSENT`` lists the signals of Celery that have nothing to tell here.
"""

from __future__ import annotations

import inspect
import logging
import time
import weakref
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import wraps
from types import MethodType
from typing import Any, TypeVar, overload

logger = logging.getLogger("pmtq.signals")

Receiver = Callable[..., Any]
F = TypeVar("F", bound=Receiver)
_Find = Callable[[], Receiver | None]

RETRY_PAUSE, LONGEST_RETRY_PAUSE = 2.0, 30.0
"""Seconds before a receiver connected with ``retry=True`` is called again; as many more each time, up to the longest."""


class Signal:
    """Something that happens again and again, and the functions to be called when it does."""

    def __init__(self, name: str = "", providing_args: Iterable[str] = ()) -> None:
        """Take the signal's name, and the names of the keyword arguments that its receivers get."""
        self.name = name
        self.providing_args = frozenset(providing_args)
        self.receivers: dict[tuple[Hashable, Hashable], _Connection] = {}
        """Who is connected. While it is empty nothing need be sent: ``if task_prerun.receivers:`` costs 20 ns.

        It is only ever changed in one atomic step, because receivers die at any moment, in any thread.
        """

    @overload
    def connect(
        self,
        receiver: F,
        /,
        sender: Any = None,
        *,
        weak: bool = True,
        dispatch_uid: Hashable = None,
        retry: bool = False,
    ) -> F: ...
    @overload
    def connect(
        self, /, *, sender: Any = None, weak: bool = True, dispatch_uid: Hashable = None, retry: bool = False
    ) -> Callable[[F], F]: ...
    def connect(self, receiver: Any = None, /, sender: Any = None, **options: Any) -> Any:
        """Have ``receiver(signal=, sender=, **named)`` called; used as a call, ``@sig.connect`` or ``@sig.connect(…)``.

        ``sender`` is the only one to hear from, or its name; None means all. A receiver that nobody else keeps (a
        lambda, a function inside of a function, a method of a forgotten object) is gone at once, unless ``weak`` is
        false. What is connected twice is called once; ``dispatch_uid`` says what counts as the same. With ``retry`` a
        receiver that raises is called until it does not, and the sender waits for it. Returns the receiver. Raises
        ``TypeError`` for a receiver that does not take ``**kwargs``, because a signal may get more arguments in time.
        """
        if receiver is None:
            return lambda receiver: self._connect(receiver, sender, **options)
        return self._connect(receiver, sender, **options)

    def disconnect(
        self, receiver: Receiver | None = None, sender: Any = None, *, dispatch_uid: Hashable = None
    ) -> bool:
        """Take back a ``connect`` with the same sender and uid; return False if there was none."""
        return self.receivers.pop(_key(receiver, sender, dispatch_uid), None) is not None

    def has_listeners(self, sender: Any = None) -> bool:
        """Say whether anybody hears what ``sender`` sends."""
        return bool(self._heard_by(sender))

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call the receivers that listen to ``sender``; return each with what it returned, or the exception it raised."""
        responses = []
        for receiver in self._heard_by(sender):
            try:
                response = receiver(signal=self, sender=sender, **named)
            except Exception as error:
                logger.exception("Receiver %r of %s raised %r; work goes on", receiver, self.name, error)  # noqa: TRY401
                response = error
            responses.append((receiver, response))
        return responses

    send_robust = send

    def _connect(
        self, receiver: F, sender: Any, *, weak: bool = True, dispatch_uid: Hashable = None, retry: bool = False
    ) -> F:
        self._require_receiver(receiver)
        key = _key(receiver, sender, dispatch_uid)
        called = _persistent(receiver) if retry else receiver
        find = self._weakly(called, key) if weak and not retry else _kept(called)
        self.receivers.setdefault(key, _Connection(find, sender))
        return receiver

    def _weakly(self, receiver: Receiver, key: tuple[Hashable, Hashable]) -> _Find:
        reference = weakref.WeakMethod if isinstance(receiver, MethodType) else weakref.ref
        try:
            return reference(receiver, lambda _: self.receivers.pop(key, None))
        except TypeError:
            raise TypeError(
                f"{receiver!r} cannot be held weakly. It is not connected to {self.name}. "
                "Have it kept: connect(receiver, weak=False)"
            ) from None

    def _heard_by(self, sender: Any) -> list[Receiver]:
        found = [one.find() for one in list(self.receivers.values()) if one.listens_to(sender)]
        return [receiver for receiver in found if receiver is not None]

    def _require_receiver(self, receiver: object) -> None:
        if not callable(receiver):
            raise TypeError(
                f"{receiver!r} cannot be called, so it is not connected to {self.name}. "
                f"To hear only from one sender write: @{self.name}.connect(sender={receiver!r})"
            )
        if not _takes_any_keyword(receiver):
            name = getattr(receiver, "__name__", "receiver")
            raise TypeError(
                f"{name}{inspect.signature(receiver)} does not take **kwargs, so it is not connected to {self.name}, "
                f"which may get more arguments in time. Write: def {name}(sender, **kwargs)"
            )

    def __repr__(self) -> str:
        """Return a short text with the name."""
        return f"<Signal: {self.name}>"


@dataclass(frozen=True)
class _Connection:
    """One receiver, and whom it listens to."""

    find: _Find
    """Returns the receiver, None if it has died."""
    sender: Any

    def listens_to(self, sender: Any) -> bool:
        """Say whether it hears ``sender``, who may be told by name on either side."""
        wanted = self.sender
        if wanted is None or wanted is sender:
            return True
        return bool(
            wanted == sender or (isinstance(wanted, str) != isinstance(sender, str) and _name(wanted) == _name(sender))
        )


def _name(sender: Any) -> Any:
    return sender if isinstance(sender, str) else getattr(sender, "name", None)


def _key(receiver: Receiver | None, sender: Any, dispatch_uid: Hashable) -> tuple[Hashable, Hashable]:
    return dispatch_uid or _identity(receiver), _identity(sender)


def _identity(thing: object) -> Hashable:
    """Return what tells things apart without keeping them alive; a bound method is a new object at every look."""
    if isinstance(thing, MethodType):
        return id(thing.__self__), id(thing.__func__)
    return thing if isinstance(thing, str) else id(thing)


def _kept(receiver: Receiver) -> _Find:
    return lambda: receiver


def _takes_any_keyword(receiver: Receiver) -> bool:
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except ValueError:  # written in C, and silent about what it takes
        return True
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _persistent(receiver: Receiver) -> Receiver:
    """Return a receiver that goes on calling the given one until it does not raise."""

    @wraps(receiver)
    def call(**named: Any) -> Any:
        pause = RETRY_PAUSE
        while True:
            try:
                return receiver(**named)
            except Exception as error:  # noqa: BLE001  (it is logged, and tried again)
                logger.error("Receiver %r raised %r; it is called again in %g s", receiver, error, pause)  # noqa: TRY400
                time.sleep(pause)
                pause = min(pause + RETRY_PAUSE, LONGEST_RETRY_PAUSE)

    return call


# A call is posted: in the client.

before_task_publish = Signal(
    "before_task_publish",
    ["body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"],
)
"""A record is about to be written into a queue file. The sender is the task's name.

``body`` is ``(args, kwargs, embed)``. ``headers`` holds ``id``, ``task``, ``eta``, ``expires`` … and the call's own headers;
what a receiver adds to it goes along with the call. ``properties`` holds the ``priority``, and ``routing_key`` is the queue;
``exchange`` and ``declare`` are empty, ``retry_policy`` is None.
"""
after_task_publish = Signal("after_task_publish", ["body", "exchange", "routing_key", "headers"])
"""The record stands in the queue file. The sender is the task's name; the arguments are as for ``before_task_publish``."""

# A task is run: in the worker, and in the child of its pool that runs it.

task_received = Signal("task_received", ["request"])
"""A worker has claimed a task, which begins once those claimed with it are done. The sender is the worker's consumer."""
task_prerun = Signal("task_prerun", ["task_id", "task", "args", "kwargs"])
"""The function is about to be called. The sender is the task."""
task_postrun = Signal("task_postrun", ["task_id", "task", "args", "kwargs", "retval", "state"])
"""The try has ended, however it did. The sender is the task; ``retval`` is the value or the exception."""
task_success = Signal("task_success", ["result", "runtime"])
"""The task has returned ``result`` after ``runtime`` seconds. The sender is the task."""
task_retry = Signal("task_retry", ["request", "reason", "einfo"])
"""The task is to be tried again. The sender is the task; ``reason`` is the exception, or ``Retry`` itself."""
task_failure = Signal("task_failure", ["task_id", "exception", "args", "kwargs", "traceback", "einfo"])
"""The task has failed for good. The sender is the task; ``einfo`` holds exception and traceback as text."""
task_internal_error = Signal(
    "task_internal_error", ["task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"]
)
"""Something around the task failed, such as one of its handlers. The sender is the task, whose outcome stands."""
task_revoked = Signal("task_revoked", ["request", "terminated", "signum", "expired"])
"""A worker was not to start the task again, or it had ``expired``, or it was ended with ``signum`` while it ran.

The sender is the task. One that is called off while it waits is ended by the client: no worker has it, and none tells.
"""
task_unknown = Signal("task_unknown", ["message", "exc", "name", "id"])
"""A record names a function this worker does not know, and is left for one that does. The sender is the consumer."""
task_rejected = Signal("task_rejected", ["message", "exc"])
"""Something in a queue file is no task record, or a task refused its call. The sender is the consumer, or that task."""

# A worker begins and ends, in this order.

celeryd_init = Signal("celeryd_init", ["instance", "conf", "options"])
"""A worker is about to be set up; its settings may still be changed. The sender is its name, so that one can pick it."""
celeryd_after_setup = Signal("celeryd_after_setup", ["instance", "conf"])
"""A worker has its settings and its log; queues may still be added. The sender is its name."""
import_modules = Signal("import_modules", [])
"""The modules that hold tasks are about to be imported; a receiver may import more. The sender is the app."""
worker_init = Signal("worker_init", [])
"""A worker is about to start. The sender is the worker: it has an ``app`` and a ``hostname``."""
worker_before_create_process = Signal("worker_before_create_process", [])
"""The parent of a pool is about to start a child. The sender is the pool."""
worker_process_init = Signal("worker_process_init", [])
"""A process that runs tasks has started: a child of a pool, or the worker itself without one. The sender is its name."""
worker_ready = Signal("worker_ready", [])
"""A worker is ready for tasks. The sender is the worker: it has an ``app`` and a ``hostname``."""
worker_shutting_down = Signal("worker_shutting_down", ["sig", "how", "exitcode"])
"""A worker was told to end by the signal ``sig``; ``how`` is ``Warm`` or ``Cold``. The sender is its name."""
worker_process_shutdown = Signal("worker_process_shutdown", ["pid", "exitcode"])
"""A process that runs tasks is about to end, of its own accord. The sender is its name."""
worker_shutdown = Signal("worker_shutdown", [])
"""A worker has ended its work and is about to go. The sender is the worker."""

# The scheduler.

beat_init = Signal("beat_init", [])
"""The scheduler has started, on its own or inside of a worker. The sender is the scheduler's service."""
beat_embedded_init = Signal("beat_embedded_init", [])
"""The scheduler has started inside of a worker, after ``beat_init``. The sender is the scheduler's service."""

# Logging and the command line.

setup_logging = Signal("setup_logging", ["loglevel", "logfile", "format", "colorize"])
"""Logging is about to be set up. If there is a receiver it is left to that, and not set up here. There is no sender."""
after_setup_logger = Signal("after_setup_logger", ["logger", "loglevel", "logfile", "format", "colorize"])
"""Logging was set up; handlers may be added to ``logger``. There is no sender."""
after_setup_task_logger = Signal("after_setup_task_logger", ["logger", "loglevel", "logfile", "format", "colorize"])
"""The same for the logger of tasks."""
user_preload_options = Signal("user_preload_options", ["app", "options"])
"""A command begins, and has read its ``options``. The sender is the command."""

_NO_POOL = "a pool of greenlets has nothing of its own to begin or to end here"
ABSENT = {
    "heartbeat_sent": "a worker is alive as long as the kernel lock on its file is held; it sends no heartbeat",
    "eventlet_pool_started": _NO_POOL,
    "eventlet_pool_preshutdown": _NO_POOL,
    "eventlet_pool_postshutdown": _NO_POOL,
    "eventlet_pool_apply": "task_prerun is sent for every task, whatever it runs in",
    "task_sent": "it was given up by Celery too; after_task_publish tells the same",
}
"""Signals of Celery that are not here, and why."""
