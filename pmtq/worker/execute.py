"""Runs one task and says what became of it.

1. Whatever the function does, short of ending the process, there is an outcome.
2. A result that JSON cannot hold is the task's failure, not the worker's.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from pmtq.claim import Claim
from pmtq.exceptions import NotSerializable
from pmtq.records import MAX_RECORD_BYTES, PLAIN, StateRecord, encode, require_json, timestamp
from pmtq.states import FAILURE, SUCCESS


def execute(claim: Claim, function: Callable[..., Any], began: float) -> tuple[StateRecord, bytes, float]:
    """Run the claimed task; return its outcome, the same as a line of JSON, and when it ended.

    ``began`` and the end are in seconds of ``time.perf_counter``.
    """
    started = claim.started
    args, kwargs = claim.record.arguments()
    outcome = StateRecord(started.task_id, SUCCESS, None, started.attempt, started.worker)
    try:
        outcome.result = result = function(*args, **kwargs)
        if type(result) not in PLAIN:
            require_json(result, "the result")
    except Exception as error:  # noqa: BLE001  (any exception of the function is an outcome)
        _fail(outcome, error)
    ended = time.perf_counter()
    outcome.runtime = int((ended - began) * 1e6) / 1e6
    outcome.at = timestamp(time.time())
    return outcome, _line(outcome), ended


def _line(outcome: StateRecord) -> bytes:
    """Return the outcome as a line; one that cannot be written becomes a failure that says why."""
    try:
        line = encode(outcome) + b"\n"
    except (UnicodeEncodeError, RecursionError, TypeError) as error:
        _fail(outcome, error)
    else:
        if len(line) <= MAX_RECORD_BYTES:
            return line
        size = f"has {len(line):,} bytes, and the limit is {MAX_RECORD_BYTES:,}. Return the path of a file instead"
        _fail(outcome, NotSerializable("the result", outcome.result, size))
    return encode(outcome) + b"\n"


def _fail(outcome: StateRecord, error: Exception) -> None:
    """Turn the outcome into the failure that ``error`` is."""
    outcome.status = FAILURE
    outcome.result = None
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    outcome.error = {"type": name, "message": _text(str, error)}
    try:
        require_json(list(error.args), "the exception's args")
        if [_text(str, error)] != list(error.args):  # the message alone rebuilds most exceptions
            outcome.error["args"] = list(error.args)
    except NotSerializable:
        outcome.error["args"] = [_text(repr, value) for value in error.args]
    outcome.traceback = _clean("".join(traceback.format_exception(error)))


def _text(show: Callable[[object], str], value: object) -> str:
    """Return what ``str`` or ``repr`` makes of a value, even when that fails."""
    try:
        return _clean(show(value))
    except Exception as error:  # noqa: BLE001  (a broken __str__ must not cost the outcome)
        return f"<{type(value).__name__}, whose text cannot be made: {type(error).__name__}>"


def _clean(text: str, longest: int = 100_000) -> str:
    """Return text that can stand in a file: no lone surrogates, not without end."""
    return text.encode("utf-8", "backslashreplace").decode()[:longest]
