"""What a task is like: the options of ``@app.task``, under Celery's names, and what they have each call of it ask for.

1. An option stands in an attribute of the task: given to the decorator, set in a subclass, or by ``task_annotations``.
2. What a call says itself counts more than what its task says.
3. A task whose calls ask for nothing is told apart once, so that posting one of them costs nothing here.

It does not know what a worker does about them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from pmtq import retry
from pmtq.annotations import annotate
from pmtq.arguments import Moment
from pmtq.exceptions import ImproperlyConfigured
from pmtq.unique import key_of

_SENT = ("queue", "routing_key", "priority", "expires", "durable", "serializer")
"""The options of a task that go into each record; the others are the worker's concern."""


class TaskOptions:
    """What ``Task`` has of options: give them to ``@app.task(…)``, or set them in a subclass."""

    name: str = ""
    """The function's name in records; by default its module and name."""
    bind: bool = False
    """Whether the function gets the task itself as its first argument."""
    queue: str | None = None
    """Where its calls go; None leaves that to ``task_routes`` and ``task_default_queue``."""
    routing_key: str | None = None
    """Another word for ``queue``."""
    priority: int | None = None
    expires: Moment | timedelta | float | None = None
    durable: bool | None = None
    """Whether a call returns only when it would survive a power cut; None leaves that to the app."""
    serializer: str | None = None
    """Only ``json``; a call of a task that asks for another one is refused."""
    typing: bool = True
    """Whether the arguments of a call are held against the function's signature before it is posted."""
    acks_late: bool | None = None
    """False makes it start once at most: if its worker dies it has failed, instead of running again; None leaves that to
    ``task_acks_late``."""
    ignore_result: bool | None = None
    """Whether its value is thrown away; None leaves that to ``task_ignore_result``."""
    store_errors_even_if_ignored: bool | None = None
    """Accepted: what went wrong is always written down."""
    max_retries: int | None = retry.DEFAULT_MAX_RETRIES
    """How often ``retry`` may be called; None is for ever."""
    default_retry_delay: float = retry.DEFAULT_RETRY_DELAY
    """Seconds until the next try, unless the call of ``retry`` says otherwise."""
    autoretry_for: Sequence[type[BaseException]] = ()
    """Exceptions that mean: try again."""
    dont_autoretry_for: Sequence[type[BaseException]] = ()
    retry_kwargs: ClassVar[Mapping[str, Any]] = {}
    """Arguments for ``retry`` when it is ``autoretry_for`` that calls it."""
    retry_backoff: float | bool = False
    """Seconds until the first automatic retry, doubled for each further one; True is 1."""
    retry_backoff_max: float = 600.0
    retry_jitter: bool = True
    """Whether that wait is a random part of it."""
    throws: Sequence[type[BaseException]] = ()
    """Exceptions that are to be expected: they are logged without a traceback."""
    rate_limit: str | float | None = None
    """Starts in all workers together: ``"10/m"``; a bare number is per second."""
    time_limit: float | None = None
    """Seconds after which its process is ended (prefork)."""
    soft_time_limit: float | None = None
    """Seconds after which ``SoftTimeLimitExceeded`` is raised in it."""
    unique: bool | Sequence[str] | Callable[..., str] = False
    """Whether a call whose arguments (all, those named, or what the function makes of them) are owed already is none."""
    debounce: float = 0.0
    """Seconds a call waits for a later one with the same arguments, which then runs in its place."""
    throttle: float = 0.0
    """Seconds after a start during which calls with the same arguments are not run."""
    keep_output: bool = False
    """Whether what it prints and logs is kept, for ``pmtq logs``."""

    app: Any
    header: inspect.Signature
    """What the function takes."""
    has_wishes: bool
    """Whether its calls have options that they get from the task."""

    def take_annotations(self) -> None:
        """Take the attributes that ``task_annotations`` has for it; again when the settings have changed."""
        for attribute, value in annotate(self, self.app.conf.task_annotations).items():
            setattr(self, attribute, value)
        for option in ("autoretry_for", "dont_autoretry_for"):
            self._require_classes(option, getattr(self, option))
        self._looks_at_arguments = bool(
            self.unique or self.debounce or self.throttle or type(self).shadow_name is not TaskOptions.shadow_name
        )
        self._options = {name: value for name in _SENT if (value := getattr(self, name)) is not None}
        self.has_wishes = bool(self._options or self._looks_at_arguments)

    def call_options(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], *, are_known: bool = True
    ) -> Mapping[str, Any]:
        """Return what is to be written into the record of a call: what the task wants, and the call's own ``options``.

        ``are_known`` says whether these are all its arguments.
        """
        if not (self._looks_at_arguments and are_known):
            return {**self._options, **options} if self._options else options
        wanted = dict(self._options)
        if shadow := self.shadow_name(args, kwargs, options):
            wanted["shadow"] = shadow
        if self.unique or self.debounce or self.throttle:
            bound = self.header.bind(*args, **kwargs)
            bound.apply_defaults()
            wanted["unique_key"] = key_of(self.name, bound.arguments, chosen=self.unique or True)
        if self.debounce:
            wanted |= {"debounce": self.debounce, "countdown": self.debounce}
        if self.throttle:
            wanted["throttle"] = self.throttle
        return {**wanted, **options}

    def shadow_name(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> str | None:
        """Return the name that logs are to show for a call; None for the task's own."""

    def _require_classes(self, option: str, value: object) -> None:
        if not isinstance(value, Iterable) or not all(isinstance(one, type) for one in value):
            one = value.__name__ if isinstance(value, type) else "ConnectionError"
            raise ImproperlyConfigured(
                f"{option}={value!r} of {self.name} is no list of exceptions. The task was not made. Write {option}=[{one}]"
            )
