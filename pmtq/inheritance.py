"""What a dead worker leaves: which of its tasks are tried again, and which have failed with it.

1. What it had noted as ended has ended.
2. A start that ended in the worker's death counts; after ``MAX_STARTS`` of them the task has failed.

Pure rules: they are told lines and return lines.
"""

from __future__ import annotations

from pmtq.ledger import Ledger, carry
from pmtq.records import StateRecord, TaskRecord
from pmtq.states import FAILURE, LOST, RELEASED

MAX_STARTS = 3
BEGUN = "begun"
"""What a worker's notes may say besides outcomes: true, that all it has taken has begun; false, that nothing more has."""


def legacy(ledger: Ledger, worker: str, noted: list[StateRecord], at: str) -> list[StateRecord]:
    """Return the lines to write when ``worker`` has died, having ``noted`` outcomes that it did not post.

    A worker runs its tasks in the order it took them and notes each outcome at once, so only the first that has
    no outcome can have begun: that one is LOST, its start counts. The others are RELEASED as if never taken.
    Where it is otherwise, a note says so: in an event loop all have begun, and none if it was ended for one.
    """
    held = {(state.task_id, state.attempt): state for state in ledger.held_by(worker)}
    # Notes left over from an earlier batch speak of attempts that are settled. A release takes its attempt back.
    lines = [line for line in noted if held.pop((line.task_id, line.attempt + (line.status == RELEASED)), None)]
    begun = _begun(noted, len(held))
    for position, state in enumerate(held.values()):
        status, attempt = (LOST, state.attempt) if position < begun else (RELEASED, state.attempt - 1)
        line = StateRecord(state.task_id, status, attempt=attempt, worker=worker, at=at)
        lines.append(carry(state, line))
        line.deaths += status == LOST
    return lines


def _begun(noted: list[StateRecord], held: int) -> int:
    """Return how many of the ``held`` tasks without an outcome can have begun."""
    said = [line.result for line in noted if line.control == BEGUN]
    return (held if said[-1] else 0) if said else 1


def verdict_on_the_lost(
    last: StateRecord | None, record: TaskRecord, at: str, *, acks_late: bool
) -> StateRecord | None:
    """Return the FAILURE of a task that must not start again because its last worker died, else None."""
    if last is None or last.status != LOST or (acks_late and last.deaths < MAX_STARTS):
        return None
    if acks_late:
        why = f"{last.deaths} workers died while running it, the last one {last.worker}. Mend {record.function} and send it again"
    else:
        why = f"worker {last.worker} died while running it, and with acks_late=False a task is started once at most"
    error = {"type": "pmtq.exceptions.WorkerLostError", "message": f"{record.function}: {why}"}
    line = StateRecord(last.task_id, FAILURE, None, last.attempt, last.worker, at, error=error, record=record)
    return carry(last, line)
