"""Calls tasks off: those that wait, at once; one that runs, if it is wished, by ending its process.

1. A task that waits gets its REVOKED line under the lock of the results; after that nobody starts it.
2. A task that a living worker holds goes on. A control line sees to it that it is not started again.
3. A process is ended only while it is stopped and was found to run that very task: no other task pays for it.

It does not know who asks, nor what they are told.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pmtq.archive import state_in
from pmtq.clock import now
from pmtq.exceptions import ImproperlyConfigured
from pmtq.folder import Folder, priority_of
from pmtq.follower import Follower
from pmtq.inheritance import legacy
from pmtq.inspection import View, Worker
from pmtq.ledger import REVOKE, release
from pmtq.presence import find_remains, noted
from pmtq.records import StateRecord, TaskRecord, timestamp
from pmtq.states import RELEASED, REVOKED, STARTED

TERMINATED = "terminated"
"""What the end of a task says that was ended together with its process."""
BATCH = 1000
"""Tasks called off in one hold of the lock, a few milliseconds, so that workers go on meanwhile."""
PATIENCE = 5.0
"""Seconds for which a task is waited for that has its turn behind another one; its worker gives it back long before."""
LAST_WORDS = 1.0
"""Seconds that a process has to end after the signal; then it is killed."""
_LOOK = 0.005
"""Seconds between two looks."""
_STOPS = 0.1
"""Seconds that the kernel has to stop a process."""
_PROCESSES = frozenset({"prefork", "processes"})
"""Pools whose processes can be ended one by one."""
_GENTLE = frozenset({signal.SIGTERM, signal.SIGINT})
"""What a process of a pool takes for "after the running task", and what is therefore sent as SIGQUIT."""


class Fate(NamedTuple):
    """What became of one task that was to be called off."""

    task_id: str
    what: str
    """A clause to be shown behind the id."""
    worker: str = ""
    """Who holds it, or held it."""
    is_refused: bool = False
    """Whether what was wished could not be done; ``what`` says why."""


class Revoking:
    """Calls off tasks of one folder."""

    def __init__(self, folder: Folder) -> None:
        """Work on ``folder``."""
        self._follower = Follower(folder)

    def revoke(self, ids: Collection[str], why: str = "revoked") -> list[Fate]:
        """Call off these tasks and return what became of each. One that was not sent yet is called off, too.

        Its line is forgotten with the results it stands in; until then a task that is sent under that id does not run.
        """
        self._follower.look()
        records = {task_id: found[-1].record for task_id, found in self._follower.find(ids).items()}
        with self._follower.hold():
            return [self._revoke(task_id, records.get(task_id), why) for task_id in ids]

    def terminate(self, task_id: str, wanted: str | int = signal.SIGTERM) -> Fate:
        """Call the task off, and end the process that runs it.

        SIGTERM and SIGINT arrive as SIGQUIT. A process that is still there after a second is killed.
        """
        number = signal_number(wanted)
        deadline = time.monotonic() + PATIENCE
        fate = self.revoke([task_id])[0]
        while fate.worker and time.monotonic() < deadline:
            worker = self._find_worker(fate.worker)
            if worker and (why_not := _cannot_end(worker)):
                return self._refuse(task_id, worker, why_not)
            if worker and self._end(task_id, worker, _as_sent(number)):
                return Fate(task_id, f"called off, and process {worker.pid} that ran it was ended", worker.name)
            time.sleep(_LOOK)
            fate = self.revoke([task_id])[0]
        if fate.worker:
            return fate._replace(what=f"waits for its turn at {fate.worker}, and is not started again", is_refused=True)
        return fate

    def revoke_those(
        self, wanted: Callable[[TaskRecord], bool], *, terminate: bool = False, signal: str | int = signal.SIGTERM
    ) -> list[Fate]:
        """Call off all owed tasks whose records are wanted, such as those of a group; ``signal`` is as in ``terminate``."""
        self._follower.look()
        names = self._follower.folder.queue_names()
        ids = list(dict.fromkeys(one.task_id for name in names for one in self._follower.owed(name) if wanted(one)))
        return [self.terminate(task_id, signal) for task_id in ids] if terminate else self.revoke(ids)

    def purge(self, queues: Iterable[str] | None = None) -> int:
        """Call off what waits in these queues (None: in all); return how many tasks that were.

        What a living worker holds is left alone.
        """
        chosen = None if queues is None else set(queues)
        self._follower.look()
        names = [name for name in self._follower.folder.queue_names() if _is_one_of(name, chosen)]
        return sum(self._purge(name) for name in names)

    def close(self) -> None:
        """Give the descriptors back."""
        self._follower.close()

    def _purge(self, name: str) -> int:
        count = 0
        waiting = self._follower.owed(name)
        while some := list(islice(waiting, BATCH)):
            with self._follower.hold() as ledger:
                spared = ledger.final | self._follower.in_good_hands().keys()
                lines = [_purged(one, ledger.open.get(one.task_id)) for one in some if one.task_id not in spared]
                self._follower.write(lines)
            count += len({line.task_id for line in lines})
        return count

    def _revoke(self, task_id: str, record: TaskRecord | None, why: str) -> Fate:
        """Write what calls one task off; hold the lock."""
        ledger = self._follower.ledger
        if task_id in ledger.final:
            return Fate(task_id, "had ended before")
        if worker := self._follower.in_good_hands().get(task_id):
            if f"{REVOKE} {task_id}" not in ledger.controls:
                self._follower.write([StateRecord(control=f"{REVOKE} {task_id}", result=True, at=timestamp(now()))])
            return Fate(task_id, f"{worker} runs it to its end, and it is not started again", worker)
        last = ledger.open.get(task_id)
        self._follower.write([revoked(task_id, why, last, record), *self._never_begun(last)])
        return Fate(task_id, "called off")

    def _never_begun(self, last: StateRecord | None) -> list[StateRecord]:
        """Return what gives back the rest of a dead worker's batch, whose next task would be taken for the one it ran."""
        if last is None or last.status != STARTED:
            return []
        notes = list(filter(None, map(state_in, noted(self._follower.folder, last.worker))))
        left = legacy(self._follower.ledger, last.worker, notes, timestamp(now()))
        return [line for line in left if line.status == RELEASED and line.task_id != last.task_id]

    def _refuse(self, task_id: str, worker: Worker, why_not: str) -> Fate:
        """Call off a task that goes on all the same: what it comes to does not count any more."""
        record = self._record(task_id)
        with self._follower.hold() as ledger:
            if task_id in ledger.final:
                return Fate(task_id, "had ended before")
            self._follower.write([revoked(task_id, TERMINATED, ledger.open.get(task_id), record)])
        return Fate(task_id, f"called off, but it runs on: {why_not}", worker.name, is_refused=True)

    def _end(self, task_id: str, worker: Worker, number: int) -> bool:
        """End the worker's process if it runs that very task now; say whether it did."""
        started = self._follower.ledger.open.get(task_id)
        batch = self._follower.ledger.held_by(worker.name)
        if not started or not self._strike(started, batch, worker, number):
            return False
        if not self._falls(started, batch, worker) and self._strike(started, batch, worker, signal.SIGKILL):
            self._falls(started, batch, worker)
        return True

    def _strike(self, started: StateRecord, batch: list[StateRecord], worker: Worker, number: int) -> bool:
        """Send the signal if the worker runs that very task now; say whether it did."""
        follower, task_id, at = self._follower, started.task_id, timestamp(now())
        record = self._record(task_id)
        try:
            with follower.hold() as ledger, _stopped(worker.pid):
                if not self._runs(started, batch, worker):
                    return False
                if task_id not in ledger.final:
                    follower.write([revoked(task_id, TERMINATED, started, record)])
                # It would have no last words, and the next one of its batch would be taken for what it ran.
                if number == signal.SIGKILL:
                    follower.write([release(one, at) for one in self._unnoted(worker)])
                _send(worker.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _record(self, task_id: str) -> TaskRecord | None:
        """Return the call, so that it can be made again."""
        found = self._follower.find([task_id]).get(task_id)
        return found[-1].record if found else None

    def _runs(self, started: StateRecord, batch: list[StateRecord], worker: Worker) -> bool:
        """Say whether the worker, which is stopped, has come to this task of its batch and not to its end."""
        if not self._may_run(started, batch, worker):
            return False
        return started.task_id in self._follower.ledger.final or self._unnoted(worker)[:1] == [started]

    def _may_run(self, started: StateRecord, batch: list[StateRecord], worker: Worker) -> bool:
        """Say whether there is no sign that the task has ended; once it is REVOKED the results do not tell any more."""
        held = self._follower.look().held_by(worker.name)
        return (
            _is_alive(worker, self._follower.folder)
            and not _has_noted(started, self._follower.folder)
            and all(one in batch for one in held)  # it claims no others before it has come to the end of these
        )

    def _unnoted(self, worker: Worker) -> list[StateRecord]:
        """Return the starts of tasks that the worker holds and has not noted the end of, in the order it runs them."""
        notes = filter(None, map(state_in, noted(self._follower.folder, worker.name)))
        ends = {(note.task_id, note.attempt + (note.status == RELEASED)) for note in notes}
        held = self._follower.ledger.held_by(worker.name)
        return [one for one in held if (one.task_id, one.attempt) not in ends]

    def _falls(self, started: StateRecord, batch: list[StateRecord], worker: Worker) -> bool:
        """Wait until the process has ended, or has done with the task; say whether it came to that in time."""
        deadline = time.monotonic() + LAST_WORDS
        while self._may_run(started, batch, worker):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK)
        return True

    def _find_worker(self, name: str) -> Worker | None:
        workers = View(self._follower.folder, now()).workers
        return next((worker for worker in workers if worker.name == name), None)


