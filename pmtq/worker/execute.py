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

LONGEST_TEXT = 100_000
"""Characters of a message or traceback that are kept."""


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
    except (Exception, SystemExit) as error:  # noqa: BLE001  (what the function raises is an outcome; exit() too)
        _fail(outcome, error)
    ended = time.perf_counter()
    outcome.runtime = int((ended - began) * 1e6) / 1e6
    outcome.at = timestamp(time.time())
    return outcome, _line(outcome), ended


def _line(outcome: StateRecord) -> bytes:
    """Return the outcome as a line; one that cannot be written becomes a failure that says why."""
    try:
        line = encode(outcome) + b"\n"
    except (ValueError, RecursionError, TypeError) as error:
        _fail(outcome, NotSerializable("the result", outcome.result, f"cannot be written as JSON: {error}"))
    else:
        if len(line) <= MAX_RECORD_BYTES:
            return line
        size = f"has {len(line):,} bytes, and the limit is {MAX_RECORD_BYTES:,}. Return the path of a file instead"
        _fail(outcome, NotSerializable("the result", outcome.result, size))
    return encode(outcome) + b"\n"


def _fail(outcome: StateRecord, error: BaseException) -> None:
    """Turn the outcome into the failure that ``error`` is, in words that can be written down whatever it holds."""
    outcome.status = FAILURE
    outcome.result = None
    kind = type(error)
    name = _clean(f"{kind.__module__}.{kind.__qualname__}").removeprefix("builtins.")
    message = _text(str, error)
    outcome.error = {"type": name, "message": message}
    try:
        args = list(error.args)
        require_json(args, "the exception's args")
        if args != [message] and len(encode(args)) <= LONGEST_TEXT:  # the message alone rebuilds most exceptions
            outcome.error["args"] = args
    except Exception:  # noqa: BLE001, S110  (without its args the exception comes back with its message)
        pass
    outcome.traceback = _text(lambda _: "".join(traceback.format_exception(error)), error)


def _text(show: Callable[[object], str], value: object) -> str:
    """Return what ``show`` makes of a value, even when that fails."""
    try:
        return _clean(show(value))
    except Exception as error:  # noqa: BLE001  (a broken __str__ must not cost the outcome)
        return f"<{_clean(type(value).__name__)}, whose text cannot be made: {type(error).__name__}>"


def _clean(text: str) -> str:
    """Return text that can stand in a file: no lone surrogates, and not without end."""
    return text.encode("utf-8", "backslashreplace").decode()[:LONGEST_TEXT]
