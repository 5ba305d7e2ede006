"""Looks at a queue folder from outside, without changing it: what waits and why, who lives, what runs where.

1. Nothing here needs a worker, an app or its code: the files say it all.
2. A queue file is streamed. Memory follows what is shown and what is done with, never the backlog.
3. What is seen is one moment's truth: files grow while one reads.

It does not know how the answers are shown.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import msgspec

from pmtq.archive import all_lines
from pmtq.folder import Folder, priority_of
from pmtq.gates import RATE, Gates
from pmtq.journal import Journal
from pmtq.ledger import MOVED, PAUSE, RATE_LIMIT, REVOKE, Ledger
from pmtq.presence import living
from pmtq.reader import MOVED_MARK, QueueReader
from pmtq.records import FORMAT_VERSION, MAX_RECORD_BYTES, StateRecord, TaskRecord, decode_state, epoch, timestamp
from pmtq.scan import DERIVED_ID, Fault, Item, Scanner
from pmtq.sealing import generation
from pmtq.states import FINAL_STATES, PENDING, REJECTED, RETRY, STARTED
from pmtq.steps import GATHER, dependencies

MANY_AT_ONCE = frozenset({"asyncio", "gevent", "eventlet"})
"""Pools that begin every task they take at once."""
_MOST_PID = 2**31 - 1


class Worker(msgspec.Struct, kw_only=True):
    """A living worker, as its file in ``workers/`` says."""

    name: str = ""
    pid: int = 0
    host: str = ""
    started: str = ""
    queues: list[str] = []
    functions: list[str] = []
    pool: str = ""
    concurrency: int = 1
    """How many tasks it runs at a time."""
    parent: str = ""
    """For such a process: the name of the worker it belongs to."""

    def seconds_up(self, now: float) -> float:
        """Return how long it has been running."""
        return now - _time(self.started, now)


class Owed(msgspec.Struct, kw_only=True):
    """One task that is not done with."""

    task_id: str
    function: str = ""
    """Empty for a line that is no task record."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    queue: str
    priority: int = 0
    sent: str = ""
    eta: str = ""
    """Not to be run before this time, whether its caller or its last try said so; empty for at once."""
    state: str = PENDING
    why: str = ""
    """A clause that says why it waits, or who runs it."""


