"""Which tasks must wait although a worker is free: because of a pause, a rate that is used up, an equal call.

1. Every worker decides by the lines that all of them read, so what holds for one holds for all together.
2. A closed gate has a name; the claimer keeps behind it what it holds back, and asks again when it may have opened.

It is told the time and knows no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from pmtq.exceptions import ImproperlyConfigured
from pmtq.folder import with_priority
from pmtq.ledger import MOVED, PAUSE, RATE_LIMIT, Ledger
from pmtq.rates import interval
from pmtq.records import StateRecord, TaskRecord
from pmtq.states import IGNORED, STARTED

RATE = "rate"


class Owner(NamedTuple):
    """The task that counts for a key, and those that wait for it: they must hear of it if it is not to run."""

    task_id: str
    followers: list[str] | None


class Gates:
    """The gates of one folder, as one ledger tells of them."""

    def __init__(self, ledger: Ledger, intervals: Mapping[str, float]) -> None:
        """Take the ledger, and the seconds between two starts of each function that the code limits."""
        self._ledger = ledger
        self._intervals = intervals
        self._owners: dict[str, Owner] = {}
        """For each key the task that counts for it, as far as the queues have been read."""

    def closed(self, record: TaskRecord, queue: str, now: float) -> str:
        """Return the name of the gate that the record must wait behind; empty if none is closed."""
        for name in (f"{PAUSE} queue {queue}", f"{PAUSE} task {record.function}", f"{RATE} {record.function}"):
            if not self.is_open(name, now):
                return name
        name = f"{MOVED} {record.task_id} {with_priority(queue, record.priority)}"
        return "" if self.is_open(name, now) else name

    def is_open(self, name: str, now: float) -> bool:
        """Say whether a gate is open; a start further ahead than its rate is long was noted by a clock that was wrong."""
        opens, (kind, _, function) = self.opens(name), name.partition(" ")
        return opens <= now or (kind == RATE and opens - now >= 2 * self._interval(function))

    def opens(self, name: str) -> float:
        """Return when a gate opens, in seconds since 1970: infinite for one that a person opens, in the past if it is open."""
        kind, _, function = name.partition(" ")
        if kind == PAUSE:
            return math.inf if name in self._ledger.controls else 0.0
        if kind == MOVED:
            moved, _, here = name.rpartition(" ")
            control = self._ledger.controls.get(moved)
            return math.inf if control and control.result != here else 0.0
        return self._ledger.paced.get(function, 0.0) + self._interval(function)

    def pace(self, record: TaskRecord) -> list[str] | None:
        """Return what a start of this record counts for, to be written into its STARTED line."""
        names = [record.function] if self._interval(record.function) else []
        names += [record.unique_key] if record.throttle else []
        return names or None

    def verdict(self, record: TaskRecord, at: str, now: float) -> list[StateRecord]:
        """Return the lines that end calls that are not to run because they are the same as another.

        Most often that is this record or none; with ``debounce`` it is the earlier one, in whose place this one runs.
        """
        key, this = record.unique_key, _owner(record)
        owner = self._owners.get(key, this)
        if owner.task_id != this.task_id and owner.task_id not in self._ledger.final:
            last = self._ledger.open.get(owner.task_id)
            if not record.debounce:
                return [_ignored(this, at, f"the same call is owed already, as task {owner.task_id}")]
            self._owners[key] = this
            runs = last and last.status == STARTED
            return [] if runs else [_ignored(owner, at, f"a later call, {this.task_id}, runs in its place")]
        last_start = self._ledger.paced.get(key, -math.inf)
        if record.throttle and this.task_id not in self._ledger.open and abs(now - last_start) < record.throttle:
            return [_ignored(this, at, f"the same call began less than {record.throttle:g} s before")]
        self._owners[key] = this
        return []

    def notice(self, record: TaskRecord) -> None:
        """Note a task that another worker has started: it counts for its key here, too."""
        if record.unique_key:
            self._owners[record.unique_key] = _owner(record)

    def forget_done(self) -> None:
        """Forget keys of tasks that are done with."""
        self._owners = {key: owner for key, owner in self._owners.items() if owner.task_id not in self._ledger.final}

    def _interval(self, function: str) -> float:
        if control := self._ledger.controls.get(f"{RATE_LIMIT} {function}"):
            with suppress(ImproperlyConfigured):  # a line typed by hand; the code's own limit holds
                return interval(control.result)
        return self._intervals.get(function, 0.0)


def _owner(record: TaskRecord) -> Owner:
    return Owner(record.task_id, record.followers)


def _ignored(owner: Owner, at: str, why: str) -> StateRecord:
    error = {"type": "pmtq.exceptions.Ignore", "message": why}
    return StateRecord(owner.task_id, IGNORED, at=at, error=error, followers=owner.followers)
