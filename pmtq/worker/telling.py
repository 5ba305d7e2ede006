"""Tells receivers of signals what a worker finds in its queues, and of tasks that end without being run to their end here.

A task is told of once: by whoever wrote its end, or, if its process was ended for it, by the parent of that process.

It does not know how tasks end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pmtq import signals
from pmtq.archive import all_lines
from pmtq.claim import Claim
from pmtq.clock import now
from pmtq.exceptions import NotRegistered
from pmtq.failures import rebuilt
from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.records import StateRecord, epoch
from pmtq.request import Request
from pmtq.revoking import TERMINATED
from pmtq.states import REJECTED, REVOKED
from pmtq.task import Task

Tasks = Mapping[str, Task[..., Any]]


def tell_of_found(
    sender: object,
    claims: Iterable[Claim],
    ended: Iterable[StateRecord],
    unknown: Iterable[tuple[str, str]],
    tasks: Tasks,
) -> None:
    """Tell of what ``sender`` found in the queues: tasks to run, others that it ended, functions that it does not know.

    Each of the ``unknown`` is a function's name and the id of a task.
    """
    if signals.task_received.receivers:
        for claim in claims:
            signals.task_received.send(sender, request=Request(claim))
    tell_of_ended(sender, ended, tasks)
    for name, task_id in unknown:
        error = NotRegistered(f"no task is called {name!r} here", name, tuple(tasks))
        signals.task_unknown.send(sender, message=None, exc=error, name=name, id=task_id)


def tell_of_ended(sender: object, ended: Iterable[StateRecord], tasks: Tasks) -> None:
    """Tell of what ``sender`` found in the queues and ended, because it was not to be run."""
    for final in ended:
        if final.status == REVOKED and (record := final.record):
            _tell(tasks, final, expired=bool(record.expires) and epoch(record.expires) <= now())
        elif final.status == REJECTED:
            signals.task_rejected.send(sender, message=final.task_id, exc=rebuilt(final))


def tell_of_terminated(folder: Folder, worker: str, since: str, signum: int, tasks: Tasks) -> None:
    """Tell of what ``worker`` ran, a process that took its name at ``since``, and was ended together with it."""
    if not signals.task_revoked.receivers:  # else this would be much reading for nothing
        return
    for state in all_lines(Journal(folder.results)):
        is_terminated = state.status == REVOKED and (state.error or {}).get("message") == TERMINATED
        if is_terminated and state.worker == worker and state.at >= since:
            _tell(tasks, state, signum=signum)


def _tell(tasks: Tasks, final: StateRecord, *, signum: int | None = None, expired: bool = False) -> None:
    """Tell of one task, if its call and its function are known."""
    if final.record and (task := tasks.get(final.record.function)):
        request = Request(Claim(final.record, final))
        terminated = signum is not None
        signals.task_revoked.send(task, request=request, terminated=terminated, signum=signum, expired=expired)
