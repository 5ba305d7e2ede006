"""The loop of one worker process: claim a batch, run it, settle it together with the next claim.

1. A batch is as many tasks as are expected to take ``BATCH_SECONDS`` together, going by how long each function took.
2. Each outcome is noted the moment it is there, so that a killed worker repeats at most the task it was running.
3. If a task takes longer than expected, a second thread posts what is finished and gives back what has not begun.

It does not know signals, processes or the command line: whoever runs it calls ``stop``.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pmtq.claim import Claim
from pmtq.claimer import Claimer
from pmtq.clock import now, woken_by_moves
from pmtq.disk import nudge
from pmtq.exceptions import LockHeld, OperationalError
from pmtq.execute import execute
from pmtq.folder import Folder, with_priority
from pmtq.ledger import release
from pmtq.presence import Presence
from pmtq.records import StateRecord, TaskRecord, encode, timestamp
from pmtq.request import nothing_running
from pmtq.sealing import RESULT_EXPIRES
from pmtq.states import FAILURE, RETRY, SUCCESS
from pmtq.task import Task
from pmtq.trace import Trace, close_event_loop
from pmtq.values import HIGHEST_PRIORITY
from pmtq.watch import SLOW_POLL, Watch
from pmtq.worker.board import Board
from pmtq.worker.overdue import Overdue
from pmtq.worker.telling import tell_of_found

logger = logging.getLogger("pmtq.worker")

BATCH_SECONDS = 0.005
"""Work in one batch: long enough to make the lock cheap, short enough that an idle worker does not wait for a share."""
BATCH_TASKS = 1000
TIDY_SECONDS = 1.0
"""Idle time after which queues that are done with are cleared; while busy, how often their size is looked at."""
OUTGROWN_SECONDS = 0.1
"""The same when the results have grown long: a busy worker writes 75 MB of them in a second."""


class Consumer:
    """One process's share of a worker, or one thread's."""

    def __init__(
        self,
        folder: Folder,
        presence: Presence,
        queues: list[str],
        tasks: Mapping[str, Task[..., Any]],
        board: Board | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Serve ``queues`` of ``folder`` with ``tasks``, under the name that ``presence`` holds.

        ``board`` shows others what it is doing. ``watch`` is one that several consumers share, for the files
        ``files_of(folder, queues)``.
        """
        self.board = board or Board()
        self.left: float = math.inf
        """How many tasks more it may take before its ``run`` returns."""
        self._folder = folder
        self._presence = presence
        self._tasks = tasks
        self._traces = {name: Trace(task, folder.logs, self.board.hard_limit) for name, task in tasks.items()}
        self._notes = presence.notes
        self._shared_watch = watch
        self._stopping = False
        self._verbose = logger.isEnabledFor(logging.INFO)
        self._expected = dict.fromkeys(tasks, BATCH_SECONDS)
        """Seconds a task of each function is expected to take: a new function is tried alone."""
        self._batch: deque[Claim] = deque()
        self._running: Claim | None = None
        self._outcomes: list[StateRecord] = []
        """What has ended and was not posted yet …"""
        self._lines: list[bytes] = []
        """… and the same as lines, each of which is there before its outcome."""
        self._mutex = threading.Lock()
        """Held while the claimer is used. Outcomes are appended without it, which is one atomic step."""
        self._begun = 0
        self._overdue = Overdue(lambda: self._begun, self._relieve)
        settings = next((task.app.conf for task in tasks.values()), None)
        self._result_expires = settings.seconds("result_expires") if settings else RESULT_EXPIRES
        self.serve(queues)

    def serve(self, queues: list[str]) -> None:
        """Serve these queues from now on; another thread may call it while ``run`` goes on."""
        with self._mutex:
            terms = {name: trace.terms for name, trace in self._traces.items()}
            self._claimer = Claimer(self._folder, self._presence, list(queues), terms)
            self._claimer.result_expires = self._result_expires
            self._unknown_told = 0
            self._files = files_of(self._folder, queues)

    def run(self, *, burst: bool = False, still_wanted: Callable[[], bool] = lambda: True) -> None:
        """Work until ``stop`` is called or ``still_wanted`` says no; with ``burst`` until nothing is left to run now."""
        self._claimer.succeed_namesake(now())
        watch = self._shared_watch or Watch(self._folder.path, self._files)
        try:
            self._begin(watch)
            with woken_by_moves(watch.wake):
                self._go_round(watch, still_wanted, burst=burst)
            self._finish(burst=burst)
        finally:
            self._stopping = True
            self._end()
            close_event_loop()
            if not self._shared_watch:
                watch.close()

    def _begin(self, watch: Watch) -> None:  # noqa: ARG002  (for those who are woken by more than files)
        """Start what works beside the loop."""
        self._overdue.start()

    def _end(self) -> None:
        """End it."""
        self._overdue.stop()

    def _go_round(self, watch: Watch, still_wanted: Callable[[], bool], *, burst: bool) -> None:
        busy = tidied = time.monotonic()
        notified = True
        while not self._stopping and self.left and still_wanted():
            watch.names = self._files
            seen = watch.seen()
            if not self._fill_batch():
                continue
            moment = time.monotonic()
            if self._batch:
                if not notified:
                    watch.found_by_looking()
                self.board.busy = True
                self._run_batch()
                self.board.busy = False
                busy, notified = time.monotonic(), True
            elif burst and self._is_done():
                break
            else:
                notified = watch.wait(seen, self._until_due()) or self._until_due() <= 0
            if moment - tidied >= (OUTGROWN_SECONDS if self._claimer.is_outgrown() else TIDY_SECONDS):
                self._tidy(idle=moment - busy >= TIDY_SECONDS)
                tidied = moment

    def _is_done(self) -> bool:
        """Say whether nothing is left to run now; a last line that has not grown between two looks is whole."""
        return not (self._claimer.finish_last_lines() or self._claimer.finish_last_lines())

    def stop(self) -> None:
        """End after the task that is running; may be called from a signal handler."""
        self._stopping = True

    def abandon(self) -> None:
        """Note that what is running was called off on purpose, so that its start does not count.

        For a signal handler, as the last thing before the process ends. Of a task that may start only once nothing is
        noted: whoever misses us has it fail.
        """
        again = [one for one in self._under_way() if self._traces[one.record.function].terms.acks_late]
        for claim in [*again, *self._batch]:
            self._notes.add(encode(_released(claim)) + b"\n")

    def _under_way(self) -> list[Claim]:
        """Return what has begun and has not ended."""
        return [self._running] if self._running else []

    def _fill_batch(self) -> bool:
        """Settle what has been run, and claim the next batch; say whether the results could be written."""
        with self._mutex:
            claims = self._exchange([], self._wanted())
            if claims is None:
                return False
            self._forget_notes()
            self._batch.extend(claims)
            self.left -= len(claims)
            ended, unknown = self._claimer.ended, list(self._claimer.unknown.items())[self._unknown_told :]
            self._unknown_told += len(unknown)
        if len(claims) > 1:
            self._overdue.look_after()
        if claims or ended or unknown:
            tell_of_found(self, claims, ended, unknown, self._tasks)
        return True

    def _wanted(self) -> Callable[[TaskRecord], bool]:
        """Return what a new batch asks before each claim: whether this task shall be in it."""
        room, taken, most = BATCH_SECONDS, 0, min(BATCH_TASKS, self.left)

        def wanted(record: TaskRecord) -> bool:
            nonlocal room, taken
            room -= self._expected[record.function]
            taken += 1
            return taken == 1 or (room >= 0 and taken <= most)

        return wanted

    def _exchange(
        self, unbegun: list[StateRecord], wanted: Callable[[TaskRecord], bool] | None = None
    ) -> list[Claim] | None:
        """Post the outcomes that are there, give ``unbegun`` back, and claim; hold the mutex.

        None means that the results could not be written: nothing has changed.
        """
        settled = len(self._outcomes)
        try:
            claims = self._claimer.exchange(self._outcomes[:settled] + unbegun, now(), wanted, self._lines[:settled])
        except OperationalError as error:
            logger.error("%s Trying again; %d outcomes are kept.", error, settled)  # noqa: TRY400
            time.sleep(SLOW_POLL)
            return None
        del self._outcomes[:settled], self._lines[:settled]  # the other thread may have added one meanwhile
        return claims

    @nothing_running()
    def _run_batch(self) -> None:
        """Run the claimed tasks in the order they were claimed."""
        self._look_again()
        batch, outcomes, expected, traces = self._batch, self._outcomes, self._expected, self._traces
        lines, note, verbose = self._lines, self._notes.add, self._verbose
        began = time.perf_counter()
        while batch and not self._stopping:
            try:
                claim = batch.popleft()
            except IndexError:  # the other thread has just given the rest back
                break
            self._begun += 1
            self._running = claim
            function = claim.record.function
            trace = traces[function]
            outcome, line, ended = execute(claim, trace, began)
            lines.append(line)
            outcomes.append(outcome)
            self._running = None
            if not note(line):  # no room: then it is posted at once
                self._settle()
            # A slower function counts at once, a faster one by and by: too large a batch is worse than too small a one.
            spent, before = ended - began, expected[function]
            expected[function] = spent if spent > before else before + (spent - before) * 0.1
            began = ended if claim.is_plain and trace.is_plain else time.perf_counter()  # handlers may take their time
            if verbose or outcome.status != SUCCESS:
                tell(claim, outcome)
        self._begun += 1

    def _look_again(self) -> None:
        """Have the traces see what may have changed since the last batch."""
        controls = self._claimer.ledger.controls
        for trace in self._traces.values():
            trace.look_again(controls)

    def _settle(self) -> None:
        """Post the outcomes that are there, claiming nothing."""
        with self._mutex:
            self._exchange([])
            self._forget_notes()

    def _forget_notes(self) -> None:
        """Clear the notes if all they say has been posted; only the thread that writes them may call this."""
        if not self._outcomes:
            self._notes.clear()

    def _relieve(self, begun: int) -> bool:
        """Post what is finished and give back the rest, if task number ``begun`` still runs; say if more is to be done.

        For the thread that looks after the batch.
        """
        with self._mutex:
            if self._begun == begun and (self._batch or self._outcomes):
                self._give_back()
            return bool(self._batch)  # filled meanwhile, or it could not be given back

    def _give_back(self, *, ending: bool = False) -> None:
        """Post the outcomes and release what has not begun, so that another worker may take it; hold the mutex.

        If they cannot be posted at the end, the notes say it all to whoever misses us.
        """
        unbegun = []
        while self._batch:
            unbegun.append(self._batch.popleft())
        lines = [_released(claim) for claim in unbegun]
        if self._exchange(lines) is None:  # they are still ours
            if ending:
                for line in lines:
                    self._notes.add(encode(line) + b"\n")
            self._batch.extend(unbegun)
            return
        self.left += len(unbegun)
        for name in {with_priority(claim.queue, claim.record.priority) for claim in unbegun}:
            nudge(self._folder.queue(name))

    def _finish(self, *, burst: bool) -> None:
        with self._mutex:
            self._give_back(ending=True)
            if not self._batch:
                self._forget_notes()
        if burst:
            self._tidy(idle=True)

    def _tidy(self, *, idle: bool) -> None:
        with self._mutex:
            try:
                self._claimer.tidy(now(), idle=idle)
            except LockHeld:
                logger.debug("a queue is locked by another program; it is cleared when it is free")
            except OperationalError as error:
                logger.error("%s Clearing is tried again later.", error)  # noqa: TRY400

    def _until_due(self) -> float:
        """Return the seconds until the next waiting task may start."""
        return min(SLOW_POLL, max(0.0, self._claimer.next_due() - now()))


def files_of(folder: Folder, queues: list[str]) -> frozenset[str]:
    """Return the names of all files that ``queues`` can have, one for each priority."""
    priorities = range(HIGHEST_PRIORITY + 1)
    return frozenset(folder.queue(with_priority(name, priority)).name for name in queues for priority in priorities)


def _released(claim: Claim) -> StateRecord:
    return release(claim.started, timestamp(now()))


def tell(claim: Claim, outcome: StateRecord) -> None:
    """Log in one line what happened to a task and how long it took."""
    again = f" (attempt {outcome.attempt})" if outcome.attempt > 1 else ""
    name = claim.record.shadow or claim.record.function
    head = f"{name} {outcome.task_id}{again} {outcome.status} in {outcome.runtime:.4f} s"
    if outcome.error:
        then = f"; again at {outcome.eta}" if outcome.status == RETRY else ""
        level = logging.ERROR if outcome.status == FAILURE else logging.WARNING
        logger.log(level, "%s: %s: %s%s", head, outcome.error["type"], outcome.error["message"], then)
        logger.debug("%s", outcome.traceback)
    else:
        result = outcome.result
        logger.info("%s: %.200s", head, bytes(result).decode() if isinstance(result, msgspec.Raw) else repr(result))
