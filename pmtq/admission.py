"""Whether a record that asks for more than to be run in its turn may start now, and what becomes of it if not.

1. A step of a workflow waits for what it comes after; a task for its time, its rate, or a gate that somebody has closed.
2. What has expired, was revoked, or has cost too many workers their lives is ended where it is come to.
3. Whatever waits is remembered by its place, together with what it waits for, so that nobody looks at it meanwhile.

It decides about one record at a time. It holds no lock and writes no file: whoever asks does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from pmtq import steps
from pmtq.archive import final_states
from pmtq.claim import Claim, Terms
from pmtq.folder import Folder
from pmtq.gates import Gates
from pmtq.inheritance import verdict_on_the_lost
from pmtq.ledger import REVOKE, Ledger
from pmtq.places import Place, Places
from pmtq.records import FORMAT_VERSION, StateRecord, TaskRecord, due, epoch, timestamp
from pmtq.states import ERASED, FINAL_STATES, RETRY, REVOKED, STARTED, SUCCESS

logger = logging.getLogger("pmtq.worker")


End = Callable[[StateRecord, list[StateRecord], TaskRecord | None], None]
"""Takes the final line of a task, the lines to add it to, and the task's record if that was come to."""


class Admission:
    """Decides for one worker, by what one ledger says."""

    def __init__(
        self,
        folder: Folder,
        worker: str,
        terms: Mapping[str, Terms],
        places: Places,
        end: End,
    ) -> None:
        """Admit tasks of the functions that ``terms`` names for the worker of this name; ``use`` comes first.

        ``end`` is called for each task that must not start any more.
        """
        self._folder = folder
        self._worker = worker
        self._terms = terms
        self._places = places
        self._end = end
        self.unknown: dict[str, str] = {}
        """Functions whose tasks were left for a worker that knows them, each with the id of the first such task."""

    def use(self, ledger: Ledger) -> Gates:
        """Go by another ledger from now on; return the gates that it sets."""
        self._ledger = ledger
        self._gates = Gates(ledger, {name: one.interval for name, one in self._terms.items()})
        return self._gates

    def admits(
        self,
        place: Place,
        queue: str,
        record: TaskRecord,
        last: StateRecord | None,
        now: float,
        lines: list[StateRecord],
    ) -> bool:
        """Say whether a record that is not done with may start now; if not, end it, or see that it is found in time.

        ``last`` is the task's last move, ``lines`` are what the worker is about to write.
        """
        if record.moved:
            self._places.twice.add(place.task_id)
        if last and last.status == STARTED:
            self._gates.notice(record)
            self._places.held[place.task_id] = place
            return False
        if (record.after is not None or record.after_failure) and not self._is_ready(place, record, now, lines):
            return False
        if record.function not in self._terms or record.v > FORMAT_VERSION:
            self._leave(place, record)
            return False
        if verdict := self._verdict(last, record, now):
            verdict.queue = queue
            self._end(verdict, lines, record)
            return False
        return self._has_its_turn(place, queue, record, last, now, lines)

    def begin(self, claim: Claim, now: float) -> None:
        """Write into the STARTED line what it counts for, so that other workers keep their distance.

        Put the values of the tasks that it comes after into the call, or the failure that it follows.
        """
        record = claim.record
        if pace := self._gates.pace(record):
            claim.started.pace = pace
            self._ledger.paced.update(dict.fromkeys(pace, now))
        if record.after is not None or record.after_failure:
            states = self._ledger.awaited.ends
            claim.failure = None if record.immutable else steps.failure_for(record, states)
            claim.record = steps.given(record, states)

    def _is_ready(self, place: Place, record: TaskRecord, now: float, lines: list[StateRecord]) -> bool:
        """Say whether a record has all that it waits for; if not, end it, or see that it is found when it has."""
        ends = self._ends_of(record, lines)
        if final := steps.verdict(record, ends, timestamp(now)):
            self._end(final, lines, record)
            return False
        missing = [task_id for task_id in steps.dependencies(record, ends) if task_id not in ends]
        if missing and not steps.failure_for(record, ends):
            self._places.wait(place, missing, frozenset(record.after_failure) if record.after_failure else None)
            return False
        if record.function == steps.GATHER:
            value = steps.first_argument(steps.given(record, ends))
            self._end(
                StateRecord(record.task_id, SUCCESS, value, worker=self._worker, at=timestamp(now)),
                lines,
                record,
            )
            return False
        if record.countdown and (until := max(map(_ended_at, ends.values()), default=0.0) + record.countdown) > now:
            self._places.pass_over(place, until=until)
            return False
        return True

    def _ends_of(self, record: TaskRecord, lines: list[StateRecord]) -> dict[str, StateRecord]:
        """Return the final lines of the tasks that a record waits for, of those that have ended."""
        ledger, found = self._ledger, self._ledger.awaited.ends
        known = {task_id: found[task_id] for task_id in steps.dependencies(record, found) if task_id in found}
        unknown = {task_id for task_id in steps.dependencies(record, known) if task_id not in known}
        # A client names the followers in the records that they wait for, so those lines are at hand. A person need not.
        if lost := unknown & ledger.final if record.sent else unknown:
            for state in [*lines, *final_states(self._folder, lost)]:
                if state.task_id in lost - known.keys() and state.status in FINAL_STATES:
                    known[state.task_id] = state
            for task_id in lost & ledger.final - known.keys():
                known[task_id] = StateRecord(task_id, ERASED)
            for task_id in lost & known.keys():
                ledger.keep(known[task_id], [record.task_id])
        return known

    def _has_its_turn(
        self,
        place: Place,
        queue: str,
        record: TaskRecord,
        last: StateRecord | None,
        now: float,
        lines: list[StateRecord],
    ) -> bool:
        """Say whether it is time for a record, and no gate keeps it back; if not, see that it is found when it is."""
        start_at = due(last.eta if last and last.status == RETRY else record.eta)
        if record.unique_key:
            for ignored in self._gates.verdict(record, timestamp(now), now):
                self._end(ignored, lines, record if ignored.task_id == record.task_id else None)
        if record.task_id in self._ledger.final:
            return False
        if start_at > now:
            self._places.pass_over(place, until=start_at)
        elif gate := self._gates.closed(record, queue, now):
            self._places.keep_behind(gate, place)
        else:
            return True
        return False

    def _verdict(self, last: StateRecord | None, record: TaskRecord, now: float) -> StateRecord | None:
        """Return the final line of a task that must not start any more, else None."""
        at, why = timestamp(now), ""
        if record.expires and epoch(record.expires) <= now:
            why = f"it expired at {record.expires}"
        elif f"{REVOKE} {record.task_id}" in self._ledger.controls:
            why = "it was revoked while it ran, so it is not started again" if last else "it was revoked"
        if why:
            error = {"type": "pmtq.exceptions.TaskRevokedError", "message": why}
            return StateRecord(record.task_id, REVOKED, at=at, error=error, record=record)
        return verdict_on_the_lost(last, record, at, acks_late=self._terms[record.function].acks_late)

    def _leave(self, place: Place, record: TaskRecord) -> None:
        """Leave a record for a worker that can run it; say so once for each function."""
        self._places.left.append(place)
        if record.function not in self.unknown:
            self.unknown[record.function] = record.task_id
            logger.warning(
                "Task %s stays in the queue for a worker that knows %s%s; this one knows %s",
                record.task_id,
                record.function,
                f" and format version {record.v}" if record.v > FORMAT_VERSION else "",
                ", ".join(sorted(self._terms)) or "no function",
            )


def _ended_at(state: StateRecord) -> float:
    return due(state.at)
