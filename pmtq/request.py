"""What a running task can know about its own call: ``self.request``, as in Celery.

1. Each thread and each asyncio task has its own; outside of a task it is empty.
2. It is made when it is asked for: most tasks never do.

It does not know how a task is run, nor what becomes of it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pmtq.claim import Claim
from pmtq.folder import DEFAULT_QUEUE

running: ContextVar[Claim | None] = ContextVar("running", default=None)
"""The claim of the task that runs here; None outside of tasks."""
directly: ContextVar[Any] = ContextVar("directly", default=None)
"""The task that the running one has called as a function: it has no request, and what it posts is the running one's."""


def own_claim() -> Claim | None:
    """Return the claim of the task whose code this is; None outside of tasks, and in one that is called directly."""
    return running.get() if directly.get() is None else None


@contextmanager
def called_directly(task: Any) -> Iterator[None]:
    """Let what happens here be a plain call of ``task``'s function."""
    token = directly.set(task)
    try:
        yield
    finally:
        directly.reset(token)


@contextmanager
def nothing_running() -> Iterator[None]:
    """Let what happens here be no part of the task that runs."""
    token = running.set(None)
    try:
        with called_directly(None):
            yield
    finally:
        running.reset(token)


class Request:
    """The call that is being run, with Celery's names for its parts."""

    chain = chord = callbacks = errbacks = reply_to = None
    replaced_task_nesting = 0

    def __init__(self, claim: Claim | None) -> None:
        """Look at the claim; None for a function that is called directly."""
        self._claim = claim

    @property
    def called_directly(self) -> bool:
        """Whether the function was called here and now, not run as a task."""
        return self._claim is None

    @property
    def id(self) -> str | None:
        """The task's id."""
        return self._claim.record.task_id if self._claim else None

    @property
    def correlation_id(self) -> str | None:
        """The same: a folder needs no second name for a message."""
        return self.id

    @property
    def task(self) -> str | None:
        """The function's name in the record."""
        return self._claim.record.function if self._claim else None

    @property
    def args(self) -> Sequence[Any]:
        """The positional arguments."""
        return list(self._claim.record.arguments()[0]) if self._claim else []

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments."""
        return dict(self._claim.record.arguments()[1]) if self._claim else {}

    @property
    def retries(self) -> int:
        """How often it was tried before: 0 the first time. A worker's death is no retry; see ``attempt``."""
        return self._claim.record.retries + self._claim.started.retries if self._claim else 0

    @property
    def attempt(self) -> int:
        """How often it was started, this time included."""
        return self._claim.started.attempt if self._claim else 0

    @property
    def redelivered(self) -> bool:
        """Whether an earlier start ended in its worker's death or in ``Reject(requeue=True)``."""
        return self._claim is not None and self.attempt - self._claim.started.retries > 1

    @property
    def is_eager(self) -> bool:
        """Whether it runs in the caller's process, by ``apply`` or ``task_always_eager``."""
        return self._claim is not None and self._claim.is_eager

    @property
    def eta(self) -> str | None:
        """The time before which it was not to run, RFC 3339."""
        return (self._claim.record.eta or None) if self._claim else None

    @property
    def expires(self) -> str | None:
        """The time from which on it was not to run any more, RFC 3339."""
        return (self._claim.record.expires or None) if self._claim else None

    @property
    def sent(self) -> str | None:
        """When it was posted, RFC 3339; None for a record typed by hand."""
        return (self._claim.record.sent or None) if self._claim else None

    @property
    def hostname(self) -> str:
        """The name of the worker that runs it."""
        return self._claim.started.worker if self._claim else f"{os.getpid()}@{socket.gethostname()}"

    @property
    def queue(self) -> str:
        """The queue it was taken from."""
        return self._claim.queue if self._claim else DEFAULT_QUEUE

    @property
    def delivery_info(self) -> dict[str, Any]:
        """Where it came from: queue (``routing_key``), priority, and whether it is a second delivery."""
        priority = self._claim.record.priority if self._claim else 0
        return {"exchange": "", "routing_key": self.queue, "priority": priority, "redelivered": self.redelivered}

    @property
    def time_limit(self) -> float | None:
        """The call's own hard limit in seconds."""
        return (self._claim.record.time_limit or None) if self._claim else None

    @property
    def soft_time_limit(self) -> float | None:
        """The call's own soft limit in seconds."""
        return (self._claim.record.soft_time_limit or None) if self._claim else None

    @property
    def timelimit(self) -> tuple[float | None, float | None]:
        """Both limits, the hard one first."""
        return self.time_limit, self.soft_time_limit

    @property
    def headers(self) -> dict[str, Any]:
        """What the caller sent along besides the arguments."""
        return dict(self._claim.record.headers or {}) if self._claim else {}

    @property
    def properties(self) -> dict[str, Any]:
        """The same as ``delivery_info``: a file has no envelope of its own."""
        return self.delivery_info

    @property
    def ignore_result(self) -> bool:
        """Whether the call asked for its value to be thrown away."""
        return bool(self._claim and self._claim.record.ignore_result)

    @property
    def shadow(self) -> str | None:
        """The name that logs show instead of the function's."""
        return (self._claim.record.shadow or None) if self._claim else None

    @property
    def origin(self) -> str | None:
        """Not recorded: any program may have written the line."""
        return None

    @property
    def parent_id(self) -> str | None:
        """The task that posted this one while it ran."""
        return (self._claim.record.parent_id or None) if self._claim else None

    @property
    def root_id(self) -> str | None:
        """The first task in the line of parents; its own id if it is the first."""
        return (self._claim.record.root_id or self._claim.record.task_id) if self._claim else None

    @property
    def group(self) -> str | None:
        """The group it belongs to."""
        return (self._claim.record.group_id or None) if self._claim else None

    @property
    def followers(self) -> list[str]:
        """The ids of the tasks that wait for this one."""
        return list(self._claim.record.followers or []) if self._claim else []

    @property
    def children(self) -> list[str]:
        """The ids of the tasks it has posted so far."""
        return list(self._claim.children or []) if self._claim else []

    def get(self, name: str, default: Any = None) -> Any:
        """Return a part by name, or a header of that name, else ``default``."""
        return getattr(self, name, default)

    def __getattr__(self, name: str) -> Any:
        """Return the header called ``name``."""
        headers = self.headers
        if name in headers:
            return headers[name]
        raise AttributeError(
            f"a request has no part and no header called {name!r}; it has the headers {sorted(headers)}"
        )

    def __repr__(self) -> str:
        """Return Celery's form, with what tells calls apart."""
        return f"<Request: {self.task} {self.id} retries={self.retries}>" if self._claim else "<Request: none>"
