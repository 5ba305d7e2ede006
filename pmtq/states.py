"""The words for where a task stands, and which of them are the last one.

A task is **owed** exactly when it stands in a queue file and no final state is known for it.

The life of a task, as lines in ``results.jsonl`` (PENDING is the absence of any line)::

    PENDING ──> STARTED ──> SUCCESS | FAILURE          final
       │  ^        │
       │  └────────┴──────> RELEASED | LOST | RETRY    owed again
       └──────────────────> REVOKED | REJECTED         final, without having run
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
"""It ended with the wish to run again; ``eta`` says when. Read by this version, and not written yet."""
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
"""Called off, or expired, before it ran to an end."""
REJECTED = "REJECTED"
"""What stood in the queue file is no task record; its bytes are in ``rejected.jsonl``."""

FINAL_STATES = frozenset({SUCCESS, FAILURE, REVOKED, REJECTED})
"""The first record of a task with one of these decides; later ones are ignored."""
WAITING_STATES = frozenset({PENDING, RELEASED, LOST})
"""What a client is told as PENDING: nobody holds the task, and it may be claimed at once."""
EXCEPTION_STATES = frozenset({FAILURE, REVOKED, REJECTED})
"""Final states whose result is an exception."""
