"""Turns a call into the record that is posted; a call that could never run is refused here, before anything is written.

It does not know the options of a call (``call_options``), nor where the record goes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from pmtq.arguments import require_json_arguments
from pmtq.call_options import fill_in
from pmtq.claim import Claim
from pmtq.jsonable import PLAIN
from pmtq.records import TaskRecord, new_task_id, timestamp

logger = logging.getLogger("pmtq.worker")
_CHANGEABLE = frozenset({"expires", "time_limit", "soft_time_limit", "ignore_result", "shadow", "headers"})
"""Options that may be other ones when a task is tried again: the record itself stays where it stands."""


def new_record(name: str, args: Iterable[Any], kwargs: Mapping[str, Any] | None, now: float) -> TaskRecord:
    """Return the record of a call to ``name``; raises ``NotSerializable``, naming the argument JSON cannot hold."""
    positional = list(args) or None if args else None
    if kwargs or (positional and not PLAIN.issuperset(map(type, positional))):
        require_json_arguments(name, positional or (), kwargs or {})
    record = TaskRecord(task_id=new_task_id(), function=name, params=positional, sent=timestamp(now))
    if kwargs:
        record.params, record.args = dict(kwargs), positional
    return record


def adopt(record: TaskRecord, parent: Claim) -> None:
    """Write down that the task ``parent`` posts this one while it runs."""
    if record.task_id == parent.record.task_id:
        return  # it is going to take its place
    record.parent_id = record.parent_id or parent.record.task_id
    record.root_id = record.root_id or parent.record.root_id or parent.record.task_id
    if parent.children is None:
        parent.children = []
    parent.children.append(record.task_id)


def changes_of(
    old_args: Iterable[Any],
    old_kwargs: Mapping[str, Any],
    args: Iterable[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    now: float,
) -> dict[str, Any]:
    """Return the fields of a record that are other ones when its task is tried again."""
    if lost := options.keys() - _CHANGEABLE:
        logger.warning("retry() cannot change %s: the record stays where it stands, as it is", ", ".join(sorted(lost)))
    options = {name: value for name, value in options.items() if name not in lost}
    given = set(options)
    changed = new_record("", old_args if args is None else args, old_kwargs if kwargs is None else kwargs, now)
    fill_in(changed, options, now)
    if args is not None or kwargs is not None:
        given |= {"params", "args"}
    return {name: getattr(changed, name) for name in changed.__struct_fields__ if name in given}
