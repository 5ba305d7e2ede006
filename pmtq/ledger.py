"""The rules: which tasks are done, who holds which, and what is owed when a worker dies.

1. The first final state of a task decides; whatever is said about it later is ignored.
2. A task is held by the worker of its last STARTED line, until that worker ends it, gives it back, or dies.
3. A start that ended in the worker's death counts; after ``MAX_STARTS`` of them the task has failed.

It is told lines and answers questions. It knows no file, no clock and no process.
"""

from __future__ import annotations

from collections.abc import Iterable

from pmtq.records import StateRecord
from pmtq.states import FAILURE, FINAL_STATES, LOST, RELEASED, RETRY, STARTED

MAX_STARTS = 3
_MOVES = frozenset({STARTED, RELEASED, LOST, RETRY})


class Ledger:
    """What the lines of one ``results.jsonl``, read from its top, say about its tasks."""

    def __init__(self) -> None:
        """Begin knowing nothing: every task is owed."""
        self.final: set[str] = set()
        """Ids of the tasks that are done with."""
        self.open: dict[str, StateRecord] = {}
        """The last move of each task that began and has not ended, in the order of those moves."""
        self.sealed: dict[str, int] = {}
        """Sealed queue files by name, and how many of their bytes have been carried over."""

    def apply(self, states: Iterable[StateRecord]) -> list[StateRecord]:
        """Take in the next lines; return those that changed anything."""
        final, opened, effective = self.final, self.open, []
        for state in states:
            task_id, status = state.task_id, state.status
            if task_id in final:
                continue
            if status in FINAL_STATES:
                final.add(task_id)
                opened.pop(task_id, None)
            elif status in _MOVES:
                opened.pop(task_id, None)  # behind the others again: the order of `open` is the order of the moves
                opened[task_id] = state
            elif state.sealed:
                self.sealed[state.sealed] = state.size
            else:
                continue  # a progress report: whoever held the task holds it still
            effective.append(state)
        return effective

    def holders(self) -> set[str]:
        """Return the names of the workers that hold a task, alive or not."""
        return {state.worker for state in self.open.values() if state.status == STARTED}

    def held_by(self, worker: str) -> list[StateRecord]:
        """Return the STARTED lines of the tasks that ``worker`` holds, in the order it took them."""
        return [state for state in self.open.values() if state.status == STARTED and state.worker == worker]

    def legacy(self, worker: str, noted: list[StateRecord], at: str) -> list[StateRecord]:
        """Return the lines to write when ``worker`` has died, having ``noted`` outcomes that it did not post.

        A worker runs its tasks in the order it took them and notes each outcome at once, so only the first that has
        no outcome can have begun: that one is LOST, its start counts. The others are RELEASED as if never taken.
        """
        held = {(state.task_id, state.attempt): state for state in self.held_by(worker)}
        # Notes left over from an earlier batch speak of attempts that are settled. A release takes its attempt back.
        lines = [line for line in noted if held.pop((line.task_id, line.attempt + (line.status == RELEASED)), None)]
        for position, state in enumerate(held.values()):
            status, attempt = (RELEASED, state.attempt - 1) if position else (LOST, state.attempt)
            lines.append(StateRecord(state.task_id, status, attempt=attempt, worker=worker, at=at))
        return lines


def start(last: StateRecord | None, task_id: str, worker: str, at: str) -> StateRecord:
    """Return the line with which ``worker`` takes a task whose last move was ``last``."""
    return StateRecord(task_id, STARTED, None, last.attempt + 1 if last else 1, worker, at)


def verdict_on_the_lost(last: StateRecord | None, function: str, at: str, *, acks_late: bool) -> StateRecord | None:
    """Return the FAILURE of a task that must not start again because its last worker died, else None."""
    if last is None or last.status != LOST or (acks_late and last.attempt < MAX_STARTS):
        return None
    if acks_late:
        why = f"{last.attempt} workers died while running it, the last one {last.worker}. Mend {function} and send it again"
    else:
        why = f"worker {last.worker} died while running it, and with acks_late=False a task is started once at most"
    error = {"type": "pmtq.exceptions.WorkerLostError", "message": f"{function}: {why}"}
    return StateRecord(last.task_id, FAILURE, None, last.attempt, last.worker, at, error=error)
