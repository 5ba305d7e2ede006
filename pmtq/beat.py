"""The scheduler: posts a task when its time has come, and keeps in ``schedule.json`` what it did.

1. Of all that run on one folder one fires, the one that holds the lock; if it dies another takes over within a second.
2. A run is posted first and noted after. Its task's id is made of the entry and the planned time, so that one which is
   posted twice, because of a crash in between, is still one task.
3. A bad entry, a bad edit or a full disk never ends it: it says what is wrong, and goes on with the rest.

It does not know how tasks are run: it is a client with a clock.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import UNSET

from pmtq import clock, disk, periodic, signals
from pmtq.app import PMTQ
from pmtq.exceptions import ImproperlyConfigured, OperationalError, PmtqError, UnsafeFile
from pmtq.failures import described
from pmtq.ids import derived_task_id, new_task_id
from pmtq.periodic import PeriodicTask
from pmtq.records import StateRecord, timestamp
from pmtq.schedules import BaseSchedule, crontab, from_text, maybe_schedule, schedule, solar
from pmtq.states import FAILURE, PENDING
from pmtq.timetable import FILE_NAME, EditedMeanwhile, Entry, Timetable, text_of
from pmtq.watch import SLOW_POLL, Watch
from pmtq.workflow import lay_out

__all__ = ["Scheduler", "Service", "beside_a_worker", "crontab", "run_beat", "run_beat_in_child", "schedule", "solar"]

logger = logging.getLogger("pmtq.beat")

STAND_BY = 0.25
"""Seconds between two looks of a scheduler that stands by."""
MISSED_AFTER = 5.0
"""Seconds after its time from which a run counts as missed where missed ones are left out: a takeover takes one."""
RESTART_AFTER = 1.0
"""Seconds from one start of a worker's scheduler to the next at least, should it die."""
_CLOCK_CHECK = 60.0
"""Seconds after which it looks at the time at the latest, which somebody may have set."""
_EDITS = 5
"""So often in a row the file may be saved by others while a run is being noted."""
_TOLD_LATE = 1.0
"""Seconds of lateness from which the log mentions it."""


class Run(NamedTuple):
    """One run that has become of an entry's turn."""

    planned: datetime
    task_id: str = ""
    """Empty if it was left out."""
    error: str = ""


def timetable_of(app: PMTQ, filename: str | Path | None = None) -> Timetable:
    """Return the timetable in ``filename``, else where ``beat_schedule_filename`` says, else in the queue folder."""
    given = filename or app.conf.beat_schedule_filename
    return Timetable(Path(given).absolute() if given else app.folder.path / FILE_NAME)


def declared(app: PMTQ) -> dict[str, PeriodicTask]:
    """Return the periodic tasks of the code, by name. Raises ``ImproperlyConfigured``."""
    app.finalize()
    return {**periodic.from_settings(app.conf.beat_schedule, app), **app.periodic}


def take_in(entries: dict[str, Entry], tasks: dict[str, PeriodicTask]) -> None:
    """Let the entries say what the code says, except those made by hand."""
    for name, task in tasks.items():
        entry = entries.setdefault(name, Entry(task=task.task, schedule="", made_by="code"))
        if entry.made_by == "hand":
            continue
        entry.task, entry.schedule = task.task, str(task.schedule)
        entry.args, entry.kwargs, entry.options = task.args, task.kwargs, task.options
        entry.missed = task.missed or entry.missed
        entry.in_words = words_of(task.schedule)


def words_of(plan: BaseSchedule) -> str:
    """Return when a schedule runs in words, if these say more than its text does."""
    words = plan.in_words()
    return words if words != str(plan) else ""


def task_id_of(name: str, planned: datetime) -> str:
    """Return the id of the task that the entry called ``name`` posts for a planned time: 22 hexadecimal digits."""
    return derived_task_id(f"{name} {text_of(planned)}")


def send(app: PMTQ, entry: Entry, task: PeriodicTask | None, task_id: str) -> None:
    """Post the task of an entry, or the workflow that ``task``, its declaration in the code, has instead.

    Raises what ``apply_async`` raises.
    """
    options = {**entry.options, "task_id": task_id}
    if workflow := _workflow_of(entry, task):
        workflow.apply_async(**options)
    elif entry.task in app.tasks:
        app.tasks[entry.task].apply_async(entry.args, entry.kwargs, **options)
    else:
        app.send_task(entry.task, entry.args, entry.kwargs, **options)


