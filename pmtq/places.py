"""Where the records stand that a worker has read and not run, and what each of them waits for.

A place is a few words, however long its record is, so memory follows the tasks in flight and not the backlog. All of it
is a hint: it can be dropped and found again by reading the queue from the top.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from heapq import heappop, heappush

import msgspec

from pmtq.ids import ids_in
from pmtq.ledger import Ledger
from pmtq.records import StateRecord, due
from pmtq.states import FINAL_STATES, RETRY, STARTED
from pmtq.steps import is_decisive


class Place(msgspec.Struct, order=True, gc=False):
    """Where a record stands that was read and not run. Earlier places sort first."""

    rank: int
    """The lower, the earlier: its priority with the sign turned."""
    queue: int
    """Which of the files that the worker reads."""
    start: int
    end: int
    task_id: str


class Wait(msgspec.Struct):
    """A record that waits for others to end."""

    place: Place | None
    """None when it does not wait any more."""
    missing: int
    """How many of them have not ended."""
    scope: frozenset[str] | None
    """The ids of which a failure is waited for; None if it is their values."""

    def is_over(self, state: StateRecord) -> bool:
        """Take in the end of one of them; say whether the record must be looked at now."""
        self.missing -= 1
        return self.place is not None and (not self.missing or is_decisive(state, self.scope))


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
        self.behind: dict[str, list[Place]] = {}
        """Heaps of records that wait for a gate to open, by the gate's name."""
        self.waits: dict[str, Wait] = {}
        """Records that wait for others to end, by their ids …"""
        self.waiting: dict[str, list[Wait]] = {}
        """… and by the ids of those others."""
        self.left: list[Place] = []
        """Records of functions that this worker does not know."""
        self.unread: set[str] = set()
        """The other way round: ids of which the end is known, and the record was not come to yet."""

        self.twice: set[str] = set()
        """Ids of records that stand in two files, because they were moved."""

    def clear(self, final: set[str]) -> None:
        """Forget every place, because the queues are read again from the top."""
        for places in (self.held, self.ready, self.later, self.behind, self.waits, self.waiting, self.left, self.twice):
            places.clear()
        self.unread = set(final)

    def move(self, states: list[StateRecord], final: AbstractSet[str]) -> None:
        """Move the places of tasks to where their new states have them looked for next; ``final`` are all that ended."""
        held, waiting, twice = self.held, self.waiting, self.twice
        for state in states:
            task_id = state.task_id
            place = held.pop(task_id, None)
            if state.status in FINAL_STATES:
                if waiting:
                    place = self._stop_waiting(task_id) or place
                    self._end_waits_for(state, final)
                if place is None or task_id in twice:
                    self.unread.add(task_id)
            elif place and state.status == STARTED:
                held[task_id] = place
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

    def come_to(self, task_id: str) -> None:
        """Note that the record of a task that has ended was come to; one that was moved stands in another file as well."""
        if task_id not in self.twice:
            self.unread.discard(task_id)

    def keep_behind(self, gate: str, place: Place) -> None:
        """Remember a record that may run when ``gate`` has opened."""
        heappush(self.behind.setdefault(gate, []), place)

    def wait(self, place: Place, missing: list[str], scope: frozenset[str] | None) -> None:
        """Remember a record that waits until those that are ``missing`` have ended; see ``Wait`` for ``scope``."""
        self.waits[place.task_id] = wait = Wait(place, len(missing), scope)
        for task_id in missing:
            self.waiting.setdefault(task_id, []).append(wait)

    def waiters(self, state: StateRecord) -> list[str]:
        """Return the ids of those that wait for this task to end, if it has, and that it does not know of itself."""
        waits = self.waiting.get(state.task_id, ()) if state.status in FINAL_STATES else ()
        known = set(state.followers or ())
        return [wait.place.task_id for wait in waits if wait.place and wait.place.task_id not in known]

    def _end_waits_for(self, state: StateRecord, final: AbstractSet[str]) -> None:
        """Count down for each record that waited for this task; those that need not wait any more may be looked at."""
        for wait in self.waiting.pop(state.task_id, ()):
            for task_id in ids_in(state.adds) if state.adds else ():
                if task_id not in final:
                    wait.missing += 1
                    self.waiting.setdefault(task_id, []).append(wait)
            if wait.is_over(state) and wait.place:
                heappush(self.ready, wait.place)
                self._stop_waiting(wait.place.task_id)

    def _stop_waiting(self, task_id: str) -> Place | None:
        """Forget that a record waits, and return its place."""
        if wait := self.waits.pop(task_id, None):
            place, wait.place = wait.place, None
            return place
        return None

    def take_due(self, now: float, rank: int, is_open: Callable[[str, float], bool]) -> Iterator[Place]:
        """Hand out the places of records up to ``rank`` that may run now, in file order, forgetting them.

        ``is_open`` says whether a gate is open now. It is asked anew for each place: one that starts may close its gate.
        """
        while self.later and self.later[0][0] <= now:
            heappush(self.ready, heappop(self.later)[1])
        while self.ready and self.ready[0].rank <= rank:
            yield heappop(self.ready)
        for gate, places in list(self.behind.items()):
            while places and places[0].rank <= rank and is_open(gate, now):
                yield heappop(places)
            if not places:
                self.behind.pop(gate, None)

    def next_due(self, opens: Callable[[str], float]) -> float:
        """Return when the next record may run, in seconds since 1970; infinite if none waits for a time."""
        return min([*(until for until, _ in self.later[:1]), *map(opens, self.behind)], default=math.inf)

    def forget_done(self, ledger: Ledger) -> None:
        """Forget records of unknown functions that another worker has meanwhile run."""
        if self.left and self.unread:
            done = {place.task_id for place in self.left} & ledger.final
            self.left[:] = [place for place in self.left if place.task_id not in done]
            self.unread -= done

    def owed(self, ledger: Ledger) -> list[Place]:
        """Return the places of all records that are not done with, in file order."""
        places = [*self.held.values(), *self.ready, *(place for _, place in self.later), *self.left]
        places += [wait.place for wait in self.waits.values() if wait.place]
        places += [place for gated in self.behind.values() for place in gated]
        self.unread -= {place.task_id for place in places} - self.twice
        return sorted(place for place in places if place.task_id not in ledger.final)
