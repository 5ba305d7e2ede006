"""The parent of a worker's children, be they processes or threads: starts them, looks after them, ends them.

1. It runs no task. With processes it starts no thread either, so that it can be forked at any time.
2. A child that dies is replaced at once, and what it ran is given out again; those that die young one after the other
   are given a rest first.
3. What is changed while it runs is a new plan. Children that go by an old one end after their running task and are
   replaced, one at a time.

It does not know what a child is made of.
"""

from __future__ import annotations

import logging
import math
import multiprocessing.connection
import os
import signal
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

from pmtq import signals
from pmtq.claim import Terms
from pmtq.claimer import Claimer
from pmtq.clock import now
from pmtq.exceptions import OperationalError, PmtqError
from pmtq.presence import Presence
from pmtq.records import TaskRecord, timestamp
from pmtq.trace import Trace
from pmtq.wording import signal_name
from pmtq.worker.alone import wake
from pmtq.worker.autoscale import LOOK, Autoscaler
from pmtq.worker.board import Board
from pmtq.worker.commands import LOOK_EVERY, Commands
from pmtq.worker.ending import AT_ONCE, POSIX, QUIT, STACKS, Shutdown, Stage, catching, leave, log_stacks
from pmtq.worker.overtime import end_overdue
from pmtq.worker.plan import Plan
from pmtq.worker.selfpipe import SelfPipe
from pmtq.worker.telling import tell_of_ended, tell_of_terminated

logger = logging.getLogger("pmtq.worker")

USED_UP = 75
"""Exit status of a child that is to be replaced because it has done enough (EX_TEMPFAIL of sysexits.h)."""
_BROKEN_OFF = 128 + (QUIT or 0)
"""That of one which was told to end at once, because somebody has called off its task."""
QUICK_DEATH = 1.0
"""A child that lived shorter than these seconds may have died of something that kills its successor too."""
QUICK_DEATHS = 3
"""So many quick deaths in a row are met with an immediate restart: a task may have been the killer, and starts thrice."""
SHORTEST_REST, LONGEST_REST = 0.25, 30.0
"""Seconds before the next restart after more of them; doubled each time."""
LAST_WORDS = 0.3
"""Seconds that the children have to note what they were doing, when they are to end at once."""


class Child(Protocol):
    """What a pool needs of a child."""

    name: str
    description: str
    """The process or thread that it is, for the log."""
    board: Board

    def sentinel(self) -> int | None:
        """Return what becomes readable when it ends; None if it tells by itself."""

    def status(self) -> int | None:
        """Return 0 if it has ended well, another number if not; None while it lives."""

    def end_gently(self) -> None:
        """Have it end after its running task."""

    def break_off(self) -> None:
        """Have it note that its task was called off on purpose, and end."""

    def kill(self, patience: float = 0.0) -> None:
        """End it if it has not ended by itself after ``patience`` seconds; return when it is gone."""

    def log_stacks(self) -> None:
        """Have it log what it is doing."""

    def close(self) -> None:
        """Give back what belongs to it; it has ended."""


@dataclass
class _Slot:
    """One place in a pool, and the child that fills it."""

    number: int
    child: Child | None = None
    version: int = 0
    """The version of the plan that its child works by."""
    began: float = 0.0
    quick_deaths: int = 0
    not_before: float = 0.0
    """When the next child may be started, in seconds of ``time.monotonic``."""
    asked: bool = False
    """Its child was asked to end."""
    overdue: bool = False
    """Its child was ended because its task took too long."""
    closed: bool = False
    """Nobody is to fill it any more."""


