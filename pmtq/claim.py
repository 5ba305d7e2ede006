"""A claim: a task that is a worker's to run, and what has become of it so far.

It knows neither how it was come by, nor how it is run.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pmtq.folder import DEFAULT_QUEUE
from pmtq.places import Place
from pmtq.records import StateRecord, TaskRecord


class Claim(msgspec.Struct, gc=False):
    """A task that is ours to run: its STARTED line stands in the results file."""

    record: TaskRecord
    started: StateRecord
    place: Place | None = None
    queue: str = DEFAULT_QUEUE
    is_plain: bool = False
    """Whether it asks for nothing but to be run."""
    failure: StateRecord | None = None
    """The end of the task whose failure it follows."""
    children: list[str] | None = None
    """The ids of the tasks it has posted so far."""
    adds: list[Any] | None = None
    """What it has added to the chord that it belongs to."""
    is_eager: bool = False
    """Whether it is no claim at all, but a task that its caller runs here and now."""
    again: BaseException | None = None
    """How it wants to be tried again although its function goes on: what ``retry(throw=False)`` has returned."""
    is_entering: bool = False
    """Whether the call is on its way through a ``__call__`` of the task's own class."""
    is_copy: bool = False
    """Whether this is a child's copy: the function has forked."""


class Terms(msgspec.Struct, frozen=True):
    """On what terms a worker runs a function."""

    acks_late: bool = True
    """Whether it may start again when its worker dies."""
    interval: float = 0.0
    """Seconds between two starts, in all workers together."""
