"""Looks a queue folder over, as one does when something seems wrong: what is found, and what to do about each.

1. It needs no worker and no app, and changes nothing; what it finds can change while it looks.
2. A problem is what somebody should do something about. What the next worker sets right by itself is a note.
3. What one look cannot read keeps no other look from being made.

It does not know how anything is mended: that is ``mending``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from pmtq.archive import pieces, state_in
from pmtq.clock import now
from pmtq.exceptions import ImproperlyConfigured, PmtqError
from pmtq.folder import DEFAULT_QUEUE, Folder, may_name_worker, priority_of
from pmtq.inspection import View, Worker
from pmtq.journal import Journal
from pmtq.ledger import MOVED, PACED, PAUSE, RATE_LIMIT, REVOKE, TIME_LIMIT
from pmtq.presence import find_remains
from pmtq.rates import interval
from pmtq.reader import QueueReader
from pmtq.records import FORMAT_VERSION, MAX_RECORD_BYTES
from pmtq.scan import BLOCK_START, Fault
from pmtq.sealing import generation, may_still_be_written
from pmtq.steps import GATHER
from pmtq.surroundings import Finding, can_look_into, look_around, looks_at_machine
from pmtq.timetable import FILE_NAME, Timetable
from pmtq.wording import counted, typed

QUIET = 10.0
"""Seconds after which a file that nobody has touched counts as not being written."""
_FIRST = 3
"""So many of a kind are shown with their places."""
_MANY = 5
"""So many names are shown."""
_CONTROLS = {PACED, PAUSE, RATE_LIMIT, TIME_LIMIT, REVOKE, MOVED}
_NO_WORKER = "results.jsonl speaks of a worker {}, which is no name that one can have"
_START_ONE = "Start a worker: pmtq worker -A tasks"
_BY_A_WORKER = "The next worker does it by itself; or now: pmtq doctor --mend"


def examine(folder: Folder) -> list[Finding]:
    """Return what is found in ``folder``, which exists: problems first."""
    found = list(look_around(folder))
    refused = {one.file for one in found if not one.is_note and (one.file or one.check == "owner")}
    if refused & {"", folder.results.name} or not can_look_into(folder.path):
        return sorted(found, key=lambda one: one.is_note)  # the rest of it cannot be read
    for look in _Examination(folder, refused).looks():
        try:
            found += look()
        except (PmtqError, OSError) as error:
            if not any(
                str(folder.path / name) in str(error) for name in refused
            ):  # else it was told what stands in the way
                found.append(
                    Finding(
                        check="unreadable", what=str(error).rstrip("."), remedy=f"Look: ls -la {typed(folder.path)}"
                    )
                )
    return sorted(found, key=lambda one: one.is_note)


class _Examination:
    """One look at one folder."""

    def __init__(self, folder: Folder, refused: set[str]) -> None:
        self._folder = folder
        self._refused = refused
        self._now = now()
        self._view = View(folder, self._now)
        self._workers_alive: list[Worker] | None = None
        """None if something that is refused stands in their place."""
        with suppress(PmtqError):
            self._workers_alive = self._view.workers
        self._owed = 0
        self._unknown: Counter[str] = Counter()

    def looks(self) -> list[Callable[[], Iterator[Finding]]]:
        return [
            *looks_at_machine(self._folder, self._refused),
            self._queues,
            self._results,
            self._dead_workers,
            self._sealed,
            self._drafts,
            self._copies,
            self._schedule,
            self._controls,
            self._workers,
        ]

    # Queue files

    def _queues(self) -> Iterator[Finding]:
        for name in self._folder.queue_names():
            path = self._folder.queue(name)
            if path.name not in self._refused:
                reader = QueueReader(Journal(path), name)
                reader.rewind(generation(self._folder, name, self._view.ledger))
                yield from self._lines(reader, path)
                yield from self._tail(reader, path)
                reader.journal.close()

    def _lines(self, reader: QueueReader, path: Path) -> Iterator[Finding]:
        """Look at every record of one file that is owed."""
        slips, bad, later = list[str](), 0, Counter[int]()
        known = self._known(priority_of(reader.name)[0])
        for item in reader:
            record = item.record
            if record.task_id in self._view.ledger.final:
                continue
            if isinstance(record, Fault):
                bad += 1
                if bad <= _FIRST:
                    line = reader.line_number(item.start) + record.line
                    slips.append(f"line {line}, column {record.column}: {record.reason}")
                continue
            self._owed += 1
            if record.v > FORMAT_VERSION:
                later[record.v] += 1
            elif record.function not in known:
                self._unknown[record.function] += 1
        if slips:
            more = f"; and {bad - _FIRST:,} more" if bad > _FIRST else ""
            yield Finding(
                check="lines",
                file=path.name,
                what=f"{path.name} holds {counted(bad, 'line')} that cannot be read as records: {'; '.join(slips)}{more}",
                remedy=f"Correct it: pmtq edit{_named(reader.name)}; a worker copies it to rejected.jsonl",
                mends=f"copied to {self._folder.rejected.name}: pmtq dead shows it, pmtq requeue --rejected N --edit posts it again",
            )
        for version, count in sorted(later.items()):
            yield Finding(
                check="version",
                file=path.name,
                what=f"{path.name} holds {counted(count, 'record')} of format {version}, which a later version of pmtq has written",
                remedy="They wait for a worker that can read them: pip install --upgrade pmtq",
            )

    def _tail(self, reader: QueueReader, path: Path) -> Iterator[Finding]:
        """Look at what stands behind the last whole record of a file."""
        rest = reader.journal.read_bytes(reader.position(), MAX_RECORD_BYTES) if reader.unread() else b""
        if not rest.strip() or not self._is_quiet(path):
            return
        line = reader.line_number(reader.position())
        if rest.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(BLOCK_START):
            what = f"{path.name} line {line}: a record begins there with --{{ and does not end"
            yield Finding(
                check="block", file=path.name, what=what, remedy=f"Write its end, }}--: pmtq edit{_named(reader.name)}"
            )
        else:
            yield _torn(path, f" (line {line})")

    def _known(self, queue: str) -> set[str]:
        """Return the functions that workers of ``queue`` know, and the one that each knows without saying so."""
        workers = [worker for worker in self._workers_alive or () if queue in worker.queues]
        return {GATHER, *(name for worker in workers for name in worker.functions)}

    # Other files

    def _results(self) -> Iterator[Finding]:
        for path in (self._folder.results, self._folder.rejected):
            if path.name not in self._refused:
                journal = Journal(path)
                journal.refresh()
                end = journal.size()
                if end and journal.read_bytes(end - 1, 1) != b"\n" and self._is_quiet(path):
                    yield _torn(path, "")
                journal.close()
        bad, number, first = 0, 0, 0
        for lines in pieces(Journal(self._folder.results)):
            for line in lines.splitlines():
                number += 1
                if line and not state_in(line):
                    bad, first = bad + 1, first or number
        if bad:
            what = f"{self._folder.results.name} holds {counted(bad, 'line')} that nobody can read, the first in line {first}"
            remedy = "They are passed over; a task whose end stood there runs again"
            yield Finding(check="results", file=self._folder.results.name, what=what, remedy=remedy, is_note=True)

    def _is_quiet(self, path: Path) -> bool:
        """Say whether nobody has written to a file for a while."""
        try:
            return abs(self._now - path.stat().st_mtime) > QUIET
        except FileNotFoundError:
            return False  # it has gone while we looked

    def _dead_workers(self) -> Iterator[Finding]:
        ledger = self._view.ledger
        names = {*self._folder.worker_names(), *ledger.holders()}
        for name in sorted(names):
            file = f"workers/{name}.json" if may_name_worker(name) else self._folder.results.name
            if file in self._refused or (remains := find_remains(self._folder, name)) is None:
                continue
            ended = {state.task_id for line in remains.lines() if (state := state_in(line))}
            remains.close(bury=False)
            held = [state.task_id for state in ledger.held_by(name) if state.task_id not in ended]
            whose = f"the worker {name} has died" if may_name_worker(name) else _NO_WORKER.format(f"{name[:80]!r}")
            tasks = f" with {counted(len(held), 'task')} in its hands: {_listed(held)}" if held else ""
            yield Finding(
                check="worker",
                file=file,
                what=f"{whose}{tasks}",
                remedy=_BY_A_WORKER,
                mends="what it had ended was posted, what it had not ended is given out again"
                if held
                else "its files were removed",
                is_note=True,
            )

        for path in sorted(self._folder.workers.glob("*")):
            if path.suffix in {".notes", ".inbox"} and path.stem not in names:
                file = f"workers/{path.name}"
                what = f"{file} belongs to no worker that is known"
                remedy = f"If none of that name is running, remove it: rm {typed(path)}"
                yield Finding(check="leftover", file=file, what=what, remedy=remedy, is_note=True)

    def _sealed(self) -> Iterator[Finding]:
        for _, _, path in self._folder.sealed_queues():
            file, carried = f"sealed/{path.name}", self._view.ledger.sealed.get(path.name)
            if file in self._refused:
                continue
            try:
                status, is_open = path.stat(), may_still_be_written(path, self._now)
            except FileNotFoundError:
                continue  # a worker was faster
            if abs(self._now - status.st_ctime) < QUIET:
                continue
            what, remedy, mends = (
                "is not needed any more",
                _BY_A_WORKER,
                "carried over where that was needed, and removed",
            )
            if carried is None or carried < status.st_size:
                what = "was cleared away, and some of it may not have been carried over yet"
            elif is_open:
                what, remedy, mends = "is still open in a program", "It goes when that program posts again or ends", ""
            yield Finding(check="sealed", file=file, what=f"{file} {what}", remedy=remedy, mends=mends, is_note=True)

    def _drafts(self) -> Iterator[Finding]:
        drafts = [*self._folder.sealed.glob("*.draft"), self._folder.path / f"{FILE_NAME}.new"]
        for path in drafts:
            if self._is_quiet(path):
                yield Finding(
                    check="draft",
                    file=str(path.relative_to(self._folder.path)),
                    what=f"{path.relative_to(self._folder.path)} was left by a program that died while writing it; what it was made from is still there",
                    remedy=f"Remove it: rm {typed(path)}",
                    mends="removed",
                    is_note=True,
                )

    def _copies(self) -> Iterator[Finding]:
        copies = [path.name for path in self._folder.copies() if self._is_quiet(path)]
        if copies:
            yield Finding(
                check="copies",
                file="edits",
                what=f"edits holds copies that pmtq edit has open, or has not put in place: {_listed(copies)}",
                remedy="If nobody has them open, take over what you need, with pmtq edit, and remove them",
                is_note=True,
            )
        for path in self._folder.path.glob(".*.sw?"):
            what = f"{path.name} says that somebody has a file of the folder open in vi"
            remedy = "What is posted before it is saved would be lost: close it, and use pmtq edit"
            yield Finding(check="editor", file=path.name, what=what, remedy=remedy)

    def _schedule(self) -> Iterator[Finding]:
        path = self._folder.path / FILE_NAME
        if path.name not in self._refused and (path.exists() or path.is_symlink()):
            try:
                Timetable(path).read()
            except ImproperlyConfigured as error:
                what, _, remedy = str(error).partition(". ")
                yield Finding(check="schedule", file=FILE_NAME, what=what, remedy=remedy)

    def _controls(self) -> Iterator[Finding]:
        for control, line in self._view.ledger.controls.items():
            kind, _, name = control.partition(" ")
            if kind not in _CONTROLS:
                what, remedy = f"the control {control!r} means nothing to this version", "Nobody heeds it"
                yield Finding(check="control", file=self._folder.results.name, what=what, remedy=remedy, is_note=True)
            elif kind == RATE_LIMIT:
                try:
                    interval(line.result)
                except ImproperlyConfigured:
                    what = f"the rate limit {line.result!r} of {name} is none, and nobody heeds it"
                    remedy = f"Set another: pmtq control rate_limit {name} 10/m"
                    yield Finding(check="control", file=self._folder.results.name, what=what, remedy=remedy)

    # Who does the work

    def _workers(self) -> Iterator[Finding]:
        if self._workers_alive is None:
            return
        if self._owed and not self._workers_alive:
            waiting = f"{counted(self._owed, 'task')} {'waits' if self._owed == 1 else 'wait'}"
            yield Finding(check="nobody", what=f"no worker is running, and {waiting}", remedy=_START_ONE, is_note=True)
        elif self._unknown:  # and there are workers
            count, names = sum(self._unknown.values()), _listed([name for name, _ in self._unknown.most_common()])
            yield Finding(
                check="functions",
                what=f"{counted(count, 'task')} of functions that no running worker of their queue knows: {names}",
                remedy="Start a worker that knows them, or see whether a name is misspelt: pmtq queue",
                is_note=True,
            )


def _torn(path: Path, place: str) -> Finding:
    return Finding(
        check="tail",
        file=path.name,
        what=f"the last line of {path.name}{place} has no newline, and nobody is writing it",
        remedy="Whoever appends next ends it first; or now: pmtq doctor --mend",
        mends="ended; what is no record was copied to rejected.jsonl",
    )


def _named(queue: str) -> str:
    """Return what stands behind ``pmtq edit`` for that file."""
    return "" if queue == DEFAULT_QUEUE else f" {queue}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MANY]) + (f" and {len(names) - _MANY:,} more" if len(names) > _MANY else "")