class Pool(ABC):
    """The parent of a worker's children; what kind they are says a subclass."""

    def __init__(self, plan: Plan, presence: Presence, shutdown: Shutdown) -> None:
        """Look after ``plan.concurrency`` children in the name of ``presence``; ``run`` starts them."""
        self.plan = plan
        self.name = presence.name
        self._presence = presence
        self._shutdown = shutdown
        self._slots = [_Slot(number) for number in range(1, plan.concurrency + 1)]
        self._version = 0
        self._received: list[int] = []
        self._cold_at = math.inf
        self._autoscaler = Autoscaler(*plan.autoscale) if plan.autoscale else None
        self._claimer = self._new_claimer()
        self._commands = Commands(self, presence)
        self._pipe: SelfPipe | None = None

    def run(self) -> None:
        """Keep the children at work until the end."""
        # A worker without children may have died under this name. As we live, nobody else gives out again what it held.
        self._claimer.succeed_namesake(now())
        self._pipe = SelfPipe() if POSIX else None
        try:
            with catching(lambda number, _frame: self._received.append(number)):
                self._fill()
                signals.worker_ready.send(self)
                while not self._is_over():
                    self._wait()
                    self._obey()
                    self._look_round()
                    self._fill()
        except BaseException:
            self._end_gently()  # else the interpreter would wait for children that wait for work
            raise
        finally:
            if self._pipe:
                self._pipe.close()
        self._commands.close()
        leave(self._presence)

    @property
    def hostname(self) -> str:
        """The worker's name, as receivers of Celery's signals know it."""
        return self.name

    @property
    def app(self) -> object:
        """The app whose tasks are run."""
        return self.plan.app()

    def change(self, plan: Plan) -> None:
        """Work by ``plan`` from now on."""
        if plan.queues != self.plan.queues:
            self._version += 1
        if plan.autoscale and plan.autoscale != self.plan.autoscale:
            self._autoscaler = Autoscaler(*plan.autoscale)
        self.plan = plan
        self._claimer = self._new_claimer()
        self._resize()

    def restart_pool(self) -> None:
        """Replace all children, one after the other."""
        self._version += 1

    def shut_down(self) -> None:
        """End after what runs."""
        self._shutdown.by_command()
        self._end_gently()

    @abstractmethod
    def _make_child(self, number: int) -> Child:
        """Start a child for a place; raises ``OSError``, ``RuntimeError`` or ``PmtqError`` if that is not possible now."""

    def _is_over(self) -> bool:
        is_ending = self.plan.burst or self._shutdown.stage > Stage.WORKING
        return is_ending and all(slot.closed for slot in self._slots)

    # Children come …

    def _fill(self) -> None:
        """Start a child wherever one is missing and due."""
        for slot in self._slots:
            if slot.child or slot.closed:
                continue
            if self._shutdown.stage > Stage.WORKING:
                slot.closed = True
            elif slot.not_before <= time.monotonic():
                self._start(slot)

    def _start(self, slot: _Slot) -> None:
        signals.worker_before_create_process.send(self)
        slot.began, slot.version, slot.asked, slot.overdue = time.monotonic(), self._version, False, False
        try:
            slot.child = self._make_child(slot.number)
        except (OSError, RuntimeError, PmtqError) as error:
            slot.not_before = slot.began + LONGEST_REST
            why = error.strerror if isinstance(error, OSError) else error
            logger.error("%s#%d cannot be started: %s. Trying again in %g s", self.name, slot.number, why, LONGEST_REST)  # noqa: TRY400

    # … and are waited for …

    def _wait(self) -> None:
        """Return when a signal came, a child ended, or it is time to look round."""
        moment = time.monotonic()
        children = [slot.child for slot in self._slots if slot.child]
        rests = [slot.not_before for slot in self._slots if not slot.child and not slot.closed]
        deadlines = [child.board.deadline() for child in children]
        look = moment + (LOOK if self._autoscaler else LOOK_EVERY)
        until = max(moment, min([look, self._cold_at, *rests, *deadlines]))
        for child in children:
            child.board.looks_again(until)
        ends: list[int] = [end for child in children if (end := child.sentinel()) is not None]
        # A process that a task left behind may keep its parent's sentinel open; SIGCHLD comes all the same.
        multiprocessing.connection.wait([self._pipe.reading, *ends] if self._pipe else ends, until - moment)
        if self._pipe:
            self._pipe.drain()

    def _obey(self) -> None:
        """Do what the signals say that came."""
        while self._received:
            number = self._received.pop(0)
            if number == STACKS:
                log_stacks()
                for child in [slot.child for slot in self._slots if slot.child]:
                    child.log_stacks()
                continue
            stage = self._shutdown.next_stage(number)
            if stage < Stage.COLD:
                self._end_gently()  # before it is said: what is said is true then
            self._shutdown.tell(number)
            if stage == Stage.SOFT:
                self._cold_at = min(self._cold_at, time.monotonic() + self._shutdown.soft_timeout)
            if stage == Stage.COLD:
                self._end_at_once(number)
        if time.monotonic() >= self._cold_at:
            logger.warning(AT_ONCE)
            self._end_at_once(signal.SIGTERM)

    def _end_gently(self) -> None:
        for slot in self._slots:
            self._ask(slot)

    def _ask(self, slot: _Slot) -> None:
        """Ask a child to end, once: it would take a second time for more than that."""
        if slot.child and not slot.asked:
            slot.asked = True
            slot.child.end_gently()

    def _end_at_once(self, number: int) -> NoReturn:
        children = [slot.child for slot in self._slots if slot.child]
        for child in children:
            child.break_off()
        deadline = time.monotonic() + LAST_WORDS
        for child in children:
            child.kill(max(0.0, deadline - time.monotonic()))
        os._exit(128 + number)

    # … looked after …

    def _look_round(self) -> None:
        """See what has become of the children, and what is to change."""
        for slot in list(self._slots):
            if slot.child:
                self._hold_to_limit(slot, slot.child)
                self._bury_if_dead(slot, slot.child)
        self._commands.look()
        if self._shutdown.stage == Stage.WORKING:
            self._scale()
            self._renew_a_child()
        try:
            self._presence.renew()
        except PmtqError as error:
            logger.error("%s", error)  # noqa: TRY400  (the sentence says it all)

    def _hold_to_limit(self, slot: _Slot, child: Child) -> None:
        if child.board.deadline() <= time.monotonic() and (line := end_overdue(self.plan.folder, child)):
            slot.overdue = True
            logger.error("Task %s %s: %s", line.task_id, line.status, (line.error or {}).get("message"))

    def _bury_if_dead(self, slot: _Slot, child: Child) -> None:
        """Note a child's end and decide when its successor starts."""
        if (status := child.status()) is None:
            return
        child.close()
        slot.child = None
        if status == _BROKEN_OFF or status < 0:
            since = timestamp(now() - (time.monotonic() - slot.began))
            signum = -status if status < 0 else status - 128
            tell_of_terminated(self.plan.folder, child.name, since, signum, self.plan.load())
        slot.closed = slot.closed or self._shutdown.stage > Stage.WORKING or (self.plan.burst and status == 0)
        if slot.overdue or status in {USED_UP, _BROKEN_OFF} or (status == 0 and (slot.asked or slot.closed)):
            level = logging.DEBUG if slot.closed else logging.INFO
            logger.log(
                level, "%s (%s) has ended%s", child.name, child.description, "" if slot.closed else "; another starts"
            )
        else:
            self._tell_of_a_death(slot, child, status)
        if slot.closed and slot.number > self.plan.concurrency:
            self._slots.remove(slot)
        wake(self.plan)  # an idle sibling gives out what it ran sooner than its successor can

    def _tell_of_a_death(self, slot: _Slot, child: Child, status: int) -> None:
        moment = time.monotonic()
        slot.quick_deaths = slot.quick_deaths + 1 if moment - slot.began < QUICK_DEATH else 0
        rest = _rest(slot.quick_deaths)
        slot.not_before = moment + rest
        next_step = "" if slot.closed else f"; another is started{f' in {rest:g} s' if rest else ''}"
        logger.error("%s (%s) %s%s", child.name, child.description, _how(status), next_step)

    # … and become more or fewer.

    def _renew_a_child(self) -> None:
        """Ask one child to end that goes by an old plan; its successor goes by the new one."""
        for slot in self._slots:
            if slot.child and slot.version != self._version and not slot.asked:
                self._ask(slot)
                return

    def _scale(self) -> None:
        """See whether the pool has the right size for its work."""
        slots = [slot for slot in self._slots if not slot.closed]
        if not self._autoscaler or (self.plan.burst and len(slots) < len(self._slots)):
            return
        busy = sum(slot.child is not None and slot.child.board.busy for slot in slots)
        size = self._autoscaler.size(len(slots), busy, self._work_waits, time.monotonic())
        if size != len(slots):
            logger.info("The pool %s to %d", "grows" if size > len(slots) else "shrinks", size)
            self.plan = replace(self.plan, concurrency=size)
            self._presence.update(**self.plan.changeable())
            self._resize()

    def _resize(self) -> None:
        """Have as many places as the plan says; those with idle children go first."""
        slots = [slot for slot in self._slots if not slot.closed]
        for _ in range(self.plan.concurrency - len(slots)):
            taken = {slot.number for slot in self._slots}
            self._slots.append(_Slot(next(number for number in range(1, len(taken) + 2) if number not in taken)))
        slots.sort(key=lambda slot: (slot.child is not None and slot.child.board.busy, -slot.number))
        for slot in slots[: max(0, len(slots) - self.plan.concurrency)]:
            slot.closed = True
            self._ask(slot)
        self._slots = [slot for slot in self._slots if slot.child or not slot.closed]

    def _new_claimer(self) -> Claimer:
        """Return what buries for us and, if the pool grows by itself, says whether work waits."""
        terms: dict[str, Terms] = {}
        if self.plan.autoscale:
            terms = {name: Trace(task).terms for name, task in self.plan.load().items()}
        return Claimer(self.plan.folder, self._presence, list(self.plan.queues), terms)

    def _work_waits(self) -> bool:
        """Say whether there is a task that a child could claim now."""
        waiting: list[TaskRecord] = []

        def look_at(record: TaskRecord) -> bool:
            waiting.append(record)
            return False  # claims nothing

        try:
            self._claimer.exchange([], now(), look_at)
        except OperationalError as error:
            logger.error("%s", error)  # noqa: TRY400
        else:
            tell_of_ended(self, self._claimer.ended, self.plan.load())
        return bool(waiting)


def _rest(quick_deaths: int) -> float:
    """Return the seconds to wait before a child is replaced."""
    if quick_deaths <= QUICK_DEATHS:
        return 0.0
    return float(min(LONGEST_REST, SHORTEST_REST * 2 ** min(quick_deaths - QUICK_DEATHS - 1, 20)))


def _how(status: int) -> str:
    """Say how a child ended that ended with ``status``, which is negative for a signal."""
    return f"ended with status {status}" if status >= 0 else f"was killed by {signal_name(-status)}"
