"""Keeps both files short: what is done with goes out by way of ``sealed/``; what is owed is carried over.

1. Nothing is removed while it is the only copy: results are on the disk before a queue file loses the records they end,
   and what is carried over is there before a line says that it was.
2. A queue file is renamed, never emptied in place: a ``>>`` that races lands in a file that is read once more before
   it is removed.
3. Any step may be the last one before a crash. What a dead sealer left half done is found by task id and finished.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pmtq import disk
from pmtq.archive import all_lines
from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.ledger import Ledger
from pmtq.reader import QueueReader
from pmtq.records import StateRecord, encode_lines, timestamp
from pmtq.scan import is_complete, own_id, with_task_id
from pmtq.states import FINAL_STATES

SEAL_BYTES = 16 * 1024 * 1024
"""Results longer than this are sealed once they are also longer than half the backlog: so carrying the backlog
over costs each task a bounded share, and a starting worker has a bounded amount to read."""
IDLE_SEAL_BYTES = 1024 * 1024
"""The same when nothing is owed, so that it costs nothing. Shorter results stay where a person finds them at once."""
PATIENCE = 0.05
"""Seconds to wait for a queue's lock while holding that of the results: whoever keeps it must not stop all workers."""
GRACE = 2.0
"""Seconds a sealed queue file is kept at least, for whoever opened it under its old name."""
BLIND_GRACE = 60.0
"""The same where the system cannot tell whether a file is still open for writing."""
RESULT_EXPIRES = 24 * 3600.0
"""Seconds that sealed results are kept; Celery's default."""
_PIECE = 4 * 1024 * 1024

Span = tuple[int, int, str]
"""A record's place in a file: offset of its first byte, offset behind its last, and its id."""


def generation(folder: Folder, queue: str, ledger: Ledger) -> int:
    """Return how often the queue's file has been sealed: a line typed again into a cleared file is a new task."""
    sealed = [path.name for name, _, path in folder.sealed_queues() if name == queue]
    return max((_number(name, folder, queue) for name in [*sealed, *ledger.sealed]), default=-1) + 1


class Share(NamedTuple):
    """One queue file as a worker has read it so far."""

    reader: QueueReader
    owed: list[Span]
    """The records it has read that are not done with, in file order."""


