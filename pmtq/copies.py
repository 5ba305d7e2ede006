"""Ends the copy of a worker that comes back from a task whose function has forked.

1. A child that a task forks has a copy of the whole worker, with the tasks that it has claimed: it must not work on.
2. What the child does inside the function is the task's own affair; only one that returns from it is ended.

It does not know whether anybody waits for the child.
"""

from __future__ import annotations

import logging
import os
from typing import NoReturn

from pmtq.claim import Claim
from pmtq.fork import put_in_order_after_fork
from pmtq.request import running

logger = logging.getLogger("pmtq.worker")


class _Marker:
    """Marks what runs in a child that was forked while it ran."""

    def after_fork(self) -> None:
        claim = running.get()
        if claim is not None and not claim.is_eager:
            claim.is_copy = True


_marker = _Marker()
put_in_order_after_fork(_marker)


def end_copy(claim: Claim, failure: BaseException | None) -> NoReturn:
    """End this process, the child of a worker, with the status that the function has asked for by ``sys.exit``."""
    logger.error(
        "Task %s %s has forked, and its child, process %d, came back from the function. It was ended; the worker goes on. Have "
        "a child end in the function: os._exit(0)",
        claim.record.function,
        claim.record.task_id,
        os.getpid(),
    )
    code = failure.code if isinstance(failure, SystemExit) else failure
    os._exit(code & 0xFF if isinstance(code, int) else int(code is not None))  # the system keeps eight bits
