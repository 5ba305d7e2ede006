"""A worker that is one process without children: ``solo`` runs one task at a time in it, ``asyncio`` and greenlets many.

It does not know how tasks are run: that is the consumer's concern.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from pmtq import disk, signals
from pmtq.exceptions import ImproperlyConfigured
from pmtq.presence import Presence
from pmtq.task import Task
from pmtq.worker.board import Board
from pmtq.worker.commands import Commands
from pmtq.worker.consumer import Consumer
from pmtq.worker.ending import Ending, Shutdown, catching, leave
from pmtq.worker.many import ManyAtOnce
from pmtq.worker.pace import SteppingConsumer
from pmtq.worker.plan import SOLO, Plan


class Alone:
    """Such a worker."""

    def __init__(self, plan: Plan, presence: Presence, shutdown: Shutdown, told: set[str]) -> None:
        """Work by ``plan`` in the name of ``presence``; ``told`` are functions whose limits need no more words."""
        self.plan = plan
        self._presence = presence
        self._shutdown = shutdown
        self._consumer = _consumer(plan, presence, plan.load(), Board(told))
        if plan.once:
            self._consumer.left = 1
        self._commands = Commands(self, presence)

    @property
    def hostname(self) -> str:
        """The worker's name, as receivers of Celery's signals know it."""
        return self._presence.name

    @property
    def app(self) -> object:
        """The app whose tasks are run."""
        return self.plan.app()

    def run(self) -> None:
        """Work until the end."""
        name, status = self._presence.name, 1
        signals.worker_process_init.send(name)
        try:
            with catching(Ending(self._shutdown, self._stop, self._consumer.abandon)):
                signals.worker_ready.send(self)
                self._consumer.run(burst=self.plan.burst, still_wanted=self._look_round)
            status = 0
        finally:
            signals.worker_process_shutdown.send(name, pid=os.getpid(), exitcode=status)
        self._commands.close()
        leave(self._presence)

    def change(self, plan: Plan) -> None:
        """Serve other queues; have more or fewer places, which only an event loop has."""
        if isinstance(self._consumer, ManyAtOnce) and not plan.autoscale:
            self._consumer.places = plan.concurrency
        elif plan.concurrency != self.plan.concurrency or plan.autoscale:
            raise ImproperlyConfigured(f"a worker with -P {plan.pool} has no processes that could become more or fewer")
        if plan.queues != self.plan.queues:
            self._consumer.serve(plan.queues)
        self.plan = plan

    def restart_pool(self) -> None:
        """Refuse: there are no children."""
        raise ImproperlyConfigured(
            f"a worker with -P {self.plan.pool} has no processes to replace. Start it again: kill -HUP {os.getpid()}"
        )

    def shut_down(self) -> None:
        """End after what runs."""
        self._shutdown.by_command()
        self._stop()

    def _look_round(self) -> bool:
        self._commands.look()
        return True

    def _stop(self) -> None:
        self._consumer.stop()
        wake(self.plan)  # it may be waiting for the queue files, among others ourselves


def wake(plan: Plan) -> None:
    """Make all workers of these queues look at once."""
    for queue in plan.queues:
        with contextlib.suppress(OSError):
            disk.nudge(plan.folder.queue(queue))


def _consumer(plan: Plan, presence: Presence, tasks: Mapping[str, Task[..., Any]], board: Board) -> Consumer:
    share = plan.folder, presence, list(plan.queues), tasks
    if plan.make_pace:
        return SteppingConsumer(plan.make_pace(), *share)
    if plan.pool == SOLO:
        return Consumer(*share, board)
    consumer = ManyAtOnce(*share, board)
    consumer.places = plan.concurrency
    return consumer
