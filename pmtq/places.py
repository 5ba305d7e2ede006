"""Where the records stand that a worker has read and not run, and what each of them waits for.

A place is a few words, however long its record is, so memory follows the tasks in flight and not the backlog. All of it
is a hint: it can be dropped and found again by reading the queue from the top.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

import msgspec

from pmtq.ledger import Ledger
from pmtq.records import StateRecord, due
from pmtq.states import FINAL_STATES, RETRY, STARTED


class Place(msgspec.Struct, order=True, gc=False):
    """Where a record stands that was read and not run. Earlier places sort first."""

    queue: int
    """Which of the worker's queues."""
    start: int
    end: int
    task_id: str


class Places:
    """The records of the served queues that were read and are not done with."""

    def __init__(self) -> None:
        """Begin with none."""
        self.held: dict[str, Place] = {}
        """Tasks that a worker has started: looked for again when it gives them back or dies."""
        self.ready: list[Place] = []
        """A heap of records that were passed over and may run now."""
        self.later: list[tuple[float, Place]] = []
        """A heap of records that wait for their time."""
        self.left: list[Place] = []
        """Records of functions that this worker does not know."""
        self.unread: set[str] = set()
        """The other way round: ids of which the end is known, and the record was not come to yet."""

    def clear(self, final: set[str]) -> None:
        """Forget every place, because the queues are read again from the top."""
        for places in (self.held, self.ready, self.later, self.left):
            places.clear()
        self.unread = set(final)

    def move(self, states: list[StateRecord]) -> None:
        """Move the places of tasks to where their new states have them looked for next."""
        for state in states:
            place = self.held.pop(state.task_id, None)
            if state.status in FINAL_STATES:
                if place is None:
                    self.unread.add(state.task_id)
            elif place and state.status == STARTED:
                self.held[state.task_id] = place
            elif place and state.status == RETRY:
                heappush(self.later, (due(state.eta), place))
            elif place:
                heappush(self.ready, place)

    def pass_over(self, place: Place, until: float = 0.0) -> None:
        """Remember a record that may run, but not in this batch, or not before ``until``."""
        if until:
            heappush(self.later, (until, place))
        else:
            heappush(self.ready, place)

    def take_due(self, now: float) -> Iterator[Place]:
        """Hand out the places of records that may run now, in file order, forgetting them."""
        while self.later and self.later[0][0] <= now:
            heappush(self.ready, heappop(self.later)[1])
        while self.ready:
            yield heappop(self.ready)

    def next_due(self) -> float | None:
        """Return when the next record may run, in seconds since 1970; None if none waits for its time."""
        return self.later[0][0] if self.later else None

    def forget_done(self, ledger: Ledger) -> None:
        """Forget records of unknown functions that another worker has meanwhile run."""
        if self.left and self.unread:
            done = {place.task_id for place in self.left} & ledger.final
            self.left[:] = [place for place in self.left if place.task_id not in done]
            self.unread -= done

    def owed(self, ledger: Ledger) -> list[Place]:
        """Return the places of all records that are not done with, in file order."""
        places = [*self.held.values(), *self.ready, *(place for _, place in self.later), *self.left]
        self.unread -= {place.task_id for place in places}
        return sorted(place for place in places if place.task_id not in ledger.final)
