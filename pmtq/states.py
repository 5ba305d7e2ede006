"""The words for where a task stands, and which of them are the last one.

A task is **owed** exactly when it stands in a queue file and no final state is known for it.

The life of a task, as lines in ``results.jsonl`` (PENDING is the absence of any line)::

    PENDING ──> STARTED ──> SUCCESS | FAILURE | REJECTED | IGNORED    final
       │  ^        │
       │  └────────┴──────> RELEASED | LOST | RETRY                   owed again
       └──────────────────> REVOKED | REJECTED | IGNORED              final, without having run

Any other word is a state of the task's own, such as PROGRESS: it reports, and whoever held the task holds it still.
"""

from __future__ import annotations

PENDING = "PENDING"
"""Nothing is known about the task: it waits, or no such task was ever sent."""
STARTED = "STARTED"
"""A worker holds it. While that worker lives, nobody else may run it."""
RELEASED = "RELEASED"
"""The worker gave it back without having begun it. The start does not count."""
LOST = "LOST"
"""The worker died while running it. The start counts."""
RETRY = "RETRY"
"""It ended with the wish to run again; ``eta`` says when."""
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
"""Called off, or expired, before it ran to an end."""
REJECTED = "REJECTED"
"""What stood in the queue file is no task record (its bytes are in ``rejected.jsonl``), or the task refused its call."""
IGNORED = "IGNORED"
"""It has no result and is not to have one: the task said so, or the same call was owed already."""
FORGOTTEN = "FORGOTTEN"
"""A client asked for the result to be removed; the task itself is as final as it was."""
ERASED = "ERASED"
"""All that is left of a forgotten task: that it has ended, so that it is not run again. Clients are told PENDING."""

FINAL_STATES = frozenset({SUCCESS, FAILURE, REVOKED, REJECTED, IGNORED, ERASED})
"""The first record of a task with one of these decides; later ones are ignored."""
WAITING_STATES = frozenset({PENDING, RELEASED, LOST})
"""What a client is told as PENDING: nobody holds the task, and it may be claimed at once."""
EXCEPTION_STATES = frozenset({FAILURE, REVOKED, REJECTED, IGNORED})
"""Final states whose result is an exception."""
