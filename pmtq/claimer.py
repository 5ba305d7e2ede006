"""The worker's side of the queue: outcomes go in, the next tasks come out, in one hold of the lock on the results.

1. A task is claimed by its STARTED line. Whoever holds the lock has read all lines before, so two never claim one task.
2. A task is settled by its final line. Until that stands in the file the task is owed, whatever becomes of the worker.
3. Each queue file is read front to back, and all again from the top only if one of them was replaced or cleared. What may
   not run yet is remembered by its place, a few words a task.
4. All that is remembered is a copy of what the files say: in doubt it is dropped and read again.

A record is *come to* when it is read for the first time, and *passed over* when it may not run in this batch. Its place is then
*held* (a worker has started it), *ready*, *later* (it waits for a time), *behind* (for a gate), among the *waits* (for other
tasks) or *left* (no function here has its name). *Unread* are tasks whose end is known before their records were come to.

It does not know how a task is run, nor what its function is: only names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

import msgspec

from pmtq import erasing, sealing, steps
from pmtq.admission import Admission
from pmtq.claim import Claim, Terms
from pmtq.disk import nudge
from pmtq.folder import Folder, priority_of
from pmtq.glance import Glance
from pmtq.inheritance import legacy
from pmtq.journal import Journal
from pmtq.ledger import PAUSE, Ledger, start
from pmtq.places import Place, Places
from pmtq.presence import Presence, Remains, find_remains
from pmtq.reader import QueueReader
from pmtq.records import StateRecord, TaskRecord, decode_state, encode_lines, timestamp
from pmtq.rejecting import Rejects
from pmtq.scan import Fault, Item
from pmtq.states import IGNORED, REJECTED, STARTED, SUCCESS

logger = logging.getLogger("pmtq.worker")

Candidates = Iterator[tuple[Place, TaskRecord, bool]]
"""Records that are not done with, each with its place, and whether it asks for nothing but to be run."""

ROLL_CALL = 0.5
"""Seconds between two looks at whether the other workers that hold tasks are alive."""


class Claimer:
    """Claims and settles for one worker, from one thread at a time."""

    def __init__(self, folder: Folder, presence: Presence, queues: list[str], known: Mapping[str, Terms]) -> None:
        """Serve ``queues`` in turn, in each the records with the highest priority first.

        ``known`` holds the names of the functions this worker can run, each with its terms.
        """
        self._folder = folder
        self._presence = presence
        self._queues = queues
        self._unpaced = frozenset(name for name, terms in known.items() if not terms.interval)
        self._results = Journal(folder.results, successor=folder.next_results)
        self._readers: list[QueueReader] = []
        self._queue_of: list[str] = []
        """For each reader the queue that its file belongs to."""
        self._ranks: dict[int, list[int]] = {}
        """The numbers of the readers, by the rank of their records, lowest first."""
        self._names = Glance(folder.path)
        self._turn = 0
        self._rejects = Rejects(folder)
        self._last_roll_call = 0.0
        self.result_expires: float | None = sealing.RESULT_EXPIRES
        """Seconds that sealed results are kept; None is for ever."""
        self.ended: list[StateRecord] = []
        """What the last exchange has ended without running it."""
        self.places = Places()
        self._admission = Admission(folder, presence.name, known, self.places, self._end)
        self.unknown = self._admission.unknown
        self._forget()
        for name in queues:
            self._read_too(name, 0)
        self._rewind()

    def exchange(
        self,
        outcomes: list[StateRecord],
        now: float,
        wanted: Callable[[TaskRecord], bool] | None = None,
        noted: Sequence[bytes] = (),
    ) -> list[Claim]:
        """Settle ``outcomes`` and return claims on the next tasks, as one append to the results file.

        ``wanted`` is asked before each claim, and ends the batch by saying no; without it nothing is claimed. ``noted``
        are the first of the outcomes as lines, where they were written as such already. Raises
        ``OperationalError``: then nothing was settled or claimed, and the same call may be made again.
        """
        for reader in self._readers:
            reader.fill()  # decode what is there before taking the lock
        remains: list[Remains] = []
        written, self.ended = False, []
        try:
            with self._results.hold():
                self._presence.renew()
                self._catch_up()
                handed_on = self.ledger.awaited.count
                lines = self._take_in(outcomes)
                if len(lines) < len(outcomes):
                    noted = ()  # some of them came too late: those tasks have ended before
                if abs(now - self._last_roll_call) >= ROLL_CALL:  # also when the clock was set back
                    remains = self._bury_the_dead(now, lines)
                claims = self._pick(now, wanted, lines) if wanted else []
                if wanted and not claims and not remains and (remains := self._bury_the_dead(now, lines)):
                    claims = self._pick(now, wanted, lines)
                if lines:
                    self._offset = self._results.write(b"".join(noted) + encode_lines(lines[len(noted) :]))
            written = True
        except BaseException:
            self._forget()  # the ledger was ahead of the file
            self.ended = []
            raise
        finally:
            for remain in remains:
                remain.close(bury=written)
        if self.ledger.awaited.count != handed_on:
            self._wake_others()
        return claims

    def _wake_others(self) -> None:
        """Have workers look that wait for what has just become possible: here, and in queues not served here."""
        served = set(self._queues)
        for name in self._folder.queue_names():
            if self.places.ready or priority_of(name)[0] not in served:
                nudge(self._folder.queue(name))

    def succeed_namesake(self, now: float) -> None:
        """Give back what a dead worker of the same name held; to be called once, before the first claim."""
        with self._results.hold():
            self._catch_up()
            lines = self._inherit(self._presence.name, self._presence.notes.lines(), timestamp(now))
            if lines:
                self._offset = self._results.write(encode_lines(lines))
        self._presence.notes.clear()

    def next_due(self) -> float:
        """Return when the next waiting task may run, in seconds since 1970; infinite if none waits for a time."""
        return self.places.next_due(self.gates.opens)

    def has_work(self) -> bool:
        """Say whether a record in the served queues is not done with, as far as is known, and could ever run here."""
        places = self.places
        return bool(
            places.held
            or places.ready
            or places.later
            or places.behind
            or places.waits
            or any(reader.unread() for reader in self._readers)
        )

    def tidy(self, now: float, *, idle: bool) -> None:
        """Clear away what is done with, when it is time; ``idle`` says that nothing was to do for a while."""
        if sealing.expired(self._folder, now, self.result_expires):
            with self._results.hold():  # else their names could be those of others by then
                self._catch_up()
                sealing.expire(self._folder, self.ledger, now, self.result_expires)
        if idle:
            self.places.forget_done(self.ledger)
            self.gates.forget_done()
            self.finish_last_lines()
            self._presence.notes.wipe()
            if self.ledger.forgotten:
                search = erasing.Search(self._folder, self.ledger)
                with self._results.hold():
                    self._catch_up()
                    erasing.erase(self._folder, self._results, self.ledger, search)
        read = any(reader.position() for reader in self._readers)
        clear = idle and read and not self.has_work() and not self.places.left
        renew = self.is_outgrown(idle=clear)
        if clear or renew:
            self._results.sync()  # most of what sealing must sync, done before anybody waits for the lock
        if clear or renew or self._folder.sealed_queues():
            with self._results.hold():
                self._catch_up()
                renew = renew and self.is_outgrown(idle=clear)  # another worker may have been faster
                if clear or renew:
                    self._seal(now, renew=renew)
                else:
                    sealing.sweep(self._folder, self._results, self.ledger, now)

    def is_outgrown(self, *, idle: bool = False) -> bool:
        """Say whether the results should start afresh."""
        return sealing.is_outgrown(self._offset, sum(reader.unread() for reader in self._readers), idle=idle)

    def finish_last_lines(self) -> bool:
        """End last lines that were whole without a newline at the call before; say whether there were any."""
        return sum(reader.finish_last_line() for reader in self._readers) > 0

    def _seal(self, now: float, *, renew: bool) -> None:
        owed = self.places.owed(self.ledger)
        ahead = self.places.unread | (self.ledger.open.keys() - {place.task_id for place in owed})
        shares = [
            sealing.Share(reader, [(place.start, place.end, place.task_id) for place in owed if place.queue == queue])
            for queue, reader in enumerate(self._readers)
        ]
        try:
            sealing.seal(self._folder, self._results, self.ledger, shares, ahead, now, renew=renew)
        finally:
            self._rewind()  # it read on in the queues

    def _forget(self) -> None:
        """Drop the ledger: the results will be read again from the top, and then the queues."""
        self.ledger = Ledger()
        self.gates = self._admission.use(self.ledger)
        self._offset = 0
        self._results_inode = 0

    def _rewind(self) -> None:
        """Read the queues again from the top."""
        for reader in self._readers:
            reader.rewind(sealing.generation(self._folder, reader.name, self.ledger))
        self.places.clear(self.ledger.final - self.ledger.kept)

    def _catch_up(self) -> None:
        """Read what was written to the results since last time, and see whether the files are still the same."""
        inode = self._results.refresh()
        replaced = inode != self._results_inode or self._results.size() < self._offset
        if replaced:
            self._forget()
            self._results_inode = inode
        while lines := self._results.read(self._offset):
            self._take_in(self._states(lines.splitlines()))
            self._offset += len(lines)
        self._find_priorities()
        if replaced or any(reader.is_another_file() for reader in self._readers):
            self._rewind()

    def _find_priorities(self) -> None:
        """Read the files of higher priorities too, as soon as there are any."""
        if self._names.shows_no_change():
            return
        self._names.take()
        known = {reader.name for reader in self._readers}
        for name in self._folder.queue_names():
            queue, priority = priority_of(name)
            if queue in self._queues and name not in known:
                self._read_too(name, priority)

    def _read_too(self, name: str, priority: int) -> None:
        reader = QueueReader(Journal(self._folder.queue(name)), name)
        reader.rewind(sealing.generation(self._folder, name, self.ledger))
        self._ranks.setdefault(-priority, []).append(len(self._readers))
        self._ranks = dict(sorted(self._ranks.items()))
        self._readers.append(reader)
        self._queue_of.append(priority_of(name)[0])

    def _states(self, lines: list[bytes]) -> Iterator[StateRecord]:
        """Yield what the lines say; one that is no state record is passed over."""
        for line in lines:
            try:
                yield decode_state(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                if line:
                    logger.warning("%s: a line of the results is no state record: %.80r", self._folder.path, line)

    def _take_in(self, states: Iterable[StateRecord]) -> list[StateRecord]:
        """Apply lines to the ledger and move the places of their records; return those that changed anything."""
        effective = self.ledger.apply(states)
        if self.places.waiting:
            for state in effective:
                if waiters := self.places.waiters(state):
                    self.ledger.keep(state, waiters)
        self.places.move(effective, self.ledger.final)
        return effective

    def _bury_the_dead(self, now: float, lines: list[StateRecord]) -> list[Remains]:
        """Add the lines that end what dead workers held; the caller closes what is returned, after writing them."""
        self._last_roll_call = now
        found = []
        for name in (self.ledger.holders() | set(self._folder.worker_names())) - {self._presence.name}:
            if remains := find_remains(self._folder, name):
                found.append(remains)
                lines += self._inherit(name, remains.lines(), timestamp(now))
        return found

    def _inherit(self, name: str, notes: list[bytes], at: str) -> list[StateRecord]:
        """Return the lines to write for a dead worker: the outcomes it had noted, then what it gives back."""
        lines = legacy(self.ledger, name, list(self._states(notes)), at)
        self._take_in(lines)
        for state in lines:
            logger.warning("Task %s: %s, worker %s died (attempt %d)", state.task_id, state.status, name, state.attempt)
        return lines

    def _pick(self, now: float, wanted: Callable[[TaskRecord], bool], lines: list[StateRecord]) -> list[Claim]:
        """Claim the next tasks, adding their STARTED lines, and the end of those that must not run, to ``lines``."""
        claims: list[Claim] = []
        at = timestamp(now)
        opened, held, worker = self.ledger.open, self.places.held, self._presence.name
        queues, unpaced = self._queue_of, frozenset() if self.ledger.controls else self._unpaced
        for place, record, is_plain in chain.from_iterable(self._candidates(now, lines)):
            task_id = record.task_id
            last = opened.get(task_id)
            # Most tasks are new and need none of this: looking first saves a third of the time.
            plain = is_plain and last is None and record.function in unpaced
            if not plain:
                if last is not None and last.changes:
                    record = record.changed(last.changes)  # noqa: PLW2901  (from here on it is that other call)
                if not self._admission.admits(place, queues[place.queue], record, last, now, lines):
                    continue
            if not wanted(record):
                self.places.pass_over(place)
                break
            if plain:
                started = StateRecord(task_id, STARTED, None, 1, worker, at)
                claim = Claim(record, started, place, queues[place.queue], True)
            else:
                opened.pop(task_id, None)  # behind the others again, as whoever reads the line has it
                started = start(last, task_id, worker, at)
                claim = Claim(record, started, place, queues[place.queue])
                self._admission.begin(claim, now)
            opened[task_id] = started
            held[task_id] = place
            lines.append(started)
            claims.append(claim)
        return claims

    def _end(self, final: StateRecord, lines: list[StateRecord], record: TaskRecord | None = None) -> None:
        """End a task whose record was come to, without running it; what waits for it hears of it."""
        if record and record.followers:
            final.followers = record.followers
        self._take_in([final])
        self.places.come_to(final.task_id)
        lines.append(final)
        self.ended.append(final)
        if final.status not in {REJECTED, SUCCESS}:
            quiet = final.status == IGNORED or steps.CULPRIT in (final.error or {})  # the culprit has its own line
            level = logging.INFO if quiet else logging.ERROR
            logger.log(level, "Task %s %s: %s", final.task_id, final.status, (final.error or {}).get("message"))

    def _candidates(self, now: float, lines: list[StateRecord]) -> Iterator[Candidates]:
        """Yield where to look for records that are not done with: by priority, and the oldest first."""
        self._turn += 1  # begin with another queue each time, so that none starves behind a full one
        while True:
            for rank, numbers in list(self._ranks.items()):
                yield self._waiting_ones(rank, now)
                for position in range(len(numbers)):
                    yield self._new_ones(rank, numbers[(position + self._turn) % len(numbers)], now, lines)
            if not self.places.ready:  # a task that ended without being run may have let others go on
                return

    def _waiting_ones(self, rank: int, now: float) -> Candidates:
        """Yield what was passed over before and may run now."""
        for place in self.places.take_due(now, rank, self.gates.is_open):
            if waiting := self._read_again(place):
                yield place, waiting, False

    def _new_ones(self, rank: int, number: int, now: float, lines: list[StateRecord]) -> Candidates:
        """Yield what was not come to yet in one file."""
        final, reader = self.ledger.final, self._readers[number]
        if f"{PAUSE} queue {self._queue_of[number]}" in self.ledger.controls:
            return
        for items in reader.pieces():
            while items:
                item = items.popleft()
                record = item.record
                task_id = record.task_id
                if task_id in final:
                    self._pass_by(reader, item)
                elif not isinstance(record, Fault):
                    yield Place(rank, number, item.start, item.end, task_id), record, item.is_plain
                else:
                    self._end(self._rejects.add(reader, item.start, record, timestamp(now)), lines)

    def _read_again(self, place: Place) -> TaskRecord | None:
        """Return the record that was passed over before, if it is not done with."""
        waiting = self._readers[place.queue].read_again(place.start, place.end, place.task_id)
        if waiting is None:  # somebody wrote over it: nothing that is remembered of the files holds any more
            self._rewind()
        elif place.task_id in self.ledger.final:
            self.places.come_to(place.task_id)
        else:
            return waiting
        return None

    def _pass_by(self, reader: QueueReader, item: Item) -> None:
        """Pass by a record that is done with; say so if it is not the one that was done: that one was come to before."""
        task_id, record = item.record.task_id, item.record
        if not isinstance(record, Fault) and record.moved:
            return  # the line it was moved from is still to come, or was come to before
        if task_id in self.places.unread:
            self.places.unread.discard(task_id)
        else:
            logger.warning(
                "%s line %d: a task with the id %s has ended before, so this one is not run. Give it another id, or none",
                reader.journal.path,
                reader.line_number(item.start),
                task_id,
            )
