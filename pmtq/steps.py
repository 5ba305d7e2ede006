"""The rules of a workflow: what a step waits for, when it must not run any more, and what it is given.

1. A step runs when every task that it comes after has ended in SUCCESS; their values go before its own arguments.
2. If one of them has ended otherwise, the step has failed without running, and names the task where it began.
3. A step that comes after a failure runs when there is one, once, and is told which; else it ends as IGNORED.

It is told records and states. It knows no file, no time, and not what the steps were a chain or a chord of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pmtq.ids import ids_in
from pmtq.jsonable import PLAIN
from pmtq.records import StateRecord, TaskRecord, encode
from pmtq.states import ERASED, FAILURE, IGNORED, SUCCESS

GATHER = "pmtq.gather"
"""The function of a step that only collects: its value is its first argument, and nobody has to run it."""
CULPRIT = "culprit"
"""Where in an ``error`` the id of the task stands with which it began …"""
WITHIN = "within"
"""… and the ids of those whose own failure it is all the same: it began in what they went on as, or had added."""

States = Mapping[str, StateRecord]
"""The final lines of tasks, by id."""


def dependencies(record: TaskRecord, states: States) -> list[str]:
    """Return the ids of all tasks it waits for, those included that ``add_to_chord`` has added, as far as is known."""
    found = [*ids_in(record.after), *(record.after_failure or ())]
    for task_id in found:  # grows on the way: what was added may have added some itself
        state = states.get(task_id)
        if state and state.adds and isinstance(record.after, list):
            found += ids_in(state.adds)
    return found


def is_decisive(state: StateRecord, scope: Iterable[str] | None) -> bool:
    """Say whether a task's end alone settles what becomes of a step that waits for it.

    ``scope`` are the ids of which a failure is waited for; None if all are to end in SUCCESS. The failure of one that only
    failed because of a task outside of the scope is none of its own, unless it began ``WITHIN`` one of them.
    """
    if scope is None:
        return state.status != SUCCESS
    return state.status == FAILURE and any(one in scope for one in (culprit_of(state), *_within(state)))


def culprit_of(state: StateRecord) -> str:
    """Return the id of the task with which a failure began, which is most often the one that has failed."""
    return str((state.error or {}).get(CULPRIT, state.task_id))


def _within(state: StateRecord) -> list[str]:
    return list((state.error or {}).get(WITHIN, ()))


def _adders(end: StateRecord, record: TaskRecord, states: States) -> list[str]:
    """Return the task that has added this one to what a step waits for, the one that has added that, and so on."""
    known = [states[one] for one in dependencies(record, states) if one in states]
    adder_of = {added: one.task_id for one in known for added in ids_in(one.adds)}
    found = [end.task_id]
    while adder := adder_of.get(found[-1]):
        found.append(adder)
    return found[1:]


def failure_for(record: TaskRecord, states: States) -> StateRecord | None:
    """Return the failure that a step was waiting for; None as long as there is none."""
    scope = frozenset(record.after_failure or ())
    found = (states[task_id] for task_id in record.after_failure or () if task_id in states)
    return next((state for state in found if is_decisive(state, scope)), None)


def verdict(record: TaskRecord, states: States, at: str) -> StateRecord | None:
    """Return the final line of a step that is not to run, going by what is known; None if it may, now or later."""
    if record.after_failure:
        waits = any(task_id not in states for task_id in record.after_failure)
        if waits or failure_for(record, states):
            return None
        return _end(record, IGNORED, "pmtq.exceptions.Ignore", "no task that it was to follow has failed", at)
    ends = [states[one] for one in dependencies(record, states) if one in states and states[one].status != SUCCESS]
    if not ends:
        return None
    if all(end.status == IGNORED for end in ends):
        why = f"task {ends[0].task_id}, which it waits for, is not to have a result"
        return _end(record, IGNORED, "pmtq.exceptions.Ignore", why, at)
    end = next(end for end in ends if end.status != IGNORED)
    line = _end(record, FAILURE, "pmtq.exceptions.ChordError", _what_happened(end), at)
    error = {**(line.error or {}), CULPRIT: culprit_of(end)}
    if within := [*_within(end), *_adders(end, record, states), *([record.task_id] if record.replaced else [])]:
        error[WITHIN] = within
    return msgspec.structs.replace(line, error=error)


def given(record: TaskRecord, states: States) -> TaskRecord:
    """Return the record as the call that is made: with the values of what it came after before its own arguments."""
    values: list[Any] = []
    if (failure := failure_for(record, states)) and not record.immutable:
        values = [culprit_of(failure)]
    elif record.after is not None and not record.immutable:
        values = [_value(record.after, states)]
        if isinstance(record.after, list):
            added = [tree for one in dependencies(record, states) for tree in states[one].adds or ()]
            values[0] += [_value(tree, states) for tree in added]
    own, named = record.arguments()
    args = [*values, *own]
    return msgspec.structs.replace(
        record,
        after=[],  # nothing is missing, and nothing more is to be put before the arguments
        after_failure=None,
        immutable=True,
        params=dict(named) if named else args,
        args=args if named else None,
    )


def first_argument(record: TaskRecord) -> Any:
    """Return what a ``GATHER`` step that was given its values has collected."""
    args, _ = record.arguments()
    return args[0] if args else None


def _value(tree: Any, states: States) -> Any:
    if isinstance(tree, list):
        return [_value(one, states) for one in tree]
    value = states[tree].result
    if type(value) in PLAIN:
        return value
    # A copy for each: a step may change the list that it is given, and others are given the same.
    return msgspec.json.decode(value if isinstance(value, msgspec.Raw) else encode(value))


def _what_happened(end: StateRecord) -> str:
    error = end.error or {}
    if CULPRIT in error:
        return str(error.get("message"))
    if end.status == FAILURE:
        said = f"raised {error.get('type')}: {error.get('message')}"
    elif end.status == ERASED:
        said = "was asked to forget its result before it was used"
    else:
        said = f"ended as {end.status}: {error.get('message', 'nobody has said why')}"
    return f"Dependency {end.task_id} {said}. What waits for it is not run. See it: pmtq result {end.task_id}"


def _end(record: TaskRecord, status: str, kind: str, why: str, at: str) -> StateRecord:
    return StateRecord(record.task_id, status, at=at, error={"type": kind, "message": why})
