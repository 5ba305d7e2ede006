"""The loop of one worker process: claim a batch, run it, settle it together with the next claim.

1. A batch is as many tasks as are expected to take ``BATCH_SECONDS`` together, going by how long each function took.
2. Each outcome is noted the moment it is there, so that a killed worker repeats at most the task it was running.
3. If a task takes longer than expected, a second thread posts what is finished and gives back what has not begun.

It does not know signals, processes or the command line: whoever runs it calls ``stop``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from pmtq.app import Task
from pmtq.claim import Claim, Claimer
from pmtq.disk import nudge
from pmtq.exceptions import LockHeld, OperationalError
from pmtq.folder import Folder
from pmtq.presence import Presence
from pmtq.records import StateRecord, TaskRecord, encode, timestamp
from pmtq.states import RELEASED, SUCCESS
from pmtq.watch import SLOW_POLL, Watch
from pmtq.worker.execute import execute

logger = logging.getLogger("pmtq.worker")

BATCH_SECONDS = 0.005
"""Work in one batch: long enough to make the lock cheap, short enough that an idle worker does not wait for a share."""
BATCH_TASKS = 1000
OVERDUE = 0.05
"""Seconds after which the rest of a batch no longer waits for the task that is running."""
TIDY_SECONDS = 1.0
"""Idle time after which queues that are done with are cleared; while busy, how often their size is looked at."""
OUTGROWN_SECONDS = 0.1
"""The same when the results have grown long: a busy worker writes 75 MB of them in a second."""


class Consumer:
    """One process's share of a worker."""

    def __init__(
        self,
        folder: Folder,
        presence: Presence,
        queues: list[str],
        tasks: Mapping[str, Task[..., object]],
    ) -> None:
        """Serve ``queues`` of ``folder`` with ``tasks``, under the name that ``presence`` holds."""
        self._folder = folder
        self._tasks = tasks
        self._queues = queues
        self._notes = presence.notes
        self._claimer = Claimer(folder, presence, queues, {name: task.acks_late for name, task in tasks.items()})
        self._names = frozenset(folder.queue(name).name for name in queues)
        self._watch: Watch | None = None
        self._stopping = False
        self._verbose = logger.isEnabledFor(logging.INFO)
        self._expected = dict.fromkeys(tasks, BATCH_SECONDS)
        """Seconds a task of each function is expected to take: a new function is tried alone."""
        self._batch: deque[Claim] = deque()
        self._running: Claim | None = None
        self._outcomes: list[StateRecord] = []
        self._mutex = threading.Lock()
        """Held while the claimer is used. Outcomes are appended without it, which is one atomic step."""
        self._several = threading.Event()
        self._begun = 0

    def run(self, *, burst: bool = False, still_wanted: Callable[[], bool] = lambda: True) -> None:
        """Work until ``stop`` is called or ``still_wanted`` says no; with ``burst`` until nothing is left to run now."""
        self._claimer.succeed_namesake(time.time())
        self._watch = Watch(self._folder.path, self._names)
        threading.Thread(target=self._watch_over_batch, daemon=True, name="pmtq-overdue").start()
        busy = tidied = time.monotonic()
        notified = True
        try:
            while not self._stopping and still_wanted():
                seen = self._watch.seen()
                self._fill_batch()
                now = time.monotonic()
                if self._batch:
                    if not notified:
                        self._watch.found_by_looking()
                    self._run_batch()
                    busy, notified = now, True
                elif burst:
                    self._claimer.finish_last_lines()
                    if not self._claimer.finish_last_lines():  # what has not grown between two looks is whole
                        break
                else:
                    notified = self._watch.wait(seen, self._until_due())
                if now - tidied >= (OUTGROWN_SECONDS if self._claimer.is_outgrown() else TIDY_SECONDS):
                    self._tidy(idle=now - busy >= TIDY_SECONDS)
                    tidied = now
            self._finish(burst=burst)
        finally:
            self._stopping = True
            self._several.set()
            self._watch.close()

    def stop(self) -> None:
        """End after the task that is running; may be called from a signal handler."""
        self._stopping = True

    def abandon(self) -> None:
        """Note that what is running was called off on purpose, so that its start does not count.

        For a signal handler, as the last thing before the process ends.
        """
        for claim in filter(None, [self._running, *self._batch]):
            self._notes.add(encode(_released(claim)) + b"\n")

    def _fill_batch(self) -> None:
        """Settle what has been run, and claim the next batch."""
        with self._mutex:
            claims = self._exchange([], self._wanted()) or []
            self._forget_notes()
            self._batch.extend(claims)
        if len(claims) > 1:
            self._several.set()

    def _wanted(self) -> Callable[[TaskRecord], bool]:
        """Return what a new batch asks before each claim: whether this task shall be in it."""
        room, taken = BATCH_SECONDS, 0

        def wanted(record: TaskRecord) -> bool:
            nonlocal room, taken
            room -= self._expected[record.function]
            taken += 1
            return taken == 1 or (room >= 0 and taken <= BATCH_TASKS)

        return wanted

    def _exchange(
        self, unbegun: list[StateRecord], wanted: Callable[[TaskRecord], bool] | None = None
    ) -> list[Claim] | None:
        """Post the outcomes that are there, give ``unbegun`` back, and claim; hold the mutex.

        None means that the results could not be written: nothing has changed.
        """
        settled = len(self._outcomes)
        try:
            claims = self._claimer.exchange(self._outcomes[:settled] + unbegun, time.time(), wanted)
        except OperationalError as error:
            logger.error("%s Trying again; %d outcomes are kept.", error, settled)  # noqa: TRY400
            time.sleep(SLOW_POLL)
            return None
        del self._outcomes[:settled]  # the other thread may have added one meanwhile
        return claims

    def _run_batch(self) -> None:
        """Run the claimed tasks in the order they were claimed."""
        batch, outcomes, expected, tasks = self._batch, self._outcomes, self._expected, self._tasks
        note, verbose = self._notes.add, self._verbose
        began = time.perf_counter()
        while batch and not self._stopping:
            try:
                claim = batch.popleft()
            except IndexError:  # the other thread has just given the rest back
                break
            self._begun += 1
            self._running = claim
            function = claim.record.function
            outcome, line, ended = execute(claim, tasks[function].run, began)
            outcomes.append(outcome)
            self._running = None
            if not note(line):  # no room: then it is posted at once
                self._settle()
            # A slower function counts at once, a faster one by and by: too large a batch is worse than too small a one.
            spent, began, before = ended - began, ended, expected[function]
            expected[function] = spent if spent > before else before + (spent - before) * 0.1
            if verbose or outcome.status != SUCCESS:
                tell(claim, outcome)
        self._begun += 1

    def _settle(self) -> None:
        """Post the outcomes that are there, claiming nothing."""
        with self._mutex:
            self._exchange([])
            self._forget_notes()

    def _forget_notes(self) -> None:
        """Clear the notes if all they say has been posted; only the thread that writes them may call this."""
        if not self._outcomes:
            self._notes.clear()

    def _watch_over_batch(self) -> None:
        """Post what is finished and give back the rest whenever one task of a batch takes long; runs in a thread."""
        while not self._stopping:
            self._several.wait()
            begun = self._begun
            time.sleep(OVERDUE)
            if self._begun != begun:
                continue
            with self._mutex:
                if self._begun == begun and (self._batch or self._outcomes):
                    self._give_back()
                self._several.clear()
                if self._batch:  # filled meanwhile, or it could not be given back
                    self._several.set()

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
        for claim in unbegun[:1]:
            nudge(self._folder.queue(self._queues[claim.place.queue]))

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
                self._claimer.tidy(time.time(), idle=idle)
            except LockHeld:
                logger.debug("a queue is locked by another program; it is cleared when it is free")
            except OperationalError as error:
                logger.error("%s Clearing is tried again later.", error)  # noqa: TRY400

    def _until_due(self) -> float:
        """Return the seconds until the next waiting task may start."""
        due = self._claimer.places.next_due()
        return SLOW_POLL if due is None else max(0.0, due - time.time())


def _released(claim: Claim) -> StateRecord:
    started = claim.started
    return StateRecord(started.task_id, RELEASED, None, started.attempt - 1, started.worker, timestamp(time.time()))


def tell(claim: Claim, outcome: StateRecord) -> None:
    """Log in one line what happened to a task and how long it took."""
    again = f" (attempt {outcome.attempt})" if outcome.attempt > 1 else ""
    head = f"{claim.record.function} {outcome.task_id}{again} {outcome.status} in {outcome.runtime:.4f} s"
    if outcome.error:
        logger.error("%s: %s: %s", head, outcome.error["type"], outcome.error["message"])
        logger.debug("%s", outcome.traceback)
    else:
        result = outcome.result
        logger.info("%s: %.200s", head, bytes(result).decode() if isinstance(result, msgspec.Raw) else repr(result))
