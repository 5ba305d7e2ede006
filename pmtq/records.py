"""The two kinds of JSON lines pmtq writes: what was asked, and what became of it.

1. ``task_id`` comes first in a line, so that ``grep`` shows one task's life in order.
2. Times are RFC 3339 text in UTC, durations are seconds.
3. Only what JSON can hold goes in, exactly as it is; the rest is refused by name instead of being bent into shape.
4. Keys that this version does not know are left where they are: a line, once written, is never rewritten.

It does not know about files: a record here is a typed struct on one side and a line of bytes on the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from pmtq.ids import is_tree

MAX_RECORD_BYTES = 1024 * 1024
FORMAT_VERSION = 1
LAST_SECOND = 253_402_300_799
"""The end of the year 9999; no later time has a text."""
Count = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""A line that holds a number beyond what others can read, and what one can still count on from, is none."""


class TaskRecord(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """One task that was asked for: a line of a queue file."""

    task_id: str = ""
    function: str
    params: dict[str, Any] | list[Any] | None = None
    """An object is keyword arguments, an array positional ones."""
    args: list[Any] | None = None
    """Positional arguments, when ``params`` holds keyword arguments too."""
    sent: str = ""
    """When a pmtq client wrote it; empty in a record typed by hand."""
    eta: str = ""
    """Not to be run before this time."""
    expires: str = ""
    """Not to be run from this time on."""
    priority: Count = 0
    """0 to 9, the highest first; those above 0 stand in a queue file of their own."""
    retries: Count = 0
    """So many tries were made before it was posted."""
    time_limit: float = 0.0
    """Seconds after which it is ended with its process; 0 for no limit of its own."""
    soft_time_limit: float = 0.0
    """Seconds after which ``SoftTimeLimitExceeded`` is raised in it."""
    ignore_result: bool | None = None
    """Whether the value is thrown away; None leaves that to the task."""
    shadow: str = ""
    """The name that logs show instead of the function's."""
    headers: dict[str, Any] | None = None
    """What the caller wants the task to know besides its arguments."""
    parent_id: str = ""
    """The task that posted this one while it ran."""
    root_id: str = ""
    """The first task in the line of parents."""
    group_id: str = ""
    unique_key: str = ""
    """Calls with the same key are one call; the others end as IGNORED."""
    debounce: float = 0.0
    """Seconds for which it waits for a later call with its key, which then runs in its place."""
    throttle: float = 0.0
    """Seconds after a start in which other calls with its key are not run."""
    after: str | list[Any] | None = None
    """Ids of the tasks it waits for; their values go before its arguments, in this shape: one, or a list of them."""
    after_failure: list[str] | None = None
    """Ids of tasks: it runs once one of them has failed, and is told which."""
    immutable: bool = False
    """It waits, and takes no value from what it waits for."""
    replaced: bool = False
    """Its task goes on as other steps, which it waits for: their failure is its own."""
    followers: list[str] | None = None
    """Ids of the tasks that wait for this one."""
    countdown: float = 0.0
    """Seconds that it waits when the last of the tasks that it comes after has ended."""
    each: str = ""
    """``map`` or ``starmap``: the function is called for each item of the one argument; the value is their list."""
    moved: bool = False
    """A copy, put where it runs earlier; the first one that is come to is run."""
    v: Count = FORMAT_VERSION
    """A record of a later format is left for a worker that can read it."""

    def changed(self, changes: dict[str, Any]) -> TaskRecord:
        """Return the record as it is to be run again, with what its last try wanted changed, unless that makes no record."""
        try:
            record = msgspec.convert({**msgspec.to_builtins(self), **changes}, TaskRecord)
            require_times(record)
        except (msgspec.ValidationError, ValueError):
            return self  # somebody has typed the changes
        return record if record.after is None or is_tree(record.after) else self

    def arguments(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the positional and the keyword arguments of the call."""
        params = self.params or ()
        if isinstance(params, dict):
            return self.args or (), params
        return [*self.args, *params] if self.args else params, {}


class StateRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One step in a task's life: a line of ``results.jsonl``."""

    task_id: str = ""
    status: str = ""
    result: Any = None
    attempt: Count = 0
    """How many starts count so far: one that was released before it began does not."""
    worker: str = ""
    at: str = ""
    runtime: float = 0.0
    """Seconds the function ran."""
    eta: str = ""
    """After RETRY: not to be run again before this time."""
    error: dict[str, Any] | None = None
    """``type`` and ``message`` of the exception, and its ``args`` where JSON can hold them."""
    traceback: str = ""
    retries: Count = 0
    """How often it has asked to be tried again so far."""
    deaths: Count = 0
    """How many workers have died while they ran it so far."""
    changes: dict[str, Any] | None = None
    """The fields of the task record that it wants changed when it is tried again."""
    children: list[str] | None = None
    """The tasks it posted while it ran."""
    pace: list[str] | None = None
    """On a start that others must keep a distance from: the rate limits and keys that it counts for."""
    record: TaskRecord | None = None
    """With a failure: the call itself, so that it can be posted again after its queue file was cleared …"""
    queue: str = ""
    """… and the queue that it stood in."""
    followers: list[str] | None = None
    """With the end of a task: those that wait for it …"""
    adds: list[Any] | None = None
    """… and the tasks whose values they are to get behind the others: what ``add_to_chord`` was called with."""
    kept: bool = False
    """Written once more when the results started afresh, because a task still waits for it."""
    control: str = ""
    """Instead of a task: what holds for all workers, most often set by a person, ``pause queue low``; the value stands in
    ``result``."""
    sealed: str = ""
    """Instead of a task: the name of a queue file that was sealed (see ``sealing``) …"""
    size: Count = 0
    """… and how many of its bytes were carried over."""


NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for a line that is no record."""
_encoder = msgspec.json.Encoder()
encode = _encoder.encode
"""Turn a record into JSON bytes, without a newline."""
encode_lines = _encoder.encode_lines
"""Turn a list of records into JSON lines, each ending in a newline."""
decode_task = msgspec.json.Decoder(TaskRecord).decode
"""Turn one line into a TaskRecord; raises ``msgspec.MsgspecError`` or ``RecursionError``."""
decode_state = msgspec.json.Decoder(StateRecord).decode
"""Turn one line into a StateRecord; raises ``msgspec.MsgspecError`` or ``RecursionError``."""


def require_times(record: TaskRecord) -> None:
    """Raise ``ValueError`` if a time in the record is none."""
    for moment in filter(None, (record.eta, record.expires)):
        epoch(moment)


def timestamp(at: float) -> str:
    """Return a time, given in seconds since 1970, as RFC 3339 text in UTC with milliseconds."""
    return _milliseconds(int(at * 1000))


@lru_cache(maxsize=4)  # many records of one busy millisecond share their time
def _milliseconds(at: int) -> str:
    at = min(at, LAST_SECOND * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at // 1000))}.{at % 1000:03d}Z"


def epoch(text: str) -> float:
    """Return RFC 3339 text as seconds since 1970; a time without an offset counts as UTC.

    Raises ``ValueError`` for text that is no time.
    """
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def due(eta: str) -> float:
    """Return the time from which on a task may start, in seconds since 1970; 0, at once, for text that is no time."""
    try:
        return epoch(eta) if eta else 0.0
    except ValueError:
        return 0.0
