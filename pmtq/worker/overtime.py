"""Ends a child whose task has run longer than its hard limit, and the task with it.

1. It happens under the lock of the results: nobody else finds the child dead and gives its task out again meanwhile.
2. The task fails, and it alone: what the child had taken besides is given out again as if it had never been taken.
3. Whether the task was still running is read off the child's board after the child's end, when nothing can change.

It does not know when to look; the pool does.
"""

from __future__ import annotations

import contextlib
import time
from typing import Protocol

from pmtq.clock import now
from pmtq.exceptions import LockHeld
from pmtq.folder import Folder
from pmtq.inheritance import BEGUN
from pmtq.journal import Journal
from pmtq.presence import Notes
from pmtq.records import StateRecord, encode, timestamp
from pmtq.worker.board import Board

PATIENCE = 1.0
"""Seconds to wait for the lock: it may be the child itself that holds it, stuck in a call that lets no other thread run."""


class Endable(Protocol):
    """A child that can be ended."""

    board: Board

    def kill(self, patience: float = 0.0) -> None:
        """End it; return when it is gone."""


def end_overdue(folder: Folder, child: Endable) -> StateRecord | None:
    """End ``child`` if its task is overdue; return the line with which the task has failed, None if it ended in time."""
    results = Journal(folder.results, successor=folder.next_results)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(results.hold(PATIENCE))
        except LockHeld:
            child.kill()
            stack.enter_context(results.hold())
        if child.board.deadline() > time.monotonic():
            return None
        child.kill()
        if line := child.board.line_at_the_end():
            line.at = timestamp(now())
            results.write(encode(line) + b"\n")
            _note_that_nothing_else_had_begun(folder, line.worker)
        return line


def _note_that_nothing_else_had_begun(folder: Folder, worker: str) -> None:
    notes = Notes(folder.notes(worker))
    notes.add(encode(StateRecord(control=BEGUN, result=False)) + b"\n")  # without room one innocent start counts
    notes.close()
