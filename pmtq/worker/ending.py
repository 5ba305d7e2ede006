"""What the signals mean that a worker gets, and how it ends.

1. SIGTERM, SIGINT: a warm end. It claims nothing more, ends what runs, and gives back the rest.
2. SIGQUIT, or any second signal: a cold end. What runs is broken off and given out again by the next worker. With
   ``worker_soft_shutdown_timeout`` tasks have so many seconds before that; one more signal cuts them short.
3. SIGHUP: a warm end, after which it starts again with the same command line; on a terminal, whose closing says the same
   thing, only the end. SIGUSR1: it logs what each of its threads is doing.
4. Nothing is lost in any way of ending: a task without a final line is owed.

It does not know what runs tasks, nor where.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import enum
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

from pmtq import signals
from pmtq.presence import Presence

logger = logging.getLogger("pmtq.worker")

POSIX = os.name == "posix"
QUIT: int | None = getattr(signal, "SIGQUIT", None)
HANGUP: int | None = getattr(signal, "SIGHUP", None)
STACKS: int | None = getattr(signal, "SIGUSR1", None)
_ANSWERED = [number for number in (signal.SIGINT, signal.SIGTERM, QUIT, HANGUP, STACKS) if number]

AT_ONCE = "Ended at once; what was running is given out again by the next worker"
_GENTLY = "Ending after the running %s; the rest is given back. A second %s ends it now"
_AGAIN = "Ending after the running %s, to start again"
_SOON = "Ending in %g s at the latest, whatever still runs then. Another signal ends it now"


class Stage(enum.IntEnum):
    """How far a worker is on its way to its end."""

    WORKING = 0
    WARM = 1
    SOFT = 2
    COLD = 3


class Shutdown:
    """Says which stage the next signal leads to."""

    def __init__(self, name: str, soft_timeout: float = 0.0, *, several: bool = False) -> None:
        """Tell of the end of the worker called ``name``, which runs one task at a time, or ``several``.

        Between warm and cold it has ``soft_timeout`` seconds. ``REMAP_SIGTERM=SIGQUIT`` in the environment makes SIGTERM
        mean the other.
        """
        self.stage = Stage.WORKING
        self.soft_timeout = soft_timeout
        self.starts_again = False
        self._name = name
        self._told = Stage.WORKING
        self._what = "tasks" if several else "task"
        self._remaps = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"

    def next_stage(self, number: int) -> Stage:
        """Take in a signal and return the stage that has been reached; ``tell`` says it aloud."""
        is_urgent = number == QUIT or (self._remaps and number == signal.SIGTERM)
        if number == HANGUP and self.stage > Stage.WORKING:
            return self.stage
        if self.stage == Stage.WORKING and not is_urgent:
            self.stage = Stage.WARM
            self.starts_again = number == HANGUP and not sys.stderr.isatty()
        else:
            self.stage = Stage.SOFT if self.stage < Stage.SOFT and self.soft_timeout else Stage.COLD
        return self.stage

    def by_command(self) -> None:
        """Take in that somebody has written the command ``shutdown``: a warm end."""
        self.stage = max(self.stage, Stage.WARM)
        self.tell(signal.SIGTERM)

    def tell(self, number: int) -> None:
        """Tell the person and receivers of the stage that a signal has led to, once."""
        if self.stage == self._told:
            return
        self._told = self.stage
        if self.stage == Stage.COLD:
            logger.warning(AT_ONCE)
        elif self.stage == Stage.SOFT:
            logger.warning(_SOON, self.soft_timeout)
        elif self.starts_again:
            logger.warning(_AGAIN, self._what)
        else:
            logger.warning(_GENTLY, self._what, _shown(number))
        how, exitcode = self.stage.name.title(), 128 + number if self.stage == Stage.COLD else 0
        signals.worker_shutting_down.send(self._name, sig=signal.Signals(number).name, how=how, exitcode=exitcode)


class Ending:
    """A signal handler that ends a worker which runs tasks in this process."""

    def __init__(self, shutdown: Shutdown, gently: Callable[[], None], at_once: Callable[[], None]) -> None:
        """Call ``gently`` for a warm end; ``at_once`` as the last thing before a cold one."""
        self._shutdown = shutdown
        self._gently, self._at_once = gently, at_once

    def __call__(self, number: int, _frame: object = None) -> None:
        """Answer a signal."""
        if number == STACKS:
            log_stacks()
            return
        stage = self._shutdown.next_stage(number)
        self._shutdown.tell(number)
        if stage == Stage.COLD:
            self._break_off(number)
        if stage == Stage.SOFT:
            # Not threading.Thread: the signal may have come while this very thread held the locks that one takes.
            _thread.start_new_thread(self._wait_and_break_off, (number,))
        self._gently()

    def _wait_and_break_off(self, number: int) -> None:
        time.sleep(self._shutdown.soft_timeout)
        logger.warning(AT_ONCE)
        self._break_off(number)

    def _break_off(self, number: int) -> None:
        self._at_once()
        os._exit(128 + number)  # the kernel frees the name's lock, whatever Python is in the middle of


class QuietEnding:
    """The same in a child of a pool, whose parent says what there is to say: TERM is gentle, QUIT and a second one not."""

    def __init__(self, gently: Callable[[], None], at_once: Callable[[], None]) -> None:
        """Take what to do."""
        self._gently, self._at_once = gently, at_once
        self.was_asked = False

    def __call__(self, number: int, _frame: object = None) -> None:
        """Answer a signal."""
        if number == STACKS:
            log_stacks()
        elif self.was_asked or number == QUIT:
            self._at_once()
            os._exit(128 + number)
        else:
            self.was_asked = True
            self._gently()


@contextlib.contextmanager
def holding_signals() -> Iterator[None]:
    """Keep signals waiting until the worker can answer them, so that none ends it between its name and its start."""
    block_signals()
    try:
        yield
    finally:
        unblock_signals()


def block_signals() -> None:
    """Keep the signals that a worker answers waiting."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _ANSWERED)


def unblock_signals() -> None:
    """Let them come, those that waited too."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANSWERED)


@contextlib.contextmanager
def catching(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Give the signals of a worker to ``handler`` for a while; what was to be ignored, as by nohup, still is."""
    before = {number: signal.getsignal(number) for number in _ANSWERED}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handler)
    unblock_signals()
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def answer_as_child() -> None:
    """Forget what the parent does about signals: what they mean is decided there, and said with TERM and QUIT.

    A terminal sends Ctrl-C and its closing to all processes at once. A shell's ``&`` or nohup may have had TERM
    and QUIT ignored.
    """
    if not POSIX:
        return
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


def log_stacks() -> None:
    """Log what each thread of this process is doing."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001  (documented for exactly this)
        logger.warning("Thread %s:\n%s", names.get(ident, ident), "".join(traceback.format_stack(frame)).rstrip())


def start_again_at_exit() -> None:
    """Become the same program once more when this one has put everything in order."""
    atexit.register(_start_again)


def _start_again() -> None:
    logging.shutdown()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  (our own command line)


def leave(presence: Presence) -> None:
    """Give the name back, unless outcomes could not be posted: then whoever misses us finds them in the notes."""
    if presence.notes.lines():
        logger.error(
            "Outcomes of finished tasks could not be posted; they stay in %s for the next worker", presence.notes.path
        )
    else:
        presence.leave()


def _shown(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