def signal_number(wanted: str | int) -> int:
    """Return the number of a signal: ``SIGTERM``, ``term`` or 15. Raises ``ImproperlyConfigured``."""
    try:
        if isinstance(wanted, int) or wanted.isdigit():
            return signal.Signals(int(wanted))
        return signal.Signals[f"SIG{wanted.upper().removeprefix('SIG')}"]
    except (KeyError, ValueError):
        raise ImproperlyConfigured(
            f"{wanted!r} is no signal of this system. Nothing was called off. Take SIGTERM or SIGKILL"
        ) from None


def _as_sent(number: int) -> int:
    return signal.SIGQUIT if number in _GENTLE else number


def _is_one_of(name: str, queues: Collection[str] | None) -> bool:
    """Say whether a queue file belongs to one of the queues; it may be named itself, too: ``low.p9``."""
    return queues is None or name in queues or priority_of(name)[0] in queues


def revoked(task_id: str, why: str, last: StateRecord | None = None, record: TaskRecord | None = None) -> StateRecord:
    """Return the end of a task that is called off; ``last`` is its last move, ``record`` the call, to be made again from."""
    record = _as_it_goes_on(record, last) if record else None
    error = {"type": "pmtq.exceptions.TaskRevokedError", "message": why}
    line = StateRecord(task_id, REVOKED, at=timestamp(now()), error=error, record=record)
    line.followers = record.followers if record else None
    if last:
        line.attempt, line.worker, line.retries = last.attempt, last.worker, last.retries
    return line


