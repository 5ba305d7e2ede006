"""The client's side of the queue: a task that was asked for becomes one line of a queue file.

1. The caller gets an answer only when the line stands in the file.
2. Publishing never waits for a worker, and needs none to be there.
"""

from __future__ import annotations

from collections.abc import Iterable

from pmtq.exceptions import ImproperlyConfigured, NotSerializable
from pmtq.folder import DEFAULT_QUEUE, Folder, priority_of, with_priority
from pmtq.journal import Journal
from pmtq.records import MAX_RECORD_BYTES, TaskRecord, encode


class Broker:
    """Appends task records to the queue files of one folder. Threads may share it."""

    def __init__(self, folder: Folder) -> None:
        """Take the folder; files are opened when the first record goes into them."""
        self.folder = folder
        self._files: dict[tuple[str, int], Journal] = {}
        """For each queue and priority the file that holds its records."""

    def publish(self, record: TaskRecord, queue: str = DEFAULT_QUEUE, *, durable: bool = False) -> None:
        """Append one record to ``queue``; see ``Journal.append`` for ``durable`` and for what it raises."""
        line = _line(record)
        journal = self._files.get((queue, record.priority)) or self._open(queue, record.priority)  # `_file`, for speed
        journal.append(line, durable=durable)

    def publish_all(self, calls: Iterable[tuple[TaskRecord, str, bool]]) -> None:
        """Append records, each with its queue and whether it must be durable: those for one file in one write.

        If one of them is refused, none was queued. A folder that cannot be written may take the first files and not the last.
        """
        lines: dict[tuple[str, int, bool], list[bytes]] = {}
        for record, queue, durable in calls:
            lines.setdefault((queue, record.priority, durable), []).append(_line(record))
        files = [self._file(queue, priority) for queue, priority, _ in lines]
        for journal, ((_, _, durable), some) in zip(files, lines.items(), strict=True):
            journal.append(b"".join(some), durable=durable)

    def publish_in_turn(self, batches: Iterable[Iterable[tuple[TaskRecord, str, bool]]]) -> None:
        """Append records like ``publish_all``, batch after batch: no record of one is there before all of those before it."""
        writes: list[tuple[Journal, bytes, bool]] = []
        for batch in map(list, batches):
            by_file: dict[tuple[str, int], list[bytes]] = {}
            for record, queue, _ in batch:
                by_file.setdefault((queue, record.priority), []).append(_line(record))
            durable = any(durable for _, _, durable in batch)
            writes += [(self._file(*key), b"".join(lines), durable) for key, lines in by_file.items()]
        for journal, lines, durable in writes:
            journal.append(lines, durable=durable)

    def close(self) -> None:
        """Close the files; the next record opens them again."""
        for journal in self._files.values():
            journal.close()

    def _file(self, queue: str, priority: int) -> Journal:
        return self._files.get((queue, priority)) or self._open(queue, priority)

    def _open(self, queue: str, priority: int) -> Journal:
        if priority_of(queue)[1]:
            raise ImproperlyConfigured(
                f"the queue name {queue!r} is the one of a priority's file. Nothing was queued. Choose another one"
            )
        journal = Journal(self.folder.queue(with_priority(queue, priority)))
        self.folder.make()
        self._files[queue, priority] = journal
        return journal


def _line(record: TaskRecord) -> bytes:
    try:
        line = encode(record) + b"\n"
    except (UnicodeEncodeError, ValueError) as error:
        why = f"cannot be written as JSON: {error}. Nothing was queued. Send text or numbers"
        raise NotSerializable(f"the record of {record.function}", record, why) from None
    if len(line) <= MAX_RECORD_BYTES:
        return line
    remedy = "Put the data into a file and send its path"
    if len(encode(record.after)) > MAX_RECORD_BYTES // 2:  # it is the ids that take the room
        remedy = "It waits for too many tasks: have it wait for several chords, each of a part of them"
    why = f"has {len(line):,} bytes, and the limit is {MAX_RECORD_BYTES:,}. Nothing was queued. {remedy}"
    raise NotSerializable(f"the record of {record.function}", record, why)