class Running(msgspec.Struct, kw_only=True):
    """One task that a living worker holds."""

    worker: str
    task_id: str
    function: str = ""
    """Empty if its record was not found: somebody took the line out of the queue file."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    since: str
    attempt: int
    queue: str = ""
    priority: int = 0
    pid: int = 0
    """Of the process that has it."""
    begun: bool
    """False for one that was claimed in the same batch and has its turn later."""

    def seconds(self, now: float) -> float:
        """Return how long its worker has had it."""
        return now - _time(self.since, now)


class Backlog(msgspec.Struct, kw_only=True):
    """What one queue holds."""

    queue: str
    first: list[Owed]
    """As many as were asked for, in the order in which they run: by priority, then as they stand in the file."""
    owed: int
    """How many there are altogether, those included that run now …"""
    held: int
    """… and how many of them a living worker holds."""


class View:
    """A folder at one moment. What is expensive to know is read when it is asked for first."""

    def __init__(self, folder: Folder, now: float) -> None:
        """Look at ``folder`` at ``now``, in seconds since 1970; the folder need not exist."""
        self.folder = folder
        self.now = now
        self._owners: dict[str, str] = {}
        """For each key the first task that was come to in the queue that is being read."""

    @cached_property
    def workers(self) -> list[Worker]:
        """The living workers by name; the processes of a pool stand behind the worker they belong to."""
        return [_worker(facts) for facts in living(self.folder)]

    @cached_property
    def ledger(self) -> Ledger:
        """What the results say about all tasks."""
        ledger, journal, offset = Ledger(), Journal(self.folder.results), 0
        if journal.refresh():
            while lines := journal.read(offset):
                offset += len(lines)
                for line in lines.splitlines():
                    try:
                        ledger.apply([decode_state(line)])
                    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                        continue  # a worker reports it; the others decide without it, as we do
        journal.close()
        return ledger

    def queues(self) -> list[str]:
        """Return the queues that have a file, the default one first; the files of their priorities are theirs."""
        return list(dict.fromkeys(priority_of(name)[0] for name in self.folder.queue_names()))

    def backlog(self, queue: str, limit: int) -> Backlog:
        """Return the first ``limit`` owed records of ``queue``, of all priorities, and how many there are."""
        seen = Backlog(queue=queue, first=[], owed=0, held=0)
        for reader, item in self._owed(queue):
            seen.owed += 1
            seen.held += item.record.task_id in self._held
            if len(seen.first) < limit:
                seen.first.append(self._explained(reader, item))
        return seen

    def running(self) -> list[Running]:
        """Return what the living workers hold, in the order they took it."""
        records = self._records_of(set(self._held))
        pids = {worker.name: worker.pid for worker in self.workers}
        begun: set[str] = set()
        found = []
        for state in self._held.values():
            record, name = records.get(state.task_id, (None, ""))
            queue, priority = priority_of(name)
            args, kwargs = _arguments(record)
            found.append(
                Running(
                    worker=state.worker,
                    task_id=state.task_id,
                    function=record.function if record else "",
                    args=args,
                    kwargs=kwargs,
                    since=state.at,
                    attempt=state.attempt,
                    queue=queue,
                    priority=priority,
                    pid=pids[state.worker],
                    begun=state.worker not in begun or state.worker in self._many_at_once,
                )
            )
            begun.add(state.worker)
        return found

    def find(self, task_id: str) -> Owed | None:
        """Return the task if its record stands in a queue file and is not done with, else None."""
        for queue in self.queues():
            for reader, item in self._owed(queue):
                if item.record.task_id == task_id:
                    return self._explained(reader, item)
        return None

    def later(self, queue: str) -> Iterator[Owed]:
        """Yield what waits in ``queue`` for its time, in the order in which it would run now."""
        for reader, item in self._owed(queue):
            if not isinstance(item.record, Fault) and _is_after(self._eta(item.record), self.now):
                yield self._explained(reader, item)

    def ended(self) -> Iterator[StateRecord]:
        """Yield the line with which each task ended, as far as results are kept, oldest first."""
        seen: set[str] = set()
        for path in [*reversed(self.folder.sealed_results()), self.folder.results]:
            for state in all_lines(Journal(path)):
                if state.status in FINAL_STATES and state.task_id not in seen:
                    seen.add(state.task_id)
                    yield state

    def _eta(self, record: TaskRecord | Fault) -> str:
        last = self.ledger.open.get(record.task_id)
        if last and last.status == RETRY:
            return last.eta
        return record.eta if not isinstance(record, Fault) else ""

    @cached_property
    def _held(self) -> dict[str, StateRecord]:
        """The STARTED lines of the tasks that living workers hold, by task id."""
        alive = {worker.name for worker in self.workers}
        states = self.ledger.open.values()
        return {state.task_id: state for state in states if state.status == STARTED and state.worker in alive}

    @cached_property
    def _hands(self) -> list[Worker]:
        """The workers that run tasks themselves; the parent of a pool only looks after its children."""
        parents = {worker.parent for worker in self.workers}
        return [worker for worker in self.workers if worker.name not in parents]

    def _owed(self, queue: str) -> Iterator[tuple[QueueReader, Item]]:
        """Yield what is owed in ``queue``, each task once, in the order in which it runs."""
        self._owners = {}
        for name in self._files(queue):
            reader = self._reader(name)
            for item in _items(reader):
                record = item.record
                if record.task_id not in self.ledger.final and self.places.get(record.task_id, name) == name:
                    yield reader, item
                    if not isinstance(record, Fault) and record.unique_key:
                        self._owners.setdefault(record.unique_key, record.task_id)
            reader.journal.close()

    def _files(self, queue: str) -> list[str]:
        """Return the names of the queue's files, in the order in which a worker reads them."""
        names = [name for name in self.folder.queue_names() if priority_of(name)[0] == queue]
        return sorted(names, key=priority_of, reverse=True)

    @cached_property
    def places(self) -> dict[str, str]:
        """For each task that was moved the name of the file in which its record counts."""
        places: dict[str, str] = {}
        for name in sorted(self.folder.queue_names(), key=lambda name: priority_of(name)[1]):
            journal, offset = Journal(self.folder.queue(name)), 0
            journal.refresh()
            while lines := journal.read(offset):
                offset += len(lines)
                if MOVED_MARK in lines:
                    places |= dict.fromkeys(_moved_ids(lines), name)
            journal.close()
        for control, line in self.ledger.controls.items():
            kind, _, task_id = control.partition(" ")
            if kind == MOVED:
                places[task_id] = str(line.result)
        return places

    def _reader(self, name: str) -> QueueReader:
        reader = QueueReader(Journal(self.folder.queue(name)), name)
        reader.rewind(generation(self.folder, name, self.ledger))
        return reader

    def _records_of(self, wanted: set[str]) -> dict[str, tuple[TaskRecord, str]]:
        """Return the records of these ids, and where they stand: near the top of their files, so little is read."""
        found: dict[str, tuple[TaskRecord, str]] = {}
        for name in self.folder.queue_names():
            for item in _items(self._reader(name)):
                if len(found) == len(wanted):
                    return found
                if item.record.task_id in wanted and not isinstance(item.record, Fault):
                    found[item.record.task_id] = item.record, name
        return found

    def _explained(self, reader: QueueReader, item: Item) -> Owed:
        record = item.record
        queue, priority = priority_of(reader.name)
        if isinstance(record, Fault):
            line = reader.line_number(item.start) + record.line
            why = f"line {line} is no task record: {record.reason} at column {record.column}. {record.remedy}".rstrip()
            return Owed(task_id=record.task_id, queue=queue, priority=priority, state=REJECTED, why=why)
        args, kwargs = _arguments(record)
        state, why = self._why(record, queue)
        return Owed(
            task_id=record.task_id,
            function=record.function,
            args=args,
            kwargs=kwargs,
            queue=queue,
            priority=priority,
            sent=record.sent,
            eta=self._eta(record),
            state=state,
            why=why,
        )

    def _why(self, record: TaskRecord, queue: str) -> tuple[str, str]:
        """Return the state of an owed record, and the clause that says what it waits for."""
        last = self.ledger.open.get(record.task_id)
        if last and last.changes:
            record = record.changed(last.changes)
        if last and last.status == STARTED:
            return STARTED, self._who_has(last)
        if last and last.status == RETRY and _is_after(last.eta, self.now):
            return RETRY, f"tries again at {last.eta}"
        return (RETRY if last and last.status == RETRY else PENDING), (
            self._called_off(record)
            or self._comes_after(record)
            or _not_for_now(record, self.now)
            or self._same_call(record)
            or self._held_back(record, queue)
            or self._nobody_can(record.function, queue)
            or self._somebody_will(record, queue)
        )

    def _comes_after(self, record: TaskRecord) -> str:
        """Return which other tasks it waits for; empty if there are none."""
        missing = [one for one in dependencies(record, self.ledger.awaited.ends) if one not in self.ledger.final]
        if not missing:
            return "the next worker that looks gathers the values" if record.function == GATHER else ""
        first, more = missing[0], len(missing) - 1
        if record.after_failure:
            others = ", or another one" if more == 1 else f", or one of {more:,} others" if more else ""
            return f"it runs only if task {first} fails{others}"
        return f"task {first} and {more:,} more have not ended yet" if more else f"task {first} has not ended yet"

    def _who_has(self, held: StateRecord) -> str:
        if held.task_id not in self._held:
            return f"its worker {held.worker} died; the next worker gives it out again"
        before = next(state for state in self._held.values() if state.worker == held.worker)
        if before is held or held.worker in self._many_at_once:
            return f"{held.worker} runs it since {held.at}"
        return f"{held.worker} has claimed it and runs {before.task_id} first"

    @cached_property
    def _many_at_once(self) -> set[str]:
        """The workers in which all tasks they have taken run at once."""
        return {worker.name for worker in self.workers if worker.pool in MANY_AT_ONCE}

    @cached_property
    def _with_room(self) -> set[str]:
        """Those of them that could take more."""
        taken = Counter(state.worker for state in self._held.values())
        places = {worker.name: worker.concurrency for worker in self.workers}
        return {name for name in self._many_at_once if taken[name] < places[name]}

    def _called_off(self, record: TaskRecord) -> str:
        return (
            "it was called off; the next worker ends it" if f"{REVOKE} {record.task_id}" in self.ledger.controls else ""
        )

    def _same_call(self, record: TaskRecord) -> str:
        """Return which task is the same call and keeps this one from running; empty if none is."""
        owner = self._owners.get(record.unique_key, record.task_id)
        if owner == record.task_id or record.debounce:
            return ""
        return f"the same call is owed already, as task {owner}; the next worker ends this one"

    def _held_back(self, record: TaskRecord, queue: str) -> str:
        """Return what people or limits hold it back with; empty if nothing does."""
        gates = Gates(self.ledger, {})
        name = gates.closed(record, queue, self.now)
        if name.startswith(PAUSE):
            what, whose = name.split(" ", 2)[1:]
            option = "-Q" if what == "queue" else "-T"
            at = self.ledger.controls[name].at  # not in a line that somebody has typed
            return f"the {what} {whose} is paused{f' since {at}' if at else ''}: pmtq resume {option} {whose}"
        if name.startswith(RATE):
            rate = self.ledger.controls[f"{RATE_LIMIT} {record.function}"].result
            return f"the rate limit {rate} lets the next {record.function} start at {timestamp(gates.opens(name))}"
        return ""

    def _nobody_can(self, function: str, queue: str) -> str:
        """Return why no living worker is going to take it; empty if one is."""
        if not self.workers:
            return "no worker is running"
        serving = [worker for worker in self._hands if queue in worker.queues]
        if not serving:
            return f"no running worker serves the queue {queue}"
        known = {name for worker in serving for name in worker.functions}
        if function in known:
            return ""
        near = difflib.get_close_matches(function, known, n=1)
        return f"no running worker knows {function}" + (f"; did you mean {near[0]}?" if near else "")

    def _somebody_will(self, record: TaskRecord, queue: str) -> str:
        busy = {state.worker for state in self._held.values()} - self._with_room
        able = [hand for hand in self._hands if queue in hand.queues and record.function in hand.functions]
        if all(hand.name in busy for hand in able):
            return "every worker that knows it is busy"
        return "it is about to start"


