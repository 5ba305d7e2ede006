"""Posts workflows: the steps of a plan become records, and go into the queue files so that a crash strands none of them.

1. A workflow whose records go into one file is there as a whole or not at all.
2. If they go into several, a record is written before those that it waits for: what a crash leaves waits, and never runs.
3. A workflow that begins in several files begins with one empty step, which is written last.

It does not know what shape a workflow has, only its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby
from typing import Any

from pmtq.canvas import Signature
from pmtq.claim import Claim
from pmtq.clock import now
from pmtq.exceptions import Replaced
from pmtq.ids import derived_task_id, ids_in
from pmtq.plan import Feed, Node, Plan, Step
from pmtq.records import StateRecord, TaskRecord, timestamp
from pmtq.result import AsyncResult, GroupResult
from pmtq.states import REVOKED
from pmtq.steps import GATHER

Call = tuple[TaskRecord, str, bool]
"""A record, its queue, and whether it must survive a power cut."""
_REPLACED = (
    "function", "params", "args", "each", "after", "after_failure", "immutable", "countdown", "eta", "expires",
    "time_limit", "soft_time_limit", "ignore_result", "headers", "shadow",
)  # fmt: skip
"""The fields of a record that are other ones when its task goes on as another."""


def calls_of(plan: Plan, record_of: Callable[..., Call], parent: Claim | None = None) -> list[Call]:
    """Return the records of a plan, in its order.

    ``record_of`` makes a record of a call; ``parent`` is the task that posts them while it runs.
    """
    made: dict[str, Call] = {}
    first = plan.steps[0].task_id if plan.steps else ""
    root = (parent.record.root_id or parent.record.task_id) if parent else first
    for step in plan.steps:
        record, queue, durable = _call_of(step, record_of, made)
        record.root_id = record.root_id or root
        record.parent_id = record.parent_id or step.parent_id
        record.after, record.after_failure, record.each = step.after, step.after_failure, step.each
        record.immutable = step.immutable and step.waits
        record.followers = step.followers or None
        made[step.task_id] = record, queue, durable
    return list(made.values())


def _call_of(step: Step, record_of: Callable[..., Call], made: dict[str, Call]) -> Call:
    options = {**step.options, "task_id": step.task_id}
    countdown = options.pop("countdown", None) if step.waits else None
    if not isinstance(step.task, str) and not step.after_failure and not step.each:
        step.task.require_fitting((*([None] if step.is_fed else []), *step.args), step.kwargs)
    record, queue, durable = record_of(step.task, step.args, step.kwargs, options, waits=step.waits)
    if countdown:
        record.countdown = float(countdown)
    if step.task == GATHER:  # it stands where the first of those stands that it waits for: that file is served
        before = next((made[one] for one in ids_in(step.after) if one in made), None)
        if before:
            record.priority, queue, durable = before[0].priority, before[1], before[2]
    return record, queue, durable


def in_safe_order(calls: list[Call]) -> list[list[Call]]:
    """Return the calls in the order in which they may be written, those together that go into one file at once."""
    begins = [call for call in calls if call[0].after is None and not call[0].after_failure]
    if len({_file(call) for call in begins}) > 1:
        calls = [_beginning(begins), *calls]
    return [list(some)[::-1] for _, some in groupby(reversed(calls), _file)]


def _file(call: Call) -> tuple[str, int]:
    record, queue, _ = call
    return queue, record.priority


def _beginning(begins: list[Call]) -> Call:
    """Return an empty step, and have all that begins a workflow wait for it."""
    (first, queue, _), durable = begins[0], any(call[2] for call in begins)
    followers = [record.task_id for record, _, _ in begins]
    task_id = derived_task_id(" ".join(followers))
    start = TaskRecord(task_id=task_id, function=GATHER, sent=timestamp(now()), after=[], root_id=first.root_id)
    start.priority, start.followers = first.priority, followers
    for record, _, _ in begins:
        record.after, record.immutable = start.task_id, True
    return start, queue, durable


def called_off(calls: list[Call], made: AbstractSet[str], why: Exception) -> list[StateRecord]:
    """Return the lines that end a workflow which could be posted only in part; none if it goes into one file.

    Without them the steps that were written would wait for ever. Only those that were ``made`` for this posting are ended: by
    ids that the caller has chosen the workflow can be posted again, and that makes it whole.
    """
    if len({_file(call) for call in calls}) == 1:
        return []
    at, message = timestamp(now()), f"its workflow could not be posted whole: {why}"
    error = {"type": "pmtq.exceptions.TaskRevokedError", "message": message}
    return [
        StateRecord(record.task_id, REVOKED, at=at, error=error) for record, _, _ in calls if record.task_id in made
    ]


def promise_of(node: Node, make: Callable[[str, Any], AsyncResult[Any]]) -> Any:
    """Return what the caller keeps of a workflow; ``make`` makes a result of an id and a parent.

    Each result knows the one before it as its parent, up to the first. Of an empty chain it is None. A group whose only
    member ends in a group is that group, as in Celery.
    """
    if not node.id:
        return None
    promise = _promise_of(node, make, {})
    if isinstance(promise, GroupResult) and len(promise) == 1 and isinstance(promise[0], GroupResult):
        return promise[0]
    return promise


def _promise_of(node: Node, make: Callable[[str, Any], AsyncResult[Any]], made: dict[int, Any]) -> Any:
    line: list[Node] = []
    above: Node | None = node
    while above and id(above) not in made:  # no recursion: a chain may have thousands of steps
        line.append(above)
        above = above.parent
    for one in reversed(line):
        parent = made[id(one.parent)] if one.parent else None
        if one.members is None:
            made[id(one)] = make(one.id, parent)
        else:
            members = [_promise_of(member, make, made) for member in one.members]
            made[id(one)] = GroupResult(one.id, members, parent)
    return made[id(node)]


def lay_out(
    sig: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Plan, Node]:
    """Return the steps of a signature that is called, and what comes out of them."""
    plan = Plan({**sig.options, **options}.get("task_id") or "")
    return plan, sig.lay_out(plan, Feed(), args, kwargs, **options)


def replace(
    sig: Signature, claim: Claim, record_of: Callable[..., Call], post: Callable[[list[Call], AbstractSet[str]], None]
) -> Replaced:
    """Have the running task go on as ``sig`` under its own id: post what it waits for from now on; return what to raise.

    A single call of the same queue takes the task's place. Of anything else the task gathers the value.
    """
    task_id = claim.record.task_id
    calls: list[Call] = []
    if sig.subtask_type is None:
        plan = Plan()
        sig.lay_out(plan, Feed(), task_id=task_id)
        calls = calls_of(plan, record_of, claim)
    if not calls or calls[0][1] != claim.queue:
        plan = Plan()
        plan.gather(sig.lay_out(plan, Feed(), task_id=None), task_id)
        calls = calls_of(plan, record_of, claim)
    own = next(record for record, _, _ in calls if record.task_id == task_id)
    post([call for call in calls if call[0] is not own], plan.made)
    again = Replaced(f"goes on as {sig!r:.200}", when=own.eta or timestamp(now()))
    again.changes = {name: getattr(own, name) for name in _REPLACED} | {"replaced": True}
    again.changes["followers"] = [*(claim.record.followers or ()), *(own.followers or ())] or None
    return again


def add_to_chord(
    sig: Signature, claim: Claim, record_of: Callable[..., Call]
) -> tuple[list[Call], AbstractSet[str], Node]:
    """Have those that wait for the running task wait for ``sig`` too; return its calls, and what comes out of them.

    Between them stand the ids that were made for that, see ``Plan.made``.

    Raises ``ValueError`` if nothing waits for the task as for the member of a group.
    """
    waiting = claim.record.followers
    if not claim.record.group_id or not waiting:
        raise ValueError(
            f"task {claim.record.task_id} is in no chord's header, so nothing can be added to it. Nothing was queued. "
            "Call add_to_chord in a task of a header"
        )
    plan = Plan()
    node = sig.lay_out(plan, Feed())
    ends = set(ids_in(node.tree))
    for step in plan.steps:
        if step.task_id in ends:
            step.followers += waiting
            step.options["group_id"] = claim.record.group_id
    return calls_of(plan, record_of, claim), plan.made, node
