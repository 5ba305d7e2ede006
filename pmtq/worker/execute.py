"""Runs one task and says what became of it.

1. Whatever the function does, short of ending or interrupting the process, there is an outcome.
2. A result that JSON cannot hold is the task's failure, not the worker's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from pmtq.claim import Claim
from pmtq.exceptions import NotSerializable
from pmtq.failures import described, traceback_of
from pmtq.jsonable import PLAIN, require_json
from pmtq.records import MAX_RECORD_BYTES, StateRecord, encode, timestamp
from pmtq.states import FAILURE, SUCCESS


def execute(claim: Claim, function: Callable[..., Any], began: float) -> tuple[StateRecord, bytes, float]:
    """Run the claimed task; return its outcome, the same as a line of JSON, and when it ended.

    ``began`` and the end are in seconds of ``time.perf_counter``.
    """
    args, kwargs = claim.record.arguments()
    failure: BaseException | None = None
    try:
        result = function(*args, **kwargs)
        if type(result) not in PLAIN:
            result = _frozen(result)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (whatever else it raises is an outcome: exit() and cancellation too)
        failure, result = error, None
    ended = time.perf_counter()
    at, runtime, started = timestamp(time.time()), int((ended - began) * 1e6) / 1e6, claim.started
    outcome = StateRecord(started.task_id, SUCCESS, result, started.attempt, started.worker, at, runtime)
    if failure:
        _fail(outcome, failure)
    return outcome, _line(outcome), ended


def _frozen(result: object) -> msgspec.Raw:
    """Return the result as it is now: the function may go on changing a list that it returned."""
    require_json(result, "the result")
    try:
        return msgspec.Raw(encode(result))
    except (ValueError, RecursionError) as error:
        raise NotSerializable("the result", result, f"cannot be written as JSON: {error}") from None


def _line(outcome: StateRecord) -> bytes:
    """Return the outcome as a line; one that cannot be written becomes a failure that says why."""
    try:
        if len(line := encode(outcome) + b"\n") <= MAX_RECORD_BYTES:
            return line
        why = f"has {len(line):,} bytes, and the limit is {MAX_RECORD_BYTES:,}. Return the path of a file instead"
    except (ValueError, RecursionError, TypeError) as error:
        why = f"cannot be written as JSON: {error}"
    _fail(outcome, NotSerializable("the result", outcome.result, why))
    return encode(outcome) + b"\n"


def _fail(outcome: StateRecord, error: BaseException) -> None:
    outcome.status, outcome.result = FAILURE, None
    outcome.error, outcome.traceback = described(error), traceback_of(error)
