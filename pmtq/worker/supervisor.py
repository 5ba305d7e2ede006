"""Keeps a worker going: gives it its name, its processes and its end.

1. ``solo`` runs the tasks in this process, ``prefork`` in child processes that each claim for themselves.
2. The parent of a pool runs no task and starts no thread, so that it can be forked at any time. A child that dies is
   replaced at once, and what it ran is given out again.
3. The first signal ends a worker after the running task, the second one at once. Nothing is lost either way: a task
   without a final line is owed.

It does not know the command line: what to serve and which functions there are is told in a ``Plan``.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from pmtq import disk
from pmtq.app import Task
from pmtq.claim import Claimer
from pmtq.exceptions import ImproperlyConfigured, PmtqError, WorkerNameTaken
from pmtq.folder import Folder
from pmtq.fork import put_in_order_after_fork
from pmtq.presence import Presence, living
from pmtq.records import timestamp
from pmtq.worker.consumer import Consumer
from pmtq.worker.pace import Slow, SteppingConsumer

logger = logging.getLogger("pmtq.worker")

SOLO, PREFORK = "solo", "prefork"
DEFAULT_NAME = "worker1@%h"
_SAFE_NAME = re.compile(r"[\w.+%-]+@[\w.+%-]+")
_NAMES = 1000
"""So many names are tried before a worker that was given none gives up."""
QUICK_DEATH = 1.0
"""A child that lived shorter than these seconds may have died of something that kills its successor too."""
QUICK_DEATHS = 3
"""So many quick deaths in a row are met with an immediate restart: a task may have been the killer, and starts thrice."""
SHORTEST_REST, LONGEST_REST = 0.25, 30.0
"""Seconds before the next restart after more of them; doubled each time."""
LAST_WORDS = 0.3
"""Seconds that the children of a pool have to note what they were doing, when they are to end at once."""
LOOK_ROUND = 1.0
"""Seconds between two looks of a parent at its own name."""

_POSIX = os.name == "posix"
_GENTLE = (signal.SIGINT, signal.SIGTERM)
_QUIT = getattr(signal, "SIGQUIT", None)

_GENTLY = "Ending after the running %s; the rest is given back. A second %s ends it now"
_AT_ONCE = "Ended at once; what was running is given out again by the next worker"


def _nothing(name: str) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Plan:
    """What a worker is to do. A pool that cannot fork sends it to its children, so all of it can be pickled."""

    folder: Folder
    queues: list[str]
    load: Callable[[], Mapping[str, Task[..., Any]]]
    """Returns the tasks by name; quick when it is called again in the same process."""
    pool: str = SOLO
    concurrency: int = 1
    burst: bool = False
    """End when nothing is left to run, instead of waiting for more."""
    make_pace: Callable[[], Slow] | None = None
    """Says how to stop between the stages of a task, if that is wanted."""
    prepare: Callable[[str], None] = _nothing
    """Called in each process with the name it works under, before its first line in the log."""

    def facts(self, name: str, parent: str = "") -> dict[str, Any]:
        """Return what ``workers/<name>.json`` says to whoever opens it."""
        facts = {
            "name": name,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": timestamp(time.time()),
            "queues": list(self.queues),
            "functions": sorted(self.load()),
            "pool": self.pool,
            "concurrency": self.concurrency,
        }
        return facts | {"parent": parent} if parent else facts


def expand_name(pattern: str, host: str) -> str:
    """Return a worker's name: ``%h`` is the host, ``%n`` its first part, ``%d`` the rest, ``%%`` a percent sign.

    A name without ``@`` gets the host behind it, as Celery does it. Raises ``ImproperlyConfigured``.
    """
    first, _, domain = host.partition(".")
    meaning = {"%h": host, "%n": first, "%d": domain, "%%": "%"}
    name = re.sub("%.?", lambda match: meaning.get(match[0], match[0]), pattern)
    name = name if "@" in name else f"{name}@{host}"
    if not _SAFE_NAME.fullmatch(name):
        raise ImproperlyConfigured(
            f"{name!r} cannot be a worker's name, because it names a file too. Nothing was started. Use letters, "
            f"digits, '.', '_', '+' and '-' on both sides of one '@', for example: -n {DEFAULT_NAME}"
        )
    return name


def take_name(plan: Plan, pattern: str = "") -> Presence:
    """Take the worker's name and return it as its presence.

    Without a ``pattern`` it is the first free one of ``worker1@%h``, ``worker2@%h`` … Raises ``WorkerNameTaken``.
    """
    host = socket.gethostname()
    if pattern:
        return _take_first_free(plan, [expand_name(pattern, host)])
    taken = {facts.get("name") for facts in living(plan.folder)}
    names = (expand_name(f"worker{number}@%h", host) for number in range(1, _NAMES))
    return _take_first_free(plan, [name for name in names if name not in taken])


def _take_first_free(plan: Plan, names: list[str], parent: str = "") -> Presence:
    for name in names[:-1]:
        with contextlib.suppress(WorkerNameTaken):
            return Presence(plan.folder, name, plan.facts(name, parent))
    return Presence(plan.folder, names[-1], plan.facts(names[-1], parent))


@contextlib.contextmanager
def holding_signals() -> Iterator[None]:
    """Keep signals waiting until ``work`` can answer them, so that none ends a worker between its name and its start."""
    _block_signals(signal.SIG_BLOCK)
    try:
        yield
    finally:
        _block_signals(signal.SIG_UNBLOCK)


def work(plan: Plan, presence: Presence, start_method: str = "") -> None:
    """Work under the name that ``presence`` holds until there is nothing left to do or a signal comes.

    ``start_method`` is how children begin: by default ``fork``, and ``spawn`` where the system has no fork.
    """
    if plan.pool == SOLO:
        _serve(plan, presence)
    else:
        Pool(plan, presence, start_method or ("fork" if hasattr(os, "fork") else "spawn")).run()


def _serve(plan: Plan, presence: Presence, still_wanted: Callable[[], bool] | None = None) -> None:
    """Run tasks in this process; ``still_wanted`` is asked by a child, whether its parent is still there."""
    share = plan.folder, presence, list(plan.queues), plan.load()
    consumer = SteppingConsumer(plan.make_pace(), *share) if plan.make_pace else Consumer(*share)

    def stop() -> None:
        consumer.stop()
        _wake(plan)  # it may be waiting for the queue files, among others ourselves

    with _signals(_Ending(stop, aloud=still_wanted is None, at_once=consumer.abandon)):
        consumer.run(burst=plan.burst, still_wanted=still_wanted or (lambda: True))
    _leave(presence)


def _leave(presence: Presence) -> None:
    """Give the name back, unless outcomes could not be posted: then whoever misses us finds them in the notes."""
    if presence.notes.lines():
        logger.error(
            "Outcomes of finished tasks could not be posted; they stay in %s for the next worker", presence.notes.path
        )
    else:
        presence.leave()


def _wake(plan: Plan) -> None:
    """Make all workers of these queues look at once."""
    for queue in plan.queues:
        with contextlib.suppress(OSError):
            disk.nudge(plan.folder.queue(queue))


class _Ending:
    """What a worker does about signals: the first one ends it gently, the next one at once."""

    def __init__(self, gently: Callable[[], None], *, aloud: bool, at_once: Callable[[], None] = lambda: None) -> None:
        """Call ``gently`` at the first one and ``at_once`` at the next, just before the end.

        ``aloud`` tells the person, which the parent of a pool does for all.
        """
        self._gently, self._at_once = gently, at_once
        self._level = logging.WARNING if aloud else logging.DEBUG
        self._told = False

    def __call__(self, number: int, _frame: object) -> None:
        if self._told or number == _QUIT:
            logger.log(self._level, _AT_ONCE)
            self._at_once()
            os._exit(128 + number)  # the kernel frees the name's lock, whatever Python is in the middle of
        self._told = True
        logger.log(self._level, _GENTLY, "task", _shown(number))
        self._gently()


def _shown(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


@contextlib.contextmanager
def _signals(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Give the signals that end a worker to ``handler`` for a while."""
    numbers = [*_GENTLE, *([_QUIT] if _QUIT else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] is not signal.SIG_IGN:  # as set by nohup, or by our parent for its children
            signal.signal(number, handler)
    _block_signals(signal.SIG_UNBLOCK)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _block_signals(how: int) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(how, _GENTLE)


@dataclass
class _Slot:
    """One place in a pool, and the child that fills it."""

    number: int
    process: BaseProcess | None = None
    began: float = 0.0
    quick_deaths: int = 0
    not_before: float = 0.0
    """When the next child may be started, in seconds of ``time.monotonic``."""
    done: bool = field(default=False)
    """Its child has ended because there was nothing left to do."""


class Pool:
    """The parent of a worker's child processes."""

    def __init__(self, plan: Plan, presence: Presence, start_method: str) -> None:
        """Look after ``plan.concurrency`` children in the name of ``presence``; ``run`` starts them."""
        self._plan = plan
        self._presence = presence
        self._context: Any = multiprocessing.get_context(start_method)
        self._slots = [_Slot(number) for number in range(1, plan.concurrency + 1)]
        self._received: list[int] = []
        self._ending = False

    def run(self) -> None:
        """Start the children, replace those that die, and return when they have ended as they were told."""
        # A worker without children may have died under this name. As we live, nobody else gives out again what it held.
        claimer = Claimer(self._plan.folder, self._presence, self._plan.queues, {})
        claimer.succeed_namesake(time.time())
        pipe = _SelfPipe() if _POSIX else None
        try:
            with _signals(lambda number, _frame: self._received.append(number)):
                while not all(slot.done for slot in self._slots):
                    self._fill()
                    self._wait(pipe)
                    self._obey()
                    self._reap()
                    self._renew_name()
        except BaseException:
            self._end_gently()  # else the interpreter would wait for children that wait for work
            raise
        finally:
            if pipe:
                pipe.close()
        _leave(self._presence)

    def _fill(self) -> None:
        """Start a child wherever one is missing and due."""
        for slot in self._slots:
            if slot.process or slot.done:
                continue
            if self._ending:
                slot.done = True
            elif slot.not_before <= time.monotonic():
                self._start(slot)

    def _start(self, slot: _Slot) -> None:
        name = f"{self._presence.name}#{slot.number}"
        process = self._context.Process(
            target=_child, args=(self._plan, self._presence.name, slot.number, os.getpid()), name=name
        )
        slot.began = time.monotonic()
        _block_signals(signal.SIG_BLOCK)  # the child has its own handlers before the first one reaches it
        try:
            process.start()
        except OSError as error:
            slot.not_before = slot.began + LONGEST_REST
            logger.error("%s cannot be started: %s. Trying again in %g s", name, error.strerror, LONGEST_REST)  # noqa: TRY400
        else:
            slot.process = process
            logger.debug("%s is process %s", name, process.pid)
        finally:
            _block_signals(signal.SIG_UNBLOCK)

    def _wait(self, pipe: _SelfPipe | None) -> None:
        """Return when a signal came, a child ended, or it is time to look round."""
        ends = [slot.process.sentinel for slot in self._slots if slot.process]
        rest = [slot.not_before - time.monotonic() for slot in self._slots if not slot.process and not slot.done]
        timeout = max(0.0, min([LOOK_ROUND, *rest]))
        # A process that a task left behind may keep its parent's sentinel open; SIGCHLD comes all the same.
        multiprocessing.connection.wait([pipe.reading, *ends] if pipe else ends, timeout)
        if pipe:
            pipe.drain()

    def _obey(self) -> None:
        """Do what the signals say that came: the first one ends the children after their running tasks, the second now."""
        if not self._received:
            return
        if len(self._received) > 1 or self._received[0] == _QUIT:
            self._end_at_once()
        if not self._ending:
            logger.warning(_GENTLY, "tasks", _shown(self._received[0]))
            self._end_gently()

    def _end_gently(self) -> None:
        self._ending = True
        for slot in self._slots:
            if slot.process and _POSIX:  # elsewhere the console tells the children, and terminate() is a kill
                slot.process.terminate()

    def _end_at_once(self) -> NoReturn:
        logger.warning(_AT_ONCE)
        children = [slot.process for slot in self._slots if slot.process]
        for child in children:
            if _QUIT and child.pid:
                os.kill(child.pid, _QUIT)  # lets it note that its task was called off on purpose
        deadline = time.monotonic() + LAST_WORDS
        for child in children:
            child.join(max(0.0, deadline - time.monotonic()))
            child.kill()
        os._exit(128 + self._received[-1])

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.process and slot.process.exitcode is not None:
                self._bury(slot, slot.process.exitcode)

    def _bury(self, slot: _Slot, status: int) -> None:
        """Note a child's end and decide when its successor starts."""
        assert slot.process
        name, pid = slot.process.name, slot.process.pid
        slot.process.close()
        slot.process = None
        slot.done = self._ending or (self._plan.burst and status == 0)
        if slot.done and status == 0:
            return
        now = time.monotonic()
        slot.quick_deaths = slot.quick_deaths + 1 if now - slot.began < QUICK_DEATH else 0
        rest = _rest(slot.quick_deaths)
        slot.not_before = now + rest
        next_step = "" if slot.done else f"; another is started{f' in {rest:g} s' if rest else ''}"
        logger.error("%s (process %d) %s%s", name, pid, _how(status), next_step)
        _wake(self._plan)  # an idle sibling gives out what it ran sooner than its successor can

    def _renew_name(self) -> None:
        try:
            self._presence.renew()
        except PmtqError as error:
            logger.error("%s", error)  # noqa: TRY400  (the sentence says it all)


def _rest(quick_deaths: int) -> float:
    """Return the seconds to wait before a child is replaced."""
    if quick_deaths <= QUICK_DEATHS:
        return 0.0
    return float(min(LONGEST_REST, SHORTEST_REST * 2 ** min(quick_deaths - QUICK_DEATHS - 1, 20)))


def _how(status: int) -> str:
    """Say how a process ended that ended with ``status``, which is negative for a signal."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


class _SelfPipe:
    """Makes signals and the ends of children readable, so that one wait waits for all (cr.yp.to/docs/selfpipe.html)."""

    def __init__(self) -> None:
        """Write a byte into the pipe at every signal from now on."""
        self.reading, self._writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self._writing, False)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._old_handler = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        put_in_order_after_fork(self)

    def drain(self) -> None:
        """Take out what was written."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.reading, 4096)

    def after_fork(self) -> None:
        """Leave a forked child without it."""
        self.close()

    def close(self) -> None:
        """Put everything back as it was; once is enough."""
        if self.reading >= 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, self._old_handler)
            os.close(self.reading)
            os.close(self._writing)
            self.reading = self._writing = -1


def _child(plan: Plan, parent: str, number: int, parent_pid: int) -> None:
    """Be one process of a pool. Returns when the parent is gone, too, after the running task."""
    if _POSIX:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Ctrl-C reaches the whole terminal; the parent decides what it means, and says it with these two, which a shell's
        # `&` or nohup may have had ignored.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # An orphan of an earlier pool may still hold a name of this place: it is ending its last task.
    names = [f"{parent}#{number + plan.concurrency * more}" for more in range(10)]
    plan.prepare(names[0])
    try:
        presence = _take_first_free(plan, names, parent)
        plan.prepare(presence.name)
        _serve(plan, presence, lambda: _lives(parent_pid))
    except PmtqError as error:
        logger.error("%s", error)  # noqa: TRY400  (the sentence says it all)
        raise SystemExit(1) from None


def _lives(parent_pid: int) -> bool:
    """Say whether the parent of this process is alive."""
    if _POSIX:
        return os.getppid() == parent_pid
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()