def _workflow_of(entry: Entry, task: PeriodicTask | None) -> Any:
    """Return the signature that an entry posts in place of a single task, if it is one of the code's and has one."""
    is_workflow = task and task.workflow is not None and entry.made_by == "code"
    return task.workflow.clone(task.args, task.kwargs) if task and is_workflow else None


class Scheduler:
    """Knows the entries and posts those that are due. Use it while holding the timetable's leadership."""

    def __init__(self, app: PMTQ, timetable: Timetable) -> None:
        """Post by ``app`` what ``timetable`` and the app's code say."""
        self.app = app
        self.timetable = timetable
        self.entries: dict[str, Entry] = {}
        """As they were read or written last."""
        self._tasks = declared(app)
        self._plans: dict[str, BaseSchedule] = {}
        """How the entries are planned that are in order, and not paused."""
        self._next: dict[str, datetime] = {}
        self._settled: dict[str, datetime] = {}
        """What was done here; an editor may bring back an older version of the file."""
        self._not_before: dict[str, datetime] = {}
        """Of entries whose schedule was changed, the first of the times past that is made up for."""
        self._begun: dict[str, datetime] = {}
        """Planned times whose posting has failed on the way, perhaps in the middle of a workflow: they are tried again."""
        self._runs: dict[str, Run] = {}
        """What was posted and is not noted yet, by the entry's name …"""
        self._granted: dict[str, Run] = {}
        """… and the same of runs that somebody wished for."""
        self._wishes: dict[str, str] = {}
        """The ids of those that were wished for without one."""
        self._began = self._looked_at = self._now()
        self._complaint = ""

    def look(self) -> None:
        """Take in what has changed in the file. One that cannot be read changes nothing."""
        if not self.timetable.has_changed():
            return
        try:
            with self.timetable.change() as entries:
                self._take_in(entries)
        except EditedMeanwhile:
            return  # it is another one again: the next look takes that in
        except (ImproperlyConfigured, UnsafeFile) as error:
            self._complain(f"{error}; it is read again then, and until then the entries are as they were")
        else:
            self._complaint = ""

    def tick(self) -> float:
        """Post what is due, and note it; return the seconds until the next run, infinite if none is planned.

        Raises ``OperationalError`` if something cannot be written, when all others were posted; what was not is posted by
        the next call.
        """
        now = self._now()
        troubles: list[OperationalError] = []
        for name in sorted(self._next, key=self._next.__getitem__):
            done = self._runs.get(name)
            if self._next[name] <= now and (done is None or done.planned < self._next[name]):
                with _collected(troubles):
                    self._runs[name] = run = self._run(name, now)
                    self._settled[name] = run.planned
        for name, entry in self.entries.items():
            wish = entry.run_now
            if wish and isinstance(wish, str) and (name not in self._granted or self._granted[name].task_id != wish):
                with _collected(troubles):
                    self._granted[name] = self._grant(name, wish, now)
        if self._runs or self._granted or now < self._looked_at:  # when the clock was set back all is planned anew
            self._note()
        self._looked_at = now
        if troubles:
            raise troubles[0]
        return min([(planned - self._now()).total_seconds() for planned in self._next.values()], default=float("inf"))

    def _run(self, name: str, now: datetime) -> Run:
        """Post the run of an entry that is due, if it is not to be left out."""
        first = self._next[name]
        try:
            planned, is_left_out = self._chosen(name, first, now)
        except Exception as trouble:  # noqa: BLE001  (a schedule may be of anybody's making)
            logger.error("%s cannot be run: %s", name, _told(trouble))  # noqa: TRY400
            return Run(first, error=_told(trouble))
        if is_left_out:
            logger.warning("%s: the run of %s is left out, because it was missed", name, self._shown(planned))
            return Run(planned)
        task_id, late = task_id_of(name, planned), (now - planned).total_seconds()
        self._begun[name] = planned
        error = self._post(name, task_id, planned, f", {late:.0f} s late" if late > _TOLD_LATE else "")
        del self._begun[name]
        return Run(planned, task_id, _told(error))

    def _chosen(self, name: str, first: datetime, now: datetime) -> tuple[datetime, bool]:
        """Return which of an entry's planned times until now is to be run, and whether it is left out."""
        plan, policy = self._plans[name], self.entries[name].missed
        if planned := self._begun.get(name):
            return planned, False
        planned = first if policy == "all" else plan.last_until(now, first)
        late, deadline = (now - planned).total_seconds(), plan.deadline()
        return planned, (policy == "skip" and late > MISSED_AFTER) or (deadline is not None and late > deadline)

    def _grant(self, name: str, task_id: str, now: datetime) -> Run:
        """Post the run that somebody wished for. If it cannot be, its task has failed: whoever wished waits for that."""
        error = self._post(name, task_id)
        if error:
            at = timestamp(clock.now())
            self.app.backend.store(StateRecord(task_id, FAILURE, at=at, error=described(error)))
        return Run(now, task_id, _told(error))

    def _post(self, name: str, task_id: str, planned: datetime | None = None, remark: str = "") -> Exception | None:
        """Post the task of an entry, unless a scheduler before this one has; return what is wrong with it, if anything."""
        entry, task = self.entries[name], self._tasks.get(name)
        try:
            if (planned is None or planned < self._began) and self._was_posted(entry, task, task_id):
                logger.info("%s: %s was posted before", name, task_id)
                return None
            send(self.app, entry, task, task_id)
        except OperationalError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever an entry or a task's own class comes up with)
            logger.error("%s cannot be posted: %s", name, _told(error))  # noqa: TRY400
            return error
        logger.info("%s: posted %s as %s%s", name, entry.task, task_id, remark)
        return None

    def _was_posted(self, entry: Entry, task: PeriodicTask | None, task_id: str) -> bool:
        """Say whether anything is known of a run already; its records may have been cleared away since."""
        ids = [task_id]
        if workflow := _workflow_of(entry, task):
            plan, _ = lay_out(workflow, (), {}, {"task_id": task_id})
            ids = [step.task_id for step in plan.steps]
        return any(self.app.backend.state(one).status != PENDING for one in ids)

    def _note(self) -> None:
        """Write down what was done; what was edited meanwhile is taken in as well."""
        try:
            self._note_in_file()
        except (ImproperlyConfigured, UnsafeFile) as error:
            self._complain(f"{error}; what is posted until then cannot be noted")
            self._go_on_without_a_note()
        except OperationalError:
            self._go_on_without_a_note()
            raise
        else:
            self._runs.clear()
            self._granted.clear()
            self._wishes.clear()

    def _go_on_without_a_note(self) -> None:
        """Plan the next runs all the same; what cannot be noted now is noted when that is possible."""
        for name, run in self._runs.items():
            if entry := self.entries.get(name):
                self._note_run(entry, run)
        self._take_in(self.entries)

    def _note_in_file(self) -> None:
        for left in reversed(range(_EDITS)):
            try:
                with self.timetable.change() as entries:
                    for name, run in self._runs.items():
                        if entry := entries.get(name):
                            self._note_run(entry, run)
                    for name, wish in self._granted.items():
                        if (entry := entries.get(name)) and self._wish_of(name, entry) == wish.task_id:
                            entry.run_now, entry.error = False, wish.error
                            entry.last_task = entry.last_task if wish.error else wish.task_id
                    self._take_in(entries)
            except EditedMeanwhile:
                if not left:
                    raise
            else:
                return

    def _wish_of(self, name: str, entry: Entry) -> bool | str:
        """Return the id of the run that somebody wishes for, false if nobody does."""
        return self._wishes.setdefault(name, new_task_id()) if entry.run_now is True else entry.run_now

    def _note_run(self, entry: Entry, run: Run) -> None:
        planned = self._shown(run.planned)
        entry.error = run.error
        if run.task_id and not run.error:
            entry.last_run, entry.last_task, entry.since = planned, run.task_id, ""
        else:
            entry.since = planned

    def _take_in(self, entries: dict[str, Entry]) -> None:
        """Plan the entries anew, and write into them what is planned."""
        for name in [name for name, entry in entries.items() if entry.made_by == "code" and name not in self._tasks]:
            del entries[name]
            logger.info("%s is no longer in the code, and was removed from %s", name, self.timetable.path)
        known = {name: entry.schedule for name, entry in (entries | self.entries).items()}
        take_in(entries, self._tasks)
        self._plans, self._next = {}, {}
        for name, entry in entries.items():
            if entry.slip is not UNSET:
                if name not in self.entries or self.entries[name].error != entry.error:
                    logger.error("%s in %s is %s", name, self.timetable.path, entry.error)
                continue
            entry.run_now = self._wish_of(name, entry)
            try:
                self._plan(name, entry, is_changed=str(known.get(name, entry.schedule)) != str(entry.schedule))
            except Exception as error:  # noqa: BLE001  (a schedule may be of anybody's making)
                if entry.error != str(error):
                    logger.error("%s is not run: %s", name, error)  # noqa: TRY400
                entry.error, entry.next_run = str(error), None
        self.entries = entries
        self._begun = {name: planned for name, planned in self._begun.items() if name in self._next}

    def _plan(self, name: str, entry: Entry, *, is_changed: bool) -> None:
        """Find out when an entry runs next; raises ``ImproperlyConfigured`` if its schedule cannot be read.

        Of what a changed schedule says of the past one run is made up for: nobody has missed all of them.
        """
        is_codes = entry.made_by == "code"
        plan = self._tasks[name].schedule if is_codes else maybe_schedule(from_text(str(entry.schedule)), app=self.app)
        entry.in_words = words_of(plan)
        if entry.paused:
            entry.next_run = None
            return
        planned = plan.next_after(self._settled_of(name, entry, plan))
        if is_changed and planned <= self._now():
            self._not_before[name] = plan.last_until(self._now(), planned)
        planned = max(planned, self._not_before.get(name, planned))
        if not entry.next_run:
            entry.error = ""
        self._plans[name], self._next[name], entry.next_run = plan, planned, self._shown(planned)

    def _settled_of(self, name: str, entry: Entry, plan: BaseSchedule) -> datetime:
        """Return the time up to which nothing is left to do for an entry.

        One without a next run was just made, or goes on after a pause: what was planned before does not count. Nor does
        what was done when the clock was ahead by a whole turn or more.
        """
        now = self._now()
        known = [*entry.settled(), *filter(None, [self._settled.get(name)])]
        settled = [time for time in known if time <= now or time <= plan.next_after(now)]
        if entry.next_run and settled:
            return max(settled)
        if entry.next_run and known:
            self._settled[name] = now
        entry.since = self._shown(now)
        return max([*settled, now])

    def _complain(self, what: str) -> None:
        if what != self._complaint:
            logger.error("%s", what)
            self._complaint = what

    def _now(self) -> datetime:
        """Return the time in whole milliseconds, as the file shows it."""
        return datetime.fromtimestamp(int(clock.now() * 1000) / 1000, UTC)

    def _shown(self, moment: datetime) -> str:
        return text_of(moment, self.app.conf.zone)


