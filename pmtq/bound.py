"""What the function of a bound task may do with ``self`` while it runs: look at its call, ask for another try, report.

1. Each of these concerns the call that runs here; a task that was called directly as a function has none.
2. A try that asks for another one is over: the call's record stays where it stands, and what is to be different about
   the next try goes into the line that ends this one.

It does not know when the next try comes: ``claim`` does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from pmtq import retry
from pmtq.arguments import Moment, moment
from pmtq.call_options import fill_in
from pmtq.calls import new_record
from pmtq.clock import now
from pmtq.exceptions import MaxRetriesExceededError, OperationalError, Retry
from pmtq.failures import failure_told
from pmtq.ledger import carry
from pmtq.records import StateRecord, timestamp
from pmtq.request import Request, own_claim
from pmtq.states import FAILURE, FINAL_STATES, LOST, RELEASED, RETRY, STARTED

logger = logging.getLogger("pmtq.worker")
_CHANGEABLE = frozenset({"expires", "time_limit", "soft_time_limit", "ignore_result", "shadow", "headers"})
"""Options that may be other ones when a task is tried again: the record itself stays where it stands."""


class Bound:
    """What ``Task`` has for its own function; ``@app.task(bind=True)`` gives the function the task as ``self``."""

    app: Any
    name: str
    max_retries: int | None
    default_retry_delay: float

    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError
    """What ``retry`` and calls may raise, to be caught without an import."""

    @property
    def request(self) -> Request:
        """What is known about the call that runs; of an empty one outside of a worker."""
        return Request(own_claim())

    def retry(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Moment | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """End this try; run the task again later, ``default_retry_delay`` seconds from now unless told otherwise.

        ``args`` and ``kwargs`` replace those of the call, ``options`` such as ``expires`` or ``headers`` too. Write ``raise
        self.retry(exc=error)``: it raises by itself unless ``throw`` is false, but so the reader sees that nothing behind it
        runs. With ``throw=False`` what the function goes on to return or raise is passed over. After ``max_retries`` retries
        (None is the task's own number) it raises ``exc`` instead, or ``MaxRetriesExceededError`` if none is given. In a
        task that was called directly it raises ``exc``.
        """
        claim, request = own_claim(), self.request
        if claim is None:
            raise exc or Retry("a task that is called directly cannot be tried again: use delay or apply")
        most = self.max_retries if max_retries is None else max_retries
        if retry.is_exhausted(request.retries, most):
            if exc:
                raise exc
            raise MaxRetriesExceededError(
                f"{self.name} ({request.id}) was tried {request.retries + 1} times, and max_retries is {most}. "
                "It is not tried again. To have the reason here write self.retry(exc=error)",
                task_args=request.args,
                task_kwargs=request.kwargs,
            )
        if eta is None:
            when = moment(self.default_retry_delay if countdown is None else countdown, now(), "countdown")
        else:
            when = moment(eta, now(), "eta")
        again = Retry("", exc, when)
        again.changes = changes_of(request.args, request.kwargs, args, kwargs, options, now())
        if claim.record.after is not None and "params" in again.changes:
            again.changes["immutable"] = True  # the values of the steps before are among the arguments already
        if throw:
            raise again from exc
        claim.again = again
        return again

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None) -> None:
        """Report how far the task has come: ``state`` is any word, ``meta`` what ``AsyncResult.info`` shows with it.

        Every process sees it at once. ``task_id`` is that of another task, by default of the one that runs.
        """
        claim = own_claim()
        if claim is not None and claim.is_eager and not self.app.conf.task_store_eager_result:
            return
        task_id = task_id or self.request.id
        if not task_id or not state:
            raise ValueError(f"update_state(task_id={task_id!r}, state={state!r}) needs a task that runs, and a state")
        is_own = claim is not None and claim.record.task_id == task_id
        if state in {RETRY, LOST, RELEASED} or (state == STARTED and not is_own):
            raise ValueError(
                f"update_state(state={state!r}) of {task_id} would have another worker run the task, or none. Nothing was "
                "written. Choose another word; to have a task tried again, it calls self.retry()"
            )
        record = StateRecord(task_id, state, meta, at=timestamp(now()))
        if state == FAILURE:
            record.result, record.error = None, failure_told(meta)
        if claim is not None and is_own:
            record.attempt, record.worker = claim.started.attempt, claim.started.worker
            if state in FINAL_STATES:
                record.followers, record.adds = claim.record.followers, claim.adds
            carry(claim.started, record)
        self.app.backend.store(record)

    def send_event(self, type_: str, **fields: Any) -> None:
        """Report something of your own choice; ``pmtq events`` shows it."""
        self.update_state(state=type_, meta=fields or None)


def changes_of(
    old_args: Iterable[Any],
    old_kwargs: Mapping[str, Any],
    args: Iterable[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    now: float,
) -> dict[str, Any]:
    """Return the fields of a record that are other ones when its task is tried again."""
    if lost := options.keys() - _CHANGEABLE:
        logger.warning("retry() cannot change %s: the record stays where it stands, as it is", ", ".join(sorted(lost)))
    options = {name: value for name, value in options.items() if name not in lost}
    given = set(options)
    changed = new_record("", old_args if args is None else args, old_kwargs if kwargs is None else kwargs, now)
    fill_in(changed, options, now)
    if args is not None or kwargs is not None:
        given |= {"params", "args"}
    return {name: getattr(changed, name) for name in changed.__struct_fields__ if name in given}
