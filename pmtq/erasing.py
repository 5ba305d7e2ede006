"""Takes forgotten results out of the files: what a client wants forgotten leaves the disk, and nothing else does.

1. While a task's record may still stand in a queue file, one line remains that says ERASED, and keeps it from running again.
2. No file is changed in place: a copy without those lines takes its name in one step, and readers notice.
3. The client's line FORGOTTEN is the last to go, so what a worker leaves half done when it dies is done by the next.

It does not know of copies: a client that has asked for the result keeps it in its memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pmtq import disk
from pmtq.archive import About, pieces
from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.ledger import Ledger
from pmtq.records import StateRecord, encode_lines
from pmtq.states import ERASED, FINAL_STATES


class Search:
    """Where the results stand that are to be erased, as far as that can be found out before the lock is taken."""

    def __init__(self, folder: Folder, ledger: Ledger) -> None:
        """Read the sealed results, which may be long, if one of them must hold what is not in the newest file."""
        self.task_ids = ledger.forgotten - ledger.final
        about = About(self.task_ids)
        sealed = folder.sealed_results() if self.task_ids else []
        self.without = {path for path in sealed if not any(map(about.may_be_in, pieces(Journal(path))))}


def erase(folder: Folder, results: Journal, ledger: Ledger, search: Search) -> None:
    """Erase what was searched for, and what the newest results hold; the caller holds their lock.

    ``ledger`` knows every line of them. Raises ``OperationalError``; then the rest is still to be done.
    """
    wanted = (ledger.forgotten & (search.task_ids | ledger.final)) - ledger.open.keys() - ledger.awaited.ends.keys()
    about = About(wanted)
    keep = _may_be_queued(folder)
    for path in folder.sealed_results() if wanted & search.task_ids else ():
        if path not in search.without:
            _rewrite(path, folder, about, keep=keep)
    if wanted:
        _rewrite(results.path, folder, about, keep=keep)


def _may_be_queued(folder: Folder) -> bool:
    """Say whether any record stands in a queue file."""
    journals = [Journal(folder.queue(name)) for name in folder.queue_names()]
    return bool(folder.sealed_queues()) or any(journal.refresh() and journal.size() for journal in journals)


def _rewrite(path: Path, folder: Folder, about: About, *, keep: bool) -> None:
    """Put a copy in the place of a results file that says no more of those tasks than that they have ended."""
    source, draft = Journal(path), folder.sealed / "erasing.draft"
    if not source.refresh():
        return  # it has just expired
    disk.make_folder(folder.sealed)
    disk.remove(draft)
    descriptor = disk.open_file(draft)
    try:
        read = written = 0
        for lines in pieces(source):
            kept = b"".join(_without(lines, about, keep=keep)) if about.may_be_in(lines) else lines
            disk.append(descriptor, kept, draft, written)
            read, written = read + len(lines), written + len(kept)
        disk.append(descriptor, source.read_bytes(read, source.size() - read), draft, written)  # half a line
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)
    disk.same_times(draft, path)  # sealed results expire by the time of their last line
    disk.rename(draft, path)
    disk.fsync_folder(path.parent)
    source.close()


def _without(lines: bytes, about: About, *, keep: bool) -> Iterator[bytes]:
    """Yield the lines that are about other tasks, and with ``keep`` for each of those tasks that it has ended."""
    for line in lines.splitlines(keepends=True):
        state = about.state_in(line)
        if state is None:
            yield line
        elif keep and state.status in FINAL_STATES:
            yield encode_lines([StateRecord(state.task_id, ERASED, at=state.at)])
