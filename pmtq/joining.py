"""Says whether a task that runs here may wait for another one, which could keep all workers waiting for each other.

It does not know how one waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pmtq.request import running

_may_join: ContextVar[bool] = ContextVar("may_join", default=False)


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Let tasks that run here wait for others, although that may use up all workers with waiting."""
    token = _may_join.set(True)
    try:
        yield
    finally:
        _may_join.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Take that back for a while."""
    token = _may_join.set(False)
    try:
        yield
    finally:
        _may_join.reset(token)


def require_may_join() -> None:
    """Raise ``RuntimeError`` inside a task that was not allowed to wait for others."""
    claim = running.get()
    if claim is not None and not claim.is_eager and not _may_join.get():  # an eager one keeps no worker
        raise RuntimeError(
            "get() inside a task waits for a worker while it keeps one: with all of them waiting nothing would go on. "
            "Let the next task follow by a workflow, or, if you know that workers are left: get(disable_sync_subtasks=False)"
        )
