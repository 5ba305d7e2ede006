"""Turns what is appended to a queue folder into events, under the names that Celery gives them.

1. A new line in a queue file is ``task-sent``. The line with which a worker takes a task is ``task-received`` and
   ``task-started``, as it does both at once. The others follow from the state in the line: SUCCESS is ``task-succeeded``.
2. What stood there before is no event. A line that is carried over when a file is begun afresh is none either.
3. Workers come online and go offline as their kernel locks are taken and freed.

It does not know who listens.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pmtq.archive import state_in
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.inspection import View
from pmtq.journal import Journal
from pmtq.reader import QueueReader
from pmtq.records import StateRecord, TaskRecord, timestamp
from pmtq.scan import Fault
from pmtq.sealing import generation
from pmtq.states import FAILURE, FINAL_STATES, REJECTED, RETRY, REVOKED, STARTED, SUCCESS

_NAMES = {
    STARTED: ("task-received", "task-started"),
    SUCCESS: ("task-succeeded",),
    FAILURE: ("task-failed",),
    RETRY: ("task-retried",),
    REVOKED: ("task-revoked",),
    REJECTED: ("task-rejected",),
}
"""Any other state, such as LOST or PROGRESS, is an event of its own name."""
LOOK = 0.5
"""Seconds between two looks at who lives: each tries the lock of every worker."""
MOST_NAMES = 100_000
"""So many owed tasks are known by the name of their function; those sent after more have to do without."""


class Event(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Something that has happened. The fields have Celery's names."""

    type: str
    timestamp: str
    hostname: str = ""
    """The worker; empty for what a client did."""
    uuid: str = ""
    """The task's id."""
    name: str = ""
    """Its function; empty if its record was not seen."""
    args: list[object] | None = None
    kwargs: dict[str, object] | None = None
    queue: str = ""
    eta: str = ""
    result: object = None
    exception: str = ""
    traceback: str = ""
    runtime: float = 0.0
    attempt: int = 0


class Following:
    """What one listener has heard so far."""

    def __init__(self, folder: Folder, now: float) -> None:
        """Begin with what is there ``now``, in seconds since 1970; the folder must exist."""
        self._folder = folder
        self._since = timestamp(now)
        view = View(folder, now)
        self._workers = {worker.name for worker in view.workers if not worker.parent}
        self._next_look = now
        self._names: dict[str, str] = {}
        """The functions of owed tasks, by id."""
        self._last: dict[str, StateRecord] = {}
        """The last line of each task that has not ended, to be known again where it is carried over."""
        self._queues: dict[str, QueueReader] = {}
        for _ in self._sent():  # what is there already
            pass
        for task_id in view.ledger.final & self._names.keys():
            del self._names[task_id]
        self._results = Journal(folder.results)
        self._inode = self._results.refresh()
        self._offset = self._results.size()
        while self._offset and self._results.read_bytes(self._offset - 1, 1) != b"\n":
            self._offset -= 1  # a line that is being written counts when it is whole

    def files(self) -> frozenset[str]:
        """Return the names of the files in which something may happen next."""
        queues = {DEFAULT_QUEUE, *self._queues}
        return frozenset({self._folder.results.name, *(self._folder.queue(name).name for name in queues)})

    def news(self, now: float) -> Iterator[Event]:
        """Yield what has happened since it was asked last, clients' doing first.

        What was sent into a queue file that came and went in between is missed; what became of it is not.
        """
        yield from self._sent()
        yield from self._moved()
        yield from self._came_and_went(now)

    def _sent(self) -> Iterator[Event]:
        for queue in self._folder.queue_names():
            reader = self._queues.get(queue)
            if reader:  # to its end first, also when another file has its name by now
                yield from self._records(reader, carried=False)
                if not reader.is_another_file():
                    continue
            carried = reader is not None
            reader = self._queues[queue] = reader or QueueReader(Journal(self._folder.queue(queue)), queue)
            reader.rewind(generation(self._folder, queue, View(self._folder, 0).ledger))
            yield from self._records(reader, carried=carried)

    def _records(self, reader: QueueReader, *, carried: bool) -> Iterator[Event]:
        for item in reader:
            if not isinstance(item.record, Fault) and self._is_new(item.record, carried=carried):
                yield _sent(item.record, reader.name, self._since)

    def _is_new(self, record: TaskRecord, *, carried: bool) -> bool:
        """Remember the record; say whether it was sent since we listen, and was not only carried over."""
        known = record.task_id in self._names or (carried and bool(record.sent) and record.sent < self._since)
        if len(self._names) < MOST_NAMES:
            self._names[record.task_id] = record.function
        return not known

    def _moved(self) -> Iterator[Event]:
        yield from self._lines(carried=False)
        inode = self._results.refresh()
        if inode != self._inode or self._results.size() < self._offset:
            carried = self._inode != 0  # else it is the first file of its name
            self._inode, self._offset = inode, 0
            yield from self._lines(carried=carried)

    def _lines(self, *, carried: bool) -> Iterator[Event]:
        while lines := self._results.read(self._offset):
            self._offset += len(lines)
            for state in filter(None, map(state_in, lines.splitlines())):
                told = carried and (state.kept or state.at < self._since or state == self._last.get(state.task_id))
                if state.task_id and not told:
                    yield from self._events_of(state)

    def _events_of(self, state: StateRecord) -> Iterator[Event]:
        name = self._names.get(state.task_id, "")
        if state.status in FINAL_STATES:
            self._names.pop(state.task_id, None)
            self._last.pop(state.task_id, None)
        else:
            self._last[state.task_id] = state
        for kind in _NAMES.get(state.status, (f"task-{state.status.lower()}",)):
            yield _moved(kind, state, name)

    def _came_and_went(self, now: float) -> Iterator[Event]:
        if now < self._next_look:
            return
        self._next_look, at = now + LOOK, timestamp(now)
        there = {worker.name for worker in View(self._folder, 0).workers if not worker.parent}
        for name in sorted(there - self._workers):
            yield Event(type="worker-online", timestamp=at, hostname=name)
        for name in sorted(self._workers - there):
            yield Event(type="worker-offline", timestamp=at, hostname=name)
        self._workers = there


def _sent(record: TaskRecord, queue: str, at: str) -> Event:
    args, kwargs = record.arguments()
    return Event(
        type="task-sent",
        timestamp=record.sent or at,
        uuid=record.task_id,
        name=record.function,
        args=list(args),
        kwargs=dict(kwargs),
        queue=queue,
        eta=record.eta,
    )


def _moved(kind: str, state: StateRecord, name: str) -> Event:
    error = state.error or {}
    return Event(
        type=kind,
        timestamp=state.at,
        hostname=state.worker,
        uuid=state.task_id,
        name=name,
        eta=state.eta,
        result=state.result,
        exception=f"{error.get('type', '')}: {error.get('message', '')}" if error else "",
        traceback=state.traceback,
        runtime=state.runtime,
        attempt=state.attempt,
    )
