"""``pmtq purge``: calls off everything that waits.

1. A record is not taken out of its file: it gets a REVOKED line, and its file is cleared like any other.
2. What a living worker holds is left alone.

It does not know who sent the tasks: they are told by the REVOKED line, like anybody who asks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import click
import msgspec

from pmtq.cli.options import existing_folder, takes_app
from pmtq.cli.text import counted, visible
from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.ledger import Ledger
from pmtq.presence import find_remains
from pmtq.reader import QueueReader
from pmtq.records import StateRecord, TaskRecord, decode_state, encode_lines, timestamp
from pmtq.sealing import generation
from pmtq.states import REVOKED

BATCH = 1000
"""Tasks called off in one hold of the lock, a few milliseconds, so that workers go on meanwhile."""
_REWINDS = 3
"""So often a queue is read again from the top because its file was replaced meanwhile."""
_ERROR = {"type": "pmtq.exceptions.TaskRevokedError", "message": "purged"}


@click.command()
@takes_app
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("-Q", "--queues", metavar="A,B", default="", help="Only these queues. [default: all]")
def purge(*, force: bool, queues: str) -> None:
    """Call off every task that waits. What runs now is left alone."""
    from pmtq.inspection import View

    folder = existing_folder()
    names = [name.strip() for name in queues.split(",") if name.strip()] or folder.queue_names()
    view = View(folder, time.time())
    waiting = sum(backlog.owed - backlog.held for backlog in (view.backlog(name, 0) for name in names))
    if waiting and not force:
        _ask(f"Call off {counted(waiting, 'waiting task')} in {', '.join(names)} of {folder.path}?")
    count = Purge(folder).run(names) if waiting else 0
    click.echo(f"{counted(count, 'waiting task')} called off (REVOKED) in {visible(str(folder.path))}")


def _ask(question: str) -> None:
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        agreed = False
        click.echo(err=True)
    if not agreed:
        raise click.ClickException("nothing was called off, because nobody said yes. pmtq purge -f does not ask")


class Purge:
    """Writes the REVOKED lines, in batches, as a worker would write its own."""

    def __init__(self, folder: Folder) -> None:
        """Work on ``folder``."""
        self._folder = folder
        self._results = Journal(folder.results, successor=folder.next_results)
        self._ledger = Ledger()
        self._inode = 0
        self._offset = 0

    def run(self, queues: list[str]) -> int:
        """Revoke what waits in ``queues`` now; return how many tasks that were."""
        with self._results.hold():
            self._catch_up()
        return sum(self._purge(name) for name in queues)

    def _purge(self, queue: str) -> int:
        reader = QueueReader(Journal(self._folder.queue(queue)), queue)
        count = 0
        for _ in range(_REWINDS):
            reader.rewind(generation(self._folder, queue, self._ledger))
            candidates = self._waiting(reader, reader.journal.size())
            while ids := list(islice(candidates, BATCH)):
                count += self._revoke(ids)
            if not reader.is_another_file():
                break
        return count

    def _waiting(self, reader: QueueReader, end: int) -> Iterator[str]:
        """Yield the ids of the records that stood in the file when it was opened and were not done with then."""
        for item in reader:
            if item.start >= end:
                return
            if isinstance(item.record, TaskRecord) and item.record.task_id not in self._ledger.final:
                yield item.record.task_id

    def _revoke(self, ids: list[str]) -> int:
        """End those of the tasks that still wait; return how many."""
        with self._results.hold():
            self._catch_up()
            final, spared, at = self._ledger.final, self._in_good_hands(), timestamp(time.time())
            lines = [
                StateRecord(task_id, REVOKED, at=at, error=_ERROR)
                for task_id in ids
                if task_id not in final and task_id not in spared
            ]
            if lines:
                self._results.write(encode_lines(lines))
        return len(lines)

    def _in_good_hands(self) -> set[str]:
        """Return the ids of tasks that a living worker holds, or that a dead one has ended and not posted."""
        spared: set[str] = set()
        for name in self._ledger.holders():
            held = {state.task_id for state in self._ledger.held_by(name)}
            if remains := find_remains(self._folder, name):
                held &= {decode_state(note).task_id for note in remains.lines()}
                remains.close(bury=False)
            spared |= held
        return spared

    def _catch_up(self) -> None:
        """Read what was written to the results since last time; hold the lock."""
        inode = self._results.refresh()
        if inode != self._inode or self._results.size() < self._offset:
            self._ledger, self._offset, self._inode = Ledger(), 0, inode
        while lines := self._results.read(self._offset):
            for line in lines.splitlines():
                try:
                    self._ledger.apply([decode_state(line)])
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    continue  # a worker reports it
            self._offset += len(lines)
