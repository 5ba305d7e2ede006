"""Tells receivers of ``before_task_publish`` and ``after_task_publish`` about records.

Whoever posts asks first whether there are receivers: a call that nobody listens to pays nothing for this.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pmtq import signals
from pmtq.arguments import require_json_arguments
from pmtq.records import TaskRecord


def announce(signal: signals.Signal, record: TaskRecord, queue: str) -> None:
    """Tell receivers about a record; what they put into ``headers`` goes along with it."""
    args, kwargs = record.arguments()
    headers = {
        "id": record.task_id, "task": record.function, "shadow": record.shadow or None, "group": record.group_id or None,
        "root_id": record.root_id or record.task_id, "parent_id": record.parent_id or None,
        "eta": record.eta or None, "expires": record.expires or None, "retries": record.retries,
        "timelimit": [record.time_limit or None, record.soft_time_limit or None],
        "argsrepr": repr(tuple(args)), "kwargsrepr": repr(dict(kwargs)), "ignore_result": bool(record.ignore_result),
    }  # fmt: skip
    own = set(headers)
    headers |= record.headers or {}
    about: dict[str, Any] = {"body": (args, kwargs, {}), "exchange": "", "routing_key": queue, "headers": headers}
    if signal is signals.before_task_publish:
        about |= {"properties": {"priority": record.priority}, "declare": [], "retry_policy": None}
    signal.send(record.function, **about)
    added = {name: value for name, value in headers.items() if name not in own}
    require_json_arguments(record.function, (), {"headers": added})
    record.headers = added or None


def announce_all(signal: signals.Signal, made: Iterable[tuple[TaskRecord, str, bool]]) -> None:
    """Tell receivers, if there are any, about records, each with its queue and whether it must be durable."""
    if signal.receivers:
        for record, queue, _ in made:
            announce(signal, record, queue)
