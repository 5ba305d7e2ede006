"""Runs a task in its caller's process, through the same steps as in a worker, with nothing waited for.

Nothing is written either, unless ``task_store_eager_result`` has the outcome stored as if a worker had come to it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from pmtq.calls import adopt, fill_in, new_record
from pmtq.claim import Claim
from pmtq.clock import now
from pmtq.execute import execute
from pmtq.failures import rebuilt
from pmtq.ledger import start
from pmtq.records import StateRecord
from pmtq.request import Request, nothing_running, running
from pmtq.result import AsyncResult, EagerResult
from pmtq.states import EXCEPTION_STATES, FAILURE, RETRY, STARTED
from pmtq.task import Task
from pmtq.trace import Trace

WITHOUT_MEANING_HERE = frozenset({"throw", "countdown", "eta"})


def run_here(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]
) -> EagerResult[Any]:
    """Run ``task`` until it wants no further try, and return its result.

    With the option ``throw``, or ``task_eager_propagates`` set, a failure is raised here.
    """
    throw = options.get("throw", task.app.conf.task_eager_propagates)
    record = new_record(task.name, args, kwargs, now())
    fill_in(record, {name: value for name, value in options.items() if name not in WITHOUT_MEANING_HERE}, now())
    if parent := running.get():
        adopt(record, parent)
    trace = _Witness(task)
    started = StateRecord(record.task_id, STARTED, None, 1, Request(None).hostname)
    while True:
        claim = Claim(record, started, is_eager=True)
        with nothing_running():
            outcome, _, _ = execute(claim, trace, time.perf_counter())
        if outcome.status != RETRY:
            break
        record = record.changed(outcome.changes or {})
        started = start(outcome, record.task_id, started.worker, "")
    if task.app.conf.task_store_eager_result and not trace.ignores(claim):
        task.app.backend.store(outcome)
    value = outcome.result
    if outcome.status in EXCEPTION_STATES:
        value = trace.failure or rebuilt(outcome)
        if throw and outcome.status == FAILURE:
            raise value
    elif isinstance(value, msgspec.Raw):
        value = msgspec.json.decode(value)
    children: list[AsyncResult[Any]] = [AsyncResult(child, app=task.app) for child in outcome.children or []]
    return EagerResult(record.task_id, value, outcome.status, outcome.traceback or None, task.name, children=children)


class _Witness(Trace):
    """Remembers the exception itself: a worker's client gets one that was rebuilt from text."""

    failure: BaseException | None = None

    def tell(self, claim: Claim, outcome: StateRecord, value: Any, failure: BaseException | None) -> None:
        """Remember how the last try has ended."""
        self.failure = failure
        super().tell(claim, outcome, value, failure)
