"""Periodic tasks as the code declares them: in ``beat_schedule``, or by ``app.add_periodic_task``.

1. What is declared is held against what is possible at once, so that a misspelt key is found by day.
2. A task may be declared by name: the scheduler needs not have its code.

It does not know when anything runs, nor whether it did.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, NamedTuple, get_args

from pmtq.exceptions import ImproperlyConfigured
from pmtq.schedules import BaseSchedule, maybe_schedule
from pmtq.timetable import Missed

_KEYS = ("task", "schedule", "args", "kwargs", "options", "relative", "missed", "name")


class PeriodicTask(NamedTuple):
    """One such task."""

    task: str
    schedule: BaseSchedule
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    missed: Missed | None = None
    """What is done about missed runs; None leaves that to ``schedule.json``."""
    workflow: Any = None
    """The signature to be sent instead, if it is a chain, a group or a chord."""


class PeriodicTasks:
    """What ``PMTQ`` has for declaring such tasks."""

    @cached_property
    def periodic(self) -> dict[str, PeriodicTask]:
        """What ``add_periodic_task`` was told, by name; ``conf.beat_schedule`` has the others."""
        return {}

    def add_periodic_task(
        self,
        schedule: BaseSchedule | timedelta | float | str,
        sig: Any,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        *,
        missed: Missed | None = None,
        **options: Any,
    ) -> str:
        """Have the scheduler (``pmtq beat``) post a task by the clock; return the entry's name in ``schedule.json``.

        ``schedule`` is one of ``pmtq.schedules``, or seconds; ``sig`` a task, a signature or a task's name. ``missed``
        says what is done about runs that no scheduler was there for: one is made for all of them (``once``), none
        (``skip``), or each is made (``all``). Further options are those of ``apply_async``.
        """
        call, task = from_signature(schedule, sig, args, kwargs, options, missed, self)
        self.periodic[name or call] = task
        return name or call


def from_settings(schedules: Mapping[str, Any] | None, app: Any) -> dict[str, PeriodicTask]:
    """Return what the setting ``beat_schedule`` declares, by name. Raises ``ImproperlyConfigured``."""
    return {str(name): _declared(str(name), fields, app) for name, fields in (schedules or {}).items()}


def from_signature(
    schedule: Any,
    sig: Any,
    args: Iterable[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    missed: Missed | None = None,
    app: Any = None,
) -> tuple[str, PeriodicTask]:
    """Return the declaration of a task or signature, and a name for it: the call, ``tasks.add(2, 3)``.

    ``args`` come before those of a signature, and ``kwargs`` override its own, unless it is immutable.
    """
    args, kwargs, options = list(args), dict(kwargs or {}), dict(options or {})
    workflow = sig if getattr(sig, "subtask_type", None) else None
    if workflow is None and hasattr(sig, "args"):
        own = list(sig.args), dict(sig.kwargs)
        args, kwargs = own if getattr(sig, "immutable", False) else ([*args, *own[0]], {**own[1], **kwargs})
        options = {**getattr(sig, "options", {}), **options}
    task = repr(sig) if workflow is not None else _task_name(sig)
    plan = _plan(task, schedule, relative=False, app=app)
    name = task if workflow is not None else _call(task, args, kwargs)
    return name, PeriodicTask(task, plan, args, kwargs, options, _policy(task, missed), workflow)


def _declared(name: str, fields: Any, app: Any) -> PeriodicTask:
    if not isinstance(fields, Mapping):
        raise _refused(name, f"is {fields!r}", "Write {'task': 'tasks.add', 'schedule': 30.0, 'args': (2, 3)}")
    for key in fields:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            raise _refused(name, f"has a key {key!r}", f"Did you mean {near[0]!r}?" if near else f"There are {_KEYS}")
    for key in ("task", "schedule"):
        if not fields.get(key):
            raise _refused(name, f"has no {key!r}", f"Write it: {{{key!r}: …}}")
    return PeriodicTask(
        task=_task_name(fields["task"]),
        schedule=_plan(name, fields["schedule"], relative=bool(fields.get("relative")), app=app),
        args=list(fields.get("args") or ()),
        kwargs=dict(fields.get("kwargs") or {}),
        options=dict(fields.get("options") or {}),
        missed=_policy(name, fields.get("missed")),
    )


def _plan(name: str, value: Any, *, relative: bool, app: Any) -> BaseSchedule:
    try:
        plan = maybe_schedule(value, relative, app)
    except ImproperlyConfigured as error:
        raise _refused(name, "has no schedule that can be read", str(error)) from None
    if not isinstance(plan, BaseSchedule):
        raise _refused(name, f"has {value!r} for a schedule", "Give seconds, a timedelta, crontab(…) or 'every 10 s'")
    return plan


def _policy(name: str, missed: Any) -> Missed | None:
    if missed is None or missed in get_args(Missed):
        found: Missed | None = missed
        return found
    raise _refused(name, f"has missed={missed!r}", f"Write one of {', '.join(get_args(Missed))}")


def _task_name(task: Any) -> str:
    """Return the name of a task that is given as such, as a signature or by name."""
    for name in (task, getattr(task, "task", None), getattr(task, "name", None)):
        if isinstance(name, str) and name:
            return name
    raise ImproperlyConfigured(f"{task!r} is no task. Nothing was planned. Give a task, task.s(…), or a task's name")


def _call(task: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    return f"{task}({', '.join([*map(repr, args), *(f'{key}={value!r}' for key, value in kwargs.items())])})"


def _refused(name: str, what: str, remedy: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"the periodic task {name!r} {what}. It was not planned. {remedy}")