def _told(error: Exception | None) -> str:
    return f"{type(error).__name__}: {error}" if error else ""


@contextmanager
def _collected(troubles: list[OperationalError]) -> Iterator[None]:
    """Let one entry's trouble keep no other from its turn."""
    try:
        yield
    except OperationalError as error:
        troubles.append(error)


class Service:
    """Runs a scheduler: fires while it leads, and stands by while another one does."""

    def __init__(
        self,
        app: PMTQ,
        max_interval: float | None = None,
        schedule_filename: str | Path | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        """Take the app, and what may override its settings ``beat_max_loop_interval`` and ``beat_schedule_filename``.

        ``stopping`` is the event that ends it; by default one of its own.
        """
        self.app = app
        self.timetable = timetable_of(app, schedule_filename)
        self.scheduler: Scheduler | None = None
        """Who fires; None while it stands by."""
        self.max_interval = max_interval or app.conf.seconds("beat_max_loop_interval") or float("inf")
        self.stopping = stopping or threading.Event()
        self._watch: Watch | None = None
        self._told_standing_by = False

    def start(self, *, embedded_process: bool = False, still_wanted: Callable[[], bool] = lambda: True) -> None:
        """Run until ``stop`` is called or ``still_wanted`` says no, which is asked several times a second.

        ``embedded_process`` says that it runs beside a worker. Raises ``ImproperlyConfigured`` for what the code
        declares and cannot be planned.
        """
        declared(self.app)
        disk.make_folder(self.timetable.path.parent)
        self._watch = Watch(self.timetable.path.parent, frozenset({self.timetable.path.name}))
        signals.beat_init.send(self)
        if embedded_process:
            signals.beat_embedded_init.send(self)
        try:
            with clock.woken_by_moves(self._watch.wake):
                while not self.stopping.is_set() and still_wanted():
                    self._go_round(self._watch)
        finally:
            self._watch.close()
            self.timetable.close()

    def stop(self) -> None:
        """End at once. A signal handler, which must not wait for a mutex, sets ``stopping``: that takes half a second."""
        self.stopping.set()
        if self._watch:
            self._watch.wake()

    def _go_round(self, watch: Watch) -> None:
        """Fire what is due and wait for more; or wait for the one who does so to die."""
        try:
            if not self._leads():
                self.stopping.wait(STAND_BY)
                return
            assert self.scheduler
            seen = watch.seen()
            self.scheduler.look()
            rest = self.scheduler.tick()
            if rest > 0:
                watch.wait(seen, min(rest, self.max_interval, _CLOCK_CHECK))
        except OperationalError as error:
            logger.error("%s Trying again.", error)  # noqa: TRY400
            self.stopping.wait(SLOW_POLL)
        except Exception:
            logger.exception("The scheduler met something unexpected, and goes on")
            self.stopping.wait(SLOW_POLL)

    def _leads(self) -> bool:
        """Say whether this one is to fire."""
        if self.scheduler and self.timetable.leadership.is_held():
            return True
        self.scheduler = None
        if not self.timetable.leadership.take(patience=0.0):
            if not self._told_standing_by:
                logger.info("Another scheduler works on %s; standing by", self.timetable.path)
                self._told_standing_by = True
            return False
        self.timetable.leadership.write(f'{{"pid":{os.getpid()},"host":"{socket.gethostname()}"}}\n')
        self.scheduler = Scheduler(self.app, self.timetable)
        logger.info("This scheduler fires now what stands in %s", self.timetable.path)
        self._told_standing_by = False
        return True


@contextmanager
def beside_a_worker(
    app: PMTQ, schedule_filename: str | Path | None = None, *, in_child: bool = False
) -> Iterator[Callable[[], None] | None]:
    """Run the scheduler for a while beside a worker, in a thread.

    With ``in_child`` it is a process of its own: a parent that forks is to have no threads. It ends with its parent, which
    is to call what is yielded now and then: that replaces it if it has died.
    """
    if in_child and hasattr(os, "fork"):
        child = _BeatProcess(app, schedule_filename)
        try:
            yield child.replace_if_dead
        finally:
            child.end()
        return
    stop = threading.Event()
    thread = threading.Thread(target=run_beat, args=(app, stop, schedule_filename), name="pmtq-beat", daemon=True)
    thread.start()
    try:
        yield None
    finally:
        stop.set()
        thread.join()


class _BeatProcess:
    """The process in which the scheduler runs, as the worker sees it that has forked it."""

    def __init__(self, app: PMTQ, schedule_filename: str | Path | None) -> None:
        self._arguments = app, os.getpid(), schedule_filename
        self._start()

    def replace_if_dead(self) -> None:
        """Start another one, unless it ended by itself: then it has said why. One that dies at once has to wait a little."""
        dead = self._process
        if not dead.exitcode or time.monotonic() < self._began + RESTART_AFTER:
            return
        logger.error("The scheduler, process %d, has died with status %d; another is started", dead.pid, dead.exitcode)
        try:
            self._start()
        except OSError as error:
            logger.error("It cannot be started: %s. Trying again", error.strerror)  # noqa: TRY400  (that says it all)

    def end(self) -> None:
        """End it, and return when it is gone."""
        self._process.terminate()
        self._process.join()

    def _start(self) -> None:
        self._began = time.monotonic()
        context = multiprocessing.get_context("fork")
        process = context.Process(target=run_beat_in_child, args=self._arguments, name="beat")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            process.start()  # none is lost before the child answers them
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._process = process


def run_beat(
    app: PMTQ,
    stop: threading.Event,
    schedule_filename: str | Path | None = None,
    still_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Run the scheduler beside a worker until ``stop`` is set; what goes wrong is logged, and the worker goes on."""
    try:
        service = Service(app, schedule_filename=schedule_filename, stopping=stop)
        service.start(embedded_process=True, still_wanted=still_wanted)
    except PmtqError as error:
        logger.error("No periodic task is posted here: %s", error)  # noqa: TRY400


def run_beat_in_child(app: PMTQ, parent_pid: int, schedule_filename: str | Path | None = None) -> None:
    """Be the process in which the scheduler of a worker with a pool runs: until SIGTERM, or the parent is gone."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent says what it means
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})  # a parent that starts may block them
    run_beat(app, stop, schedule_filename, lambda: os.getppid() == parent_pid)