def is_outgrown(results_bytes: int, backlog_bytes: int, *, idle: bool) -> bool:
    """Say whether the results should start afresh, given how many bytes of records still wait."""
    return results_bytes > (IDLE_SEAL_BYTES if idle else max(SEAL_BYTES, backlog_bytes // 2))


def seal(
    folder: Folder, results: Journal, ledger: Ledger, shares: list[Share], ahead: set[str], now: float, *, renew: bool
) -> None:
    """Start the files of ``shares`` afresh with what is owed; remove what was sealed long enough ago.

    The caller holds the results' lock, and ``ledger`` knows every line of them. ``ahead`` are the ids the results speak
    of, whose records its readers have not come to yet. With ``renew`` the results start afresh too, and so do the queues that
    are not among ``shares``: nothing else says any more which of their records are final.
    """
    results.sync()
    _sync_rejected(folder)
    if renew:
        served = {share.reader.name for share in shares}
        shares = shares + [_untouched(folder, name, ledger) for name in folder.queue_names() if name not in served]
    for share in shares:
        _seal_queue(folder, results, ledger, share, ahead, now)
    sweep(folder, results, ledger, now)
    if renew:
        _renew_results(folder, results, ledger)


def _sync_rejected(folder: Folder) -> None:
    """Bring to the disk what was copied out of the queue files because it is no record."""
    rejected = Journal(folder.rejected)
    if rejected.refresh():
        rejected.sync()


def _untouched(folder: Folder, queue: str, ledger: Ledger) -> Share:
    """Return the share of a queue that has not been read at all."""
    reader = QueueReader(Journal(folder.queue(queue)), queue)
    reader.rewind(generation(folder, queue, ledger))
    return Share(reader, [])


def _seal_queue(folder: Folder, results: Journal, ledger: Ledger, share: Share, ahead: set[str], now: float) -> None:
    reader, journal = share.reader, share.reader.journal
    owed = list(share.owed)
    with journal.hold(PATIENCE):
        # What other workers have taken or ended stands a little way ahead; behind the last of it all is untouched.
        for item in reader if ahead else ():
            if not getattr(item.record, "moved", False):  # the line it was moved from may stand in another file
                ahead.discard(item.record.task_id)
            if item.record.task_id not in ledger.final:
                owed.append((item.start, item.end, item.record.task_id))
            if not ahead:
                break
        if reader.position() == sum(end - start for start, end, _ in owed) and not reader.holds_copies():
            return  # nothing in it is done with
        target, fresh = _start_afresh(folder, ledger, reader)
        _carry(journal, fresh, owed)
        _carry_the_rest(reader, fresh, ledger)
        # What stands behind is half a line: whoever is writing it goes on in the sealed file, which is read again.
        _declare(results, ledger, target, reader.position(), now, fresh)
        fresh.close()


def replace(
    folder: Folder, ledger: Ledger, reader: QueueReader, lines: Iterable[bytes], now: float, size: int
) -> StateRecord:
    """Start one queue file afresh with ``lines``, in the place of its first ``size`` bytes; return what says so.

    The caller holds both locks, ``lines`` tell all that is owed of those bytes, and the results are on the disk. Until it
    has written the returned line into them, what stood in the old file is owed as well: a crash takes nothing away.
    """
    target, fresh = _start_afresh(folder, ledger, reader)
    lines = iter(lines)
    while some := b"".join(islice(lines, 1000)):
        fresh.write(some)
    fresh.close()
    return StateRecord(at=timestamp(now), sealed=target.name, size=size)


def _start_afresh(folder: Folder, ledger: Ledger, reader: QueueReader) -> tuple[Path, Journal]:
    """Seal the file of ``reader``, which goes on reading it; return its new path, and the empty one in its place."""
    target = folder.sealed_queue(reader.name, generation(folder, reader.name, ledger))
    disk.make_folder(folder.sealed)
    return target, reader.journal.set_aside(target)


def _carry_the_rest(reader: QueueReader, target: Journal, ledger: Ledger) -> None:
    """Append what ``reader`` has not come to yet, most of it as it is."""
    while True:
        if plain := reader.take_plain(_PIECE):
            target.write(plain)
        elif items := reader.take():
            spans = [(item.start, item.end, item.record.task_id) for item in items]
            _carry(reader.journal, target, [span for span in spans if span[2] not in ledger.final])
        else:
            return


def _carry(source: Journal, target: Journal, spans: Iterable[Span]) -> None:
    """Append records of ``source`` to ``target``, under the ids they have there."""
    for some in _batches(spans, 1000):
        target.write(b"".join(with_task_id(source.read_bytes(start, end - start), name) for start, end, name in some))


def _batches(spans: Iterable[Span], size: int) -> Iterator[list[Span]]:
    spans = iter(spans)
    while some := list(islice(spans, size)):
        yield some


def _declare(results: Journal, ledger: Ledger, sealed: Path, size: int, now: float, target: Journal) -> None:
    """Write down that the first ``size`` bytes of a sealed file have been carried over to ``target``."""
    if target.size():  # a power cut may keep this line and lose what it speaks of, unless that is on the disk first
        target.sync()
        disk.fsync_folder(sealed.parent)
        disk.fsync_folder(target.path.parent)
    line = StateRecord(at=timestamp(now), sealed=sealed.name, size=size)
    results.write(encode_lines([line]))
    ledger.apply([line])


def sweep(folder: Folder, results: Journal, ledger: Ledger, now: float) -> None:
    """Read sealed queue files once more, then remove them; the caller holds the results' lock."""
    for queue, number, path in folder.sealed_queues():
        try:
            status = disk.status(path)
        except FileNotFoundError:
            continue  # a person has cleared it away
        if abs(now - status.st_ctime) < GRACE:  # also when it was sealed an instant after `now` was taken
            continue
        carried = ledger.sealed.get(path.name)
        journal = Journal(folder.queue(queue))
        with journal.hold(PATIENCE):
            if carried is None or carried < status.st_size:
                _carry_late_lines(folder, results, ledger, journal, QueueReader(Journal(path), queue), number, now)
            elif not may_still_be_written(path, now):
                journal.sync()  # what was carried over stands nowhere else from now on
                disk.remove(path)
        journal.close()


def expired(folder: Folder, now: float, seconds: float | None) -> list[Path]:
    """Return the results that were sealed more than ``seconds`` ago; None and 0 keep them for ever."""
    found = []
    for path in folder.sealed_results() if seconds else ():
        with contextlib.suppress(FileNotFoundError):  # another worker was faster
            if now - disk.status(path).st_mtime > (seconds or 0):
                found.append(path)
    return found


def expire(folder: Folder, ledger: Ledger, now: float, seconds: float | None = RESULT_EXPIRES) -> None:
    """Remove what has expired, but not while a queue file that was half carried over needs it.

    The caller holds the results' lock: without it, what another worker seals meanwhile may get the name of a file that
    was found to be old, and go in its place.
    """
    if all(path.name in ledger.sealed for _, _, path in folder.sealed_queues()):
        for path in expired(folder, now, seconds):
            disk.remove(path)


def _carry_late_lines(
    folder: Folder, results: Journal, ledger: Ledger, target: Journal, old: QueueReader, number: int, now: float
) -> None:
    """Append to the queue what came into a sealed file late, or was not carried over when a sealer died."""
    path = old.journal.path
    carried = ledger.sealed.get(path.name)
    old.rewind(number)
    late = [(item.start, item.end, item.record.task_id) for item in old if item.start >= (carried or 0)]
    end = old.position()
    half_a_line = old.journal.read_bytes(end, old.unread())
    find_known = partial(_known_elsewhere, folder, ledger, target, old.name)  # it reads much, and is seldom needed
    if late:
        known = find_known()
        _carry(old.journal, target, [span for span in late if span[2] not in known])
    old.journal.close()
    if end == carried and (is_complete(half_a_line) or not may_still_be_written(path, now)):
        if own_id(half_a_line) not in find_known():
            target.write(half_a_line + b"\n")  # nobody is there to finish it, or need to
        end += len(half_a_line)
    if end != carried:
        _declare(results, ledger, path, end, now, target)


def _known_elsewhere(folder: Folder, ledger: Ledger, journal: Journal, queue: str) -> AbstractSet[str]:
    """Return the ids that are done with, or that stand in the new queue file already.

    A sealer may have died at work: then some of the records have been carried over, some have not. And what was called off
    before its line was whole is known by sealed results alone.
    """
    known = set(ledger.final)
    for path in folder.sealed_results():
        known.update(state.task_id for state in all_lines(Journal(path)) if state.status in FINAL_STATES)
    reader = QueueReader(journal, queue)
    reader.rewind(generation(folder, queue, ledger))
    for item in reader:
        known.add(item.record.task_id)
    return known


def _renew_results(folder: Folder, results: Journal, ledger: Ledger) -> None:
    """Start the results afresh with what live tasks need; the old file stays readable in ``sealed/`` until it expires."""
    there = {path.name for _, _, path in folder.sealed_queues()}
    newest = {sealed: size for sealed, size in ledger.sealed.items() if sealed in there}
    for queue in folder.queue_names():  # the numbers go on counting
        names = [name for name in ledger.sealed if _number(name, folder, queue) >= 0]
        if names:
            last = max(names, key=lambda name: _number(name, folder, queue))
            newest[last] = ledger.sealed[last]
    lines = [*ledger.snapshot(), *(StateRecord(sealed=name, size=size) for name, size in newest.items())]
    draft = folder.next_results.with_suffix(".draft")
    disk.make_folder(folder.sealed)
    disk.remove(draft)
    descriptor = disk.open_file(draft)
    try:
        disk.append(descriptor, encode_lines(lines), draft, 0)
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)
    disk.rename(draft, folder.next_results)
    disk.fsync_folder(folder.sealed)
    numbers = [int(path.name.split(".")[1]) for path in folder.sealed_results()]
    results.sync()
    # Between these two renames the file has no name; whoever locks it then gives it to `next_results` (see Journal).
    disk.rename(results.path, folder.sealed / f"results.{max(numbers, default=-1) + 1}.jsonl")
    disk.rename(folder.next_results, results.path)
    disk.fsync_folder(folder.path)
    disk.fsync_folder(folder.sealed)


def may_still_be_written(path: Path, now: float) -> bool:
    """Say whether some process has the file open for writing, such as a shell's ``cat >>``."""
    if sys.platform != "linux":
        return abs(now - disk.status(path).st_ctime) < BLIND_GRACE
    import fcntl  # noqa: PLC0415  (does not exist on Windows)

    descriptor = disk.open_file(path, write=False, create=False)
    try:
        # The kernel grants a read lease only on a file that nobody has open for writing: fcntl(2), "Leases".
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _number(sealed: str, folder: Folder, queue: str) -> int:
    """Return the generation in the name of a sealed file of ``queue``, -1 for any other name."""
    name, number = folder.in_sealed_name(sealed)
    return number if name == queue else -1