def _items(reader: QueueReader) -> Iterator[Item]:
    """Yield what stands in the file, a last line without a newline included."""
    yield from reader
    start = reader.position()
    tail = reader.journal.read_bytes(start, MAX_RECORD_BYTES) if reader.unread() else b""
    if not tail.strip():
        return
    unfinished = Item(start, start + len(tail), Fault("", "the record is not finished", 0, 1, "", "Write its end"))
    last = next(iter(Scanner().scan(tail.rstrip(b"\n") + b"\n", start)), unfinished)
    if last.record.task_id.startswith(DERIVED_ID):
        last.record.task_id = ""  # it gets one from its bytes and its equals, as soon as its newline is there
    yield last


def _moved_ids(lines: bytes) -> list[str]:
    items = Scanner().scan(lines, 0)
    return [one.record.task_id for one in items if not isinstance(one.record, Fault) and one.record.moved]


def _worker(facts: dict[str, Any]) -> Worker:
    try:
        worker = msgspec.convert(facts, Worker, strict=False)
    except msgspec.ValidationError:  # another version's file: its name is enough to know that it lives
        return Worker(name=str(facts.get("name", "")))
    if not 0 < worker.pid <= _MOST_PID:  # to signal one of these is to signal many processes, or none
        worker.pid = 0
    return worker


def _arguments(record: TaskRecord | None) -> tuple[list[Any], dict[str, Any]]:
    args, kwargs = record.arguments() if record else ((), {})
    return list(args), dict(kwargs)


def _not_for_now(record: TaskRecord, now: float) -> str:
    """Return what in the record itself keeps it from running now; empty if nothing does."""
    if record.v > FORMAT_VERSION:
        return f"a later version of pmtq wrote it (format {record.v}); this one leaves it alone"
    if record.expires and not _is_after(record.expires, now):
        return f"it expired at {record.expires}; the next worker ends it"
    if _is_after(record.eta, now):
        return f"it is not to run before {record.eta}"
    return ""


def _time(moment: str, default: float) -> float:
    """Return a time out of a file, or ``default`` if somebody wrote something else there."""
    try:
        return epoch(moment)
    except ValueError:
        return default


def _is_after(moment: str, now: float) -> bool:
    try:
        return bool(moment) and epoch(moment) > now
    except ValueError:
        return False
