"""The client's side of the queue: a task that was asked for becomes one line of a queue file.

1. The caller gets an answer only when the line stands in the file.
2. Publishing never waits for a worker, and needs none to be there.
"""

from __future__ import annotations

from collections.abc import Iterable

from pmtq.exceptions import NotSerializable
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.journal import Journal
from pmtq.records import MAX_RECORD_BYTES, TaskRecord, encode


class Broker:
    """Appends task records to the queue files of one folder. Threads may share it."""

    def __init__(self, folder: Folder) -> None:
        """Take the folder; files are opened when the first record goes into them."""
        self.folder = folder
        self._queues: dict[str, Journal] = {}

    def publish(self, record: TaskRecord, queue: str = DEFAULT_QUEUE, *, durable: bool = False) -> None:
        """Append one record to ``queue``; see ``Journal.append`` for ``durable`` and for what it raises."""
        line = _line(record)
        journal = self._queues.get(queue) or self._open(queue)
        journal.append(line, durable=durable)

    def publish_many(self, records: Iterable[TaskRecord], queue: str = DEFAULT_QUEUE, *, durable: bool = False) -> None:
        """Append several records in one write: all of them stand in the file, or none."""
        if lines := b"".join(map(_line, records)):
            journal = self._queues.get(queue) or self._open(queue)
            journal.append(lines, durable=durable)

    def _open(self, queue: str) -> Journal:
        journal = Journal(self.folder.queue(queue))
        self.folder.make()
        self._queues[queue] = journal
        return journal


def _line(record: TaskRecord) -> bytes:
    try:
        line = encode(record) + b"\n"
    except (UnicodeEncodeError, ValueError) as error:
        why = f"cannot be written as JSON: {error}. Nothing was queued. Send text or numbers"
        raise NotSerializable(f"the record of {record.function}", record, why) from None
    if len(line) <= MAX_RECORD_BYTES:
        return line
    why = f"has {len(line):,} bytes, and the limit is {MAX_RECORD_BYTES:,}. Nothing was queued. "
    raise NotSerializable(
        f"the record of {record.function}", record, why + "Put the data into a file and send its path"
    )