def _purged(record: TaskRecord, last: StateRecord | None) -> StateRecord:
    """Return the end of one task of many, without its call: a purge is to free room, not to take as much again."""
    line = revoked(record.task_id, "purged")
    line.followers = _as_it_goes_on(record, last).followers
    return line


def _as_it_goes_on(record: TaskRecord, last: StateRecord | None) -> TaskRecord:
    """Return the call that its next try would make: ``replace`` may have made it another one, with other followers."""
    return record.changed(last.changes) if last and last.changes else record


def _cannot_end(worker: Worker) -> str:
    """Return why the worker's process cannot be ended without harm to others; empty if it can."""
    if not hasattr(signal, "SIGSTOP"):
        return "this system cannot stop a process to look at it first"
    if worker.host not in {"", socket.gethostname()}:
        return f"its worker {worker.name} is on {worker.host}. Do it there"
    if worker.pool not in _PROCESSES or not worker.parent:
        return (
            f"its worker {worker.name} has the pool {worker.pool or 'solo'}, and would end with it. "
            "Start workers with -P prefork to be able to end single tasks"
        )
    if not worker.pid:
        return f"its worker {worker.name} does not say which process it is"
    return ""


def _is_alive(worker: Worker, folder: Folder) -> bool:
    """Say whether it lives; another process may have got its name."""
    if remains := find_remains(folder, worker.name):
        remains.close(bury=False)
        return False
    return any(one.pid == worker.pid for one in View(folder, now()).workers if one.name == worker.name)


def _has_noted(started: StateRecord, folder: Folder) -> bool:
    """Say whether the worker has noted an end of this start, and perhaps posted it already."""
    notes = filter(None, map(state_in, noted(folder, started.worker, posted=True)))
    return any(
        (note.task_id, note.attempt) == (started.task_id, started.attempt) and note.status != RELEASED for note in notes
    )


def _send(pid: int, number: int) -> None:
    """Send a signal to the main thread of a process, which runs the task, where the system can tell threads apart.

    A process that goes on gives what came while it was stopped to any of its threads; the main one would sleep on.
    """
    tgkill = getattr(ctypes.CDLL(None), "tgkill", None)
    if tgkill is None:
        os.kill(pid, number)
    elif tgkill(pid, pid, number):
        raise ProcessLookupError(pid)


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """Keep a process from running for a moment. Raises ``ProcessLookupError`` if it is not there."""
    os.kill(pid, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + _STOPS
        while not _is_stopped(pid) and time.monotonic() < deadline:
            time.sleep(_LOOK / 10)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    """Say whether the process runs no more, where the system tells it; else the patience is used up."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(") ")[2][:1] in "TtZX"
    except OSError:
        return False
