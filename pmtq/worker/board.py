"""What is to be seen of a consumer from outside while it works: whether it is busy, and which task may run until when.

1. A thread's board is an object. A child process writes into memory that its parent shares: the parent must be able to
   read it even when the child can do nothing any more.
2. The child writes, the parent reads, each field in one step: there is no lock that a dead child could keep.
3. Before a task with a hard limit begins, the line stands there with which it is to end if it takes longer.

It does not know what is done with the knowledge.
"""

from __future__ import annotations

import contextlib
import logging
import math
import mmap
import os
import signal
import struct
import time
from typing import Any

from pmtq.claim import Claim
from pmtq.ledger import carry
from pmtq.records import MAX_RECORD_BYTES, StateRecord, decode_state, encode
from pmtq.request import running
from pmtq.states import FAILURE

logger = logging.getLogger("pmtq.worker")

_BUSY, _NEXT_LOOK, _DEADLINE, _LENGTH, _LINE = 0, 8, 16, 24, 32
"""Where the fields begin."""
_SIZE = MAX_RECORD_BYTES + 64 * 1024
"""Room for the ids of all that a record can name as waiting for it; the system gives memory for what is used of it."""
_POKE = getattr(signal, "SIGCHLD", None)


class Board:
    """The board of a consumer in the process of whoever looks at it."""

    def __init__(self, told: set[str] | None = None) -> None:
        """Say once for each function that its hard limit is not kept here, but for those that are ``told`` already."""
        self._told = set() if told is None else told
        self._busy = False

    @property
    def busy(self) -> bool:
        """Whether the consumer has a task to run."""
        return self._busy

    @busy.setter
    def busy(self, busy: bool) -> None:
        self._busy = busy

    def hard_limit(self, _task_id: str, seconds: float) -> None:
        """Be told that the running task may take ``seconds``, or, with 0, that it has ended."""
        claim = running.get()
        if claim and seconds and claim.record.function not in self._told:
            self._told.add(claim.record.function)
            logger.warning(
                "The time limit of %g s of a call of %s is not kept: a task can only be ended together with its process. "
                "Start the worker with -P prefork",
                seconds,
                claim.record.function,
            )

    def looks_again(self, at: float) -> None:
        """Let the consumer know when somebody looks at the board next, in seconds of ``time.monotonic``."""

    def deadline(self) -> float:
        """Return until when the running task may go on, in seconds of ``time.monotonic``; infinite without a limit."""
        return math.inf

    def line_at_the_end(self) -> StateRecord | None:
        """Return the line with which the running task ends if it takes longer; None if it has no limit."""
        return None


class SharedBoard(Board):
    """The board of a child process, on either side."""

    def __init__(self, context: Any) -> None:
        """Make a board for a child that ``context`` of multiprocessing starts."""
        super().__init__()
        # Memory without a file where that can be inherited, so that a child finds no descriptor it has not opened.
        self._memory = mmap.mmap(-1, _SIZE) if context.get_start_method() == "fork" else context.RawArray("B", _SIZE)
        self._parent = os.getpid()

    @property
    def busy(self) -> bool:
        """Whether the child has tasks to run, as far as it knows."""
        return bool(self._read("?", _BUSY))

    @busy.setter
    def busy(self, busy: bool) -> None:
        self._write("?", _BUSY, busy)

    def hard_limit(self, _task_id: str, seconds: float) -> None:
        """Write down until when the running task may go on, and what is to become of it then; 0: that it has ended."""
        claim = running.get()
        if not seconds or claim is None:
            self._write("d", _DEADLINE, 0.0)
            return
        line = _end_of(claim, seconds)
        self._write("I", _LENGTH, len(line))
        self._write(f"{len(line)}s", _LINE, line)
        deadline = time.monotonic() + seconds
        self._write("d", _DEADLINE, deadline)  # last: what it speaks of stands there
        if deadline < self._read("d", _NEXT_LOOK):
            self._poke()

    def looks_again(self, at: float) -> None:
        """Let the child know when its parent looks next."""
        self._write("d", _NEXT_LOOK, at)

    def deadline(self) -> float:
        """Return what the child has written down."""
        return float(self._read("d", _DEADLINE)) or math.inf

    def line_at_the_end(self) -> StateRecord | None:
        """Return what the child has written down."""
        if self.deadline() == math.inf:
            return None
        length = self._read("I", _LENGTH)
        return decode_state(self._read(f"{length}s", _LINE))

    def _poke(self) -> None:
        """Make the parent look now, so that it learns when it must look next."""
        if _POKE and os.getppid() == self._parent:
            with contextlib.suppress(OSError):
                os.kill(self._parent, _POKE)

    def _read(self, what: str, where: int) -> Any:
        return struct.unpack_from(what, self._memory, where)[0]

    def _write(self, what: str, where: int, value: object) -> None:
        struct.pack_into(what, self._memory, where, value)


def _end_of(claim: Claim, seconds: float) -> bytes:
    """Return the line of a task that is ended because it took longer than ``seconds``."""
    message = f"{claim.record.function} ran longer than its time limit of {seconds:g} s, so its process was ended"
    error = {"type": "pmtq.exceptions.TimeLimitExceeded", "message": message}
    started = claim.started
    line = StateRecord(started.task_id, FAILURE, None, started.attempt, started.worker, runtime=seconds, error=error)
    carry(started, line)
    line.record, line.queue, line.followers = claim.record, claim.queue, claim.record.followers
    if len(encoded := encode(line)) > _SIZE - _LINE:
        line.record = None  # it stands in the queue file, as long as that is not cleared
        encoded = encode(line)
    return encoded
