"""Carries out what is written into a worker's inbox, by Celery's names for it.

    {"command":"pool_grow","n":1}         {"command":"add_consumer","queue":"low"}
    {"command":"pool_shrink","n":1}       {"command":"cancel_consumer","queue":"low"}
    {"command":"autoscale","max":8,"min":2}
    {"command":"pool_restart"}            {"command":"shutdown"}

1. What makes no sense is logged and changes nothing: nobody waits for an answer.

It does not know how a pool does what it is told.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from pmtq.exceptions import ImproperlyConfigured, OperationalError
from pmtq.inbox import Inbox
from pmtq.presence import Presence
from pmtq.worker.plan import Plan

logger = logging.getLogger("pmtq.worker")

LOOK_EVERY = 0.5
"""Seconds between two looks into the inbox."""


class Changeable(Protocol):
    """A worker that can be changed while it runs. What it cannot do it refuses with ``ImproperlyConfigured``."""

    plan: Plan

    def change(self, plan: Plan) -> None:
        """Work by ``plan`` from now on: with other queues, another number of places, other bounds."""

    def restart_pool(self) -> None:
        """Replace all children, one after the other."""

    def shut_down(self) -> None:
        """End warmly."""


class Grow(msgspec.Struct, tag_field="command", tag="pool_grow"):
    """More children, or places."""

    n: int = 1

    def carry_out(self, worker: Changeable) -> None:
        """Grow; an autoscaled pool may grow further by as many."""
        _resize(worker, self.n)


class Shrink(msgspec.Struct, tag_field="command", tag="pool_shrink"):
    """Fewer children, or places."""

    n: int = 1

    def carry_out(self, worker: Changeable) -> None:
        """Shrink; idle children go first."""
        _resize(worker, -self.n)


class Autoscale(msgspec.Struct, tag_field="command", tag="autoscale"):
    """Other bounds for a pool that grows and shrinks by itself, which it does from then on."""

    max: int
    min: int = 0

    def carry_out(self, worker: Changeable) -> None:
        """Set the bounds."""
        if not 0 <= self.min <= self.max or not self.max:
            raise ImproperlyConfigured(f"autoscale needs 0 <= min <= max, and got max={self.max}, min={self.min}")
        worker.change(replace(worker.plan, autoscale=(self.max, self.min)))


class AddConsumer(msgspec.Struct, tag_field="command", tag="add_consumer"):
    """One queue more."""

    queue: str

    def carry_out(self, worker: Changeable) -> None:
        """Serve it too."""
        worker.plan.folder.queue(self.queue)  # refuses what can be no queue
        if self.queue not in worker.plan.queues:
            worker.change(replace(worker.plan, queues=[*worker.plan.queues, self.queue]))


class CancelConsumer(msgspec.Struct, tag_field="command", tag="cancel_consumer"):
    """One queue less."""

    queue: str

    def carry_out(self, worker: Changeable) -> None:
        """Serve it no longer."""
        if self.queue not in worker.plan.queues:
            raise ImproperlyConfigured(f"it does not serve the queue {self.queue}, only {worker.plan.queues}")
        worker.change(replace(worker.plan, queues=[name for name in worker.plan.queues if name != self.queue]))


class Restart(msgspec.Struct, tag_field="command", tag="pool_restart"):
    """Fresh children."""

    def carry_out(self, worker: Changeable) -> None:
        """Replace them."""
        worker.restart_pool()


class Shutdown(msgspec.Struct, tag_field="command", tag="shutdown"):
    """The end."""

    def carry_out(self, worker: Changeable) -> None:
        """End warmly."""
        worker.shut_down()


Command = Grow | Shrink | Autoscale | AddConsumer | CancelConsumer | Restart | Shutdown


class Commands:
    """The inbox of one worker, looked into every now and then."""

    def __init__(self, worker: Changeable, presence: Presence) -> None:
        """Carry out commands to the worker that has the name of ``presence``."""
        self._worker = worker
        self._presence = presence
        self._inbox = Inbox(worker.plan.folder, presence.name)
        self._next_look = 0.0

    def look(self) -> None:
        """Carry out what has come, if it is time to look."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_EVERY
        try:
            commands = self._inbox.commands()
        except OperationalError as error:
            logger.error("%s", error)  # noqa: TRY400  (the sentence says it all)
            return
        for command in commands:
            self._carry_out(command)

    def _carry_out(self, command: dict[str, Any]) -> None:
        try:
            msgspec.convert(command, Command).carry_out(self._worker)
            self._presence.update(**self._worker.plan.changeable())
            logger.info("Told to %s: done", _shown(command))
        except (msgspec.ValidationError, ImproperlyConfigured, OperationalError) as error:
            logger.error("Told to %s, which changes nothing: %s", _shown(command), error)  # noqa: TRY400

    def close(self) -> None:
        """Remove the inbox."""
        self._inbox.close()


def _shown(command: dict[str, Any]) -> str:
    fields = [f"{name}={value!r}" for name, value in command.items() if name != "command"]
    return " ".join([str(command.get("command", "do something")), *fields])


def _resize(worker: Changeable, by: int) -> None:
    plan = worker.plan
    if plan.autoscale:
        most, fewest = plan.autoscale
        plan = replace(plan, autoscale=(max(most + by, fewest, 1), fewest))
    size = plan.concurrency + by
    if size < 1:
        raise ImproperlyConfigured(f"it has {plan.concurrency}, and at least one must stay")
    worker.change(replace(plan, concurrency=size))
