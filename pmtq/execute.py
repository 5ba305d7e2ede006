"""Runs one try of a task and says what became of it.

1. Whatever the function does, short of ending or interrupting the process, there is an outcome.
2. A result that JSON cannot hold is the task's failure, not the worker's.
3. Who wants to be told (handlers, signals) or held to something (limits) is looked after in ``trace``; a task without
   such wishes is a function call here, and nothing else.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import msgspec

from pmtq.arguments import moment
from pmtq.claim import Claim
from pmtq.clock import now
from pmtq.copies import end_copy
from pmtq.exceptions import Ignore, ImproperlyConfigured, NotSerializable, Reject, Replaced, Retry
from pmtq.failures import described, traceback_of
from pmtq.jsonable import PLAIN, require_json
from pmtq.records import MAX_RECORD_BYTES, StateRecord, encode, timestamp
from pmtq.request import running
from pmtq.retry import DEFAULT_RETRY_DELAY
from pmtq.states import FAILURE, IGNORED, REJECTED, RETRY, SUCCESS
from pmtq.trace import Trace

_ENDS = {Ignore: IGNORED, Reject: REJECTED}
"""How a task ends that raises one of these; by anything else it fails."""
REQUEUE_DELAY = 1.0
"""Seconds before a call that was rejected with ``requeue`` is given out again: it would circle at full speed otherwise."""


def execute(claim: Claim, trace: Trace, began: float) -> tuple[StateRecord, bytes, float]:
    """Run the claimed task; return its outcome, the same as a line of JSON, and when it ended.

    ``began`` and the end are in seconds of ``time.perf_counter``. The claim stays the one that is ``running`` here, until
    the caller says otherwise.
    """
    running.set(claim)
    plain = claim.is_plain and trace.is_plain
    value: Any = None
    failure: BaseException | None = None
    try:
        args, kwargs = claim.record.arguments()
        if plain:
            result = trace.run(*args, **kwargs)
        else:
            value = trace.call(claim, args, kwargs)
            result = None if trace.ignores(claim) and not claim.is_eager else value
        if type(result) not in PLAIN:
            result = _frozen(result)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (whatever else it raises is an outcome: exit() and cancellation too)
        failure, result = error, None
    if claim.is_copy:
        end_copy(claim, failure)
    ended = perf_counter()
    at, runtime, started = timestamp(now()), int((ended - began) * 1e6) / 1e6, claim.started
    outcome = StateRecord(started.task_id, SUCCESS, result, started.attempt, started.worker, at, runtime)
    if failure is not None or not plain or claim.children or claim.again is not None or claim.record.followers:
        failure = conclude(outcome, claim, failure)
    try:
        line = _line(outcome)
    except NotSerializable as error:
        failure = error
        conclude(outcome, claim, error)
        line = _line(outcome)
    if not plain:
        trace.tell(claim, outcome, value, failure)
    return outcome, line, ended


def conclude(outcome: StateRecord, claim: Claim, failure: BaseException | None) -> BaseException | None:
    """Make of a success what it is when the task raised ``failure``; add what only some outcomes have.

    Returns what it ended with: the ``failure``, or how it wants to be tried again although its function went on.
    """
    started = claim.started
    if claim.again is not None:
        failure, claim.again = claim.again, None
    outcome.children, outcome.retries, outcome.deaths = claim.children, started.retries, started.deaths
    if isinstance(failure, Retry):
        outcome.status, outcome.eta = RETRY, _when(failure)
        outcome.retries = 0 if isinstance(failure, Replaced) else started.retries + 1
        outcome.changes = {**(started.changes or {}), **failure.changes} or None
        _fail(outcome, failure.exc or failure.__context__ or failure)
    elif isinstance(failure, Reject) and failure.requeue:
        outcome.status, outcome.eta, outcome.changes = RETRY, timestamp(now() + REQUEUE_DELAY), started.changes
        _fail(outcome, failure)
    elif failure is not None:
        outcome.status = next((status for kind, status in _ENDS.items() if isinstance(failure, kind)), FAILURE)
        outcome.record, outcome.queue = claim.record, claim.queue
        outcome.eta, outcome.changes = "", None
        _fail(outcome, failure)
    if outcome.status != RETRY:
        outcome.followers, outcome.adds = claim.record.followers, claim.adds
    return failure


def _when(again: Retry) -> str:
    """Return when the task is tried again; a ``Retry`` that ``Task.retry`` has not made may say anything."""
    try:
        return moment(again.when or DEFAULT_RETRY_DELAY, now(), "when")
    except ImproperlyConfigured:
        return moment(DEFAULT_RETRY_DELAY, now(), "when")


def _frozen(result: object) -> msgspec.Raw:
    """Return the result as it is now: the function may go on changing a list that it returned."""
    require_json(result, "the result")
    try:
        return msgspec.Raw(encode(result))
    except (ValueError, RecursionError) as error:
        raise NotSerializable("the result", result, f"cannot be written as JSON: {error}") from None


def _line(outcome: StateRecord) -> bytes:
    """Return the outcome as a line; raises ``NotSerializable`` if it is none because of the result."""
    try:
        line = encode(outcome) + b"\n"
    except (ValueError, RecursionError, TypeError) as error:
        raise NotSerializable("the result", outcome.result, f"cannot be written as JSON: {error}") from None
    if len(line) <= MAX_RECORD_BYTES:
        return line
    for spare in ("record", "children"):  # both can be found in the queue files
        if getattr(outcome, spare):
            setattr(outcome, spare, None)
            return _line(outcome)
    why = f"has {len(line):,} bytes, and the limit is {MAX_RECORD_BYTES:,}. Return the path of a file instead"
    raise NotSerializable("the result", outcome.result, why)


def _fail(outcome: StateRecord, error: BaseException) -> None:
    outcome.result, outcome.error = None, described(error)
    outcome.traceback = traceback_of(error) if outcome.status in {FAILURE, RETRY} else ""
