"""Turns a call into the record that is posted; a call that could never run is refused here, before anything is written.

It does not know the options of a call (``call_options``), nor where the record goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pmtq.arguments import require_json_arguments
from pmtq.claim import Claim
from pmtq.ids import new_task_id
from pmtq.jsonable import PLAIN
from pmtq.records import TaskRecord, timestamp


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
