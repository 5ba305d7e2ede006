"""What a call may say besides its arguments: when it is to run, where and how, as its record says it.

1. What no worker could heed is refused here, before anything is written.
2. An option that means nothing in a folder is accepted where Celery has it, and listed in ``WITHOUT_EFFECT``.

It does not know what tasks and settings want for calls that say nothing: see ``task_options`` and ``routes``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, TypedDict

import msgspec

from pmtq.arguments import Moment, moment, require_json_arguments
from pmtq.exceptions import ImproperlyConfigured
from pmtq.records import TaskRecord
from pmtq.values import HIGHEST_PRIORITY

WITHOUT_EFFECT = {
    "retry": "there is no connection to lose; a folder that cannot be written is an error at once",
    "retry_policy": "as for retry",
    "connection": "there is none",
    "producer": "there is none",
    "publisher": "there is none",
    "exchange": "a queue is a file; name it with queue or routing_key",
    "delivery_mode": "every record stands in a file; see durable",
    "mandatory": "a record is in the file before the call returns",
    "immediate": "as for mandatory",
    "compression": "a person is to read the file",
    "reply_to": "results are found by id",
    "add_to_parent": "the parent's line always names its children",
    "correlation_id": "the task's id serves",
    "origin": "any program may post",
}
"""Options of Celery's ``apply_async`` that change nothing here, and why."""


class CallOptions(TypedDict, total=False):
    """How a call is to be run. Times are ``datetime`` (naive ones are UTC), RFC 3339 text, or seconds from now."""

    task_id: str
    """An id of your choice; two calls with one id are one task."""
    queue: str | None
    routing_key: str | None
    """Another word for ``queue``."""
    countdown: float | None
    """Seconds before which it does not run …"""
    eta: Moment | None
    """… or the time before which it does not."""
    expires: Moment | timedelta | float | None
    """From then on it does not run any more: it ends as REVOKED."""
    priority: int | None
    """0 to 9; all that waits with a higher one runs first."""
    retries: int
    time_limit: float | None
    """Seconds after which its process is ended (prefork)."""
    soft_time_limit: float | None
    """Seconds after which ``SoftTimeLimitExceeded`` is raised in it."""
    ignore_result: bool | None
    shadow: str | None
    headers: Mapping[str, Any] | None
    parent_id: str
    root_id: str
    group_id: str
    unique_key: str
    debounce: float
    throttle: float
    link: Any
    """A signature, or several, to be called with the value when the task has ended well."""
    link_error: Any
    """The same for its failure; see ``Signature.link_error``."""
    durable: bool | None
    """Return only when the record would survive a power cut."""
    serializer: str | None
    """Only ``json``."""
    retry: bool
    retry_policy: Mapping[str, Any] | None
    connection: object
    producer: object
    publisher: object
    exchange: object
    delivery_mode: object
    mandatory: bool
    immediate: bool
    compression: str | None
    reply_to: str | None
    add_to_parent: bool
    correlation_id: str | None
    origin: str | None


_KNOWN = frozenset(CallOptions.__annotations__)
_COPIED = frozenset({
    "task_id", "shadow", "headers", "retries", "ignore_result",
    "parent_id", "root_id", "group_id", "unique_key", "debounce", "throttle",
})  # fmt: skip
"""Options that go into the record as they are."""
_TYPES = {field.name: field.type for field in msgspec.structs.fields(TaskRecord)}


def fill_in(record: TaskRecord, options: Mapping[str, Any], now: float) -> None:
    """Write ``options`` into a new record; ``queue`` and ``durable`` are the broker's. Raises ``ImproperlyConfigured``."""
    if not options.keys() <= _KNOWN:
        raise TypeError(_unknown(options.keys() - _KNOWN, record.function))
    given = {name: value for name, value in options.items() if value is not None}
    if "countdown" in given:
        record.eta = moment(given["countdown"], now, "countdown")
    elif "eta" in given:
        record.eta = moment(given["eta"], now, "eta")
    if "expires" in given:
        record.expires = moment(given["expires"], now, "expires")
    record.priority = _priority(given.get("priority", 0))
    for limit in {"time_limit", "soft_time_limit"} & given.keys():
        setattr(record, limit, _seconds(given[limit], limit))
    for name in _COPIED & given.keys():
        if given[name] != "":
            setattr(record, name, _fitting(given[name], name))
    if record.headers:
        require_json_arguments(record.function, (), {"headers": record.headers})
    if given.get("serializer", "json") != "json":
        raise ImproperlyConfigured(
            f"serializer={given['serializer']!r} is not possible: a queue file holds JSON, so that anyone can read it. "
            "Nothing was queued. Leave the option out"
        )


def _fitting(value: object, name: str) -> Any:
    """Return the value of an option as the record can hold it."""
    try:
        return msgspec.convert(value, _TYPES[name])
    except msgspec.ValidationError as error:
        raise ImproperlyConfigured(f"{name}={value!r} is not possible: {error}. Nothing was queued") from None


def _priority(value: object) -> int:
    if isinstance(value, int) and 0 <= value <= HIGHEST_PRIORITY:
        return int(value)
    raise ImproperlyConfigured(
        f"priority={value!r} is none. Nothing was queued. Give a whole number from 0 to {HIGHEST_PRIORITY}; the highest runs first"
    )


def _seconds(value: Any, option: str) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, int | float) and value >= 0 and math.isfinite(value):
        return float(value)
    raise ImproperlyConfigured(f"{option}={value!r} is no time span. Nothing was queued. Give seconds")


def _unknown(names: Iterable[str], function: str) -> str:
    name = min(names)
    near = difflib.get_close_matches(name, _KNOWN, n=1)
    hint = f" Did you mean {near[0]}?" if near else " Arguments of the function go into args=[…] and kwargs={…}."
    return f"a call to {function} has no option {name!r}. Nothing was queued.{hint}"
