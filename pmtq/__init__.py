"""pmtq, the Poor Man's Task Queue: two text files, a lock, and a worker.

Read on in this order, which is the way of one task:

    task      your function becomes a task; ``delay`` is a call of it
    calls     the call becomes a record
    records   the record as a line of JSON
    app       … is handed on
    broker    the line goes into the queue file
    journal   … under a lock, whole or not at all
    watch     the worker hears of it
    claim     a worker takes the task by writing a STARTED line into the results file
    ledger    the rules for who may take what
    worker    ``consumer`` goes round and round
    execute   the function runs
    backend   the caller sees the final line
    promise   … and has the value

    >>> from pmtq import PMTQ
    >>> app = PMTQ("imaginosaure")
    >>> @app.task
    ... def add(x, y):
    ...     return x + y
    >>> add.delay(2, 3)        # in one process; get() has 5 as soon as `pmtq worker` runs in another
"""

from functools import partial
from typing import Any, cast

from pmtq import current
from pmtq.app import PMTQ
from pmtq.canvas import (
    Signature,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from pmtq.current import shared_task
from pmtq.result import AsyncResult, GroupResult
from pmtq.routes import Exchange, Queue
from pmtq.task import Task

Celery = PMTQ
"""The same class under the name that programs written for Celery know."""

current.make_default = partial(PMTQ, "default")
current_app: PMTQ = cast("PMTQ", current.Proxy(current.app_in_use))
"""Stands for the app made last."""
current_task: Task[..., Any] = cast("Task[..., Any]", current.Proxy(lambda: current.app_in_use().current_task))
"""Stands for the task that runs here."""

__all__ = [
    "PMTQ",
    "AsyncResult",
    "Celery",
    "Exchange",
    "GroupResult",
    "Queue",
    "Signature",
    "Task",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
__version__ = "0.1.0"
