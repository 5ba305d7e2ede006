"""Runs a task in its caller's process, through the same steps as in a worker, with nothing waited for.

Nothing is written either, unless ``task_store_eager_result`` has the outcome stored as if a worker had come to it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import msgspec

from pmtq import steps
from pmtq.call_options import fill_in
from pmtq.calls import adopt, new_record
from pmtq.canvas import Signature
from pmtq.claim import Claim
from pmtq.clock import now
from pmtq.execute import execute
from pmtq.failures import rebuilt
from pmtq.ledger import start
from pmtq.plan import Node
from pmtq.records import StateRecord, TaskRecord, timestamp
from pmtq.request import Request, nothing_running, running
from pmtq.result import AsyncResult, EagerResult, ResultSet
from pmtq.states import EXCEPTION_STATES, RETRY, STARTED, SUCCESS
from pmtq.task import Task
from pmtq.trace import Trace
from pmtq.workflow import Call, calls_of, lay_out, promise_of

WITHOUT_MEANING_HERE = frozenset({"throw", "countdown", "eta"})


def run_here(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]
) -> EagerResult[Any]:
    """Run ``task`` until it wants no further try, and return its result.

    With the option ``throw``, or ``task_eager_propagates`` set, a failure is raised here.
    """
    record = new_record(task.name, args, kwargs, now())
    fill_in(record, {name: value for name, value in options.items() if name not in WITHOUT_MEANING_HERE}, now())
    if parent := running.get():
        adopt(record, parent)
    ended = Ended()
    _run(record, ended, task)
    result = ended.results(task.app)[record.task_id]
    _throw(result, task.app, options)
    return result


def run_workflow_here(
    app: Any, sig: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """Run all steps of ``sig``, each behind those that it waits for, and return its result; see ``run_here``."""
    plan, node = lay_out(sig, args, kwargs, {name: value for name, value in options.items() if name != "throw"})
    calls = calls_of(plan, app.record_of, running.get())
    result = _run_calls(app, calls, node, Ended())
    _throw(result, app, options)
    return result


def run_calls_here(app: Any, calls: list[Call], node: Node) -> Any:
    """Run more steps of the workflow that runs, and return what comes out of them."""
    return _run_calls(app, calls, node, _workflow.get())


class Ended:
    """The steps of a workflow that have ended."""

    def __init__(self) -> None:
        """Begin with none."""
        self.lines: dict[str, StateRecord] = {}
        """Their final lines, by id, in the order in which they have ended."""
        self.raised: dict[str, BaseException] = {}
        """The exceptions themselves: a worker's client gets one that was rebuilt from text."""
        self.names: dict[str, str] = {}
        """The functions."""

    def results(self, app: Any) -> dict[str, EagerResult[Any]]:
        """Return the results of all of them, by id."""
        made: dict[str, EagerResult[Any]] = {}
        for task_id, line in reversed(self.lines.items()):  # a step ends before those that follow it
            value = line.result
            if line.status in EXCEPTION_STATES:
                value = self.raised.get(task_id) or rebuilt(line)
            elif isinstance(value, msgspec.Raw):
                value = msgspec.json.decode(value)
            below = [*(line.children or ()), *(line.followers or ())]
            children: list[AsyncResult[Any]] = [made.get(child) or AsyncResult(child, app=app) for child in below]
            about = (task_id, value, line.status, line.traceback or None, self.names[task_id])
            made[task_id] = EagerResult(*about, children=children, error=line.error)
        return made


_workflow: ContextVar[Ended] = ContextVar("workflow")
"""The steps that have ended of the workflow that runs here."""


def _run_calls(app: Any, calls: list[Call], node: Node, ended: Ended) -> Any:
    token = _workflow.set(ended)
    try:
        for record, _, _ in calls:
            _run(record, ended, app.find_task(record.function) if record.function != steps.GATHER else None)
    finally:
        _workflow.reset(token)
    made = ended.results(app)

    def with_parent(task_id: str, parent: Any) -> EagerResult[Any]:
        made[task_id].parent = parent
        return made[task_id]

    return promise_of(node, with_parent)


def _run(record: TaskRecord, ended: Ended, task: Task[..., Any] | None) -> None:
    """Run one step, unless those before it have it end without that, and add its end to ``ended``."""
    task_id, states = record.task_id, ended.lines
    ended.names[task_id] = record.function
    final = steps.verdict(record, states, timestamp(now()))
    if final is not None:
        final.followers = record.followers
        states[task_id] = final
        return
    failure = None if record.immutable else steps.failure_for(record, states)
    if record.after is not None or record.after_failure:
        record = steps.given(record, states)
    if task is None:
        states[task_id] = StateRecord(task_id, SUCCESS, steps.first_argument(record), followers=record.followers)
        return
    states[task_id], raised = _try(task, record, failure)
    if raised:
        ended.raised[task_id] = raised


def _try(
    task: Task[..., Any], record: TaskRecord, failure: StateRecord | None
) -> tuple[StateRecord, BaseException | None]:
    """Run a task until it wants no further try; return its final line, and the exception if it has failed."""
    trace = _Witness(task)
    started = StateRecord(record.task_id, STARTED, None, 1, Request(None).hostname)
    while True:
        claim = Claim(record, started, failure=failure, is_eager=True)
        with nothing_running():
            outcome, _, _ = execute(claim, trace, time.perf_counter())
        if outcome.status != RETRY:
            if task.app.conf.task_store_eager_result and not trace.ignores(claim):
                task.app.backend.store(outcome)
            return outcome, trace.failure
        record = record.changed(outcome.changes or {})
        started = start(outcome, record.task_id, started.worker, "")


def _throw(result: Any, app: Any, options: Mapping[str, Any]) -> None:
    """Raise the failure that a result is, if that is wished."""
    if options.get("throw", app.conf.task_eager_propagates):
        for one in result.leaves() if isinstance(result, ResultSet) else filter(None, [result]):
            if one.failed():
                raise one.to_blame().result


class _Witness(Trace):
    """Remembers the exception itself: a worker's client gets one that was rebuilt from text."""

    failure: BaseException | None = None

    def tell(self, claim: Claim, outcome: StateRecord, value: Any, failure: BaseException | None) -> None:
        """Remember how the last try has ended."""
        self.failure = failure
        super().tell(claim, outcome, value, failure)
