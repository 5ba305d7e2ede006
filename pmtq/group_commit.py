"""Brings one file to the disk for all who wait for that, as seldom as possible.

1. Whoever waits has written before. One ``fsync`` serves all who had written when it began; who comes later waits for the
   next one, together with all others who come meanwhile.
2. The lock of the file is free by then: others append while some wait, and waits of several processes reach the file
   system at the same time, which joins them in its own journal.
3. If it fails, it has failed for all whom it was for: the kernel reports such an error once, and no later success
   takes it back (https://lwn.net/Articles/752063/).

It does not know what was written.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path
from typing import Protocol

from pmtq import disk
from pmtq.exceptions import OperationalError


class Wait(Protocol):
    """Something to be called without any lock."""

    def __call__(self) -> None:
        """Return when the file is on the disk. Raises ``OperationalError``."""


class _Batch:
    """Those whom one ``fsync`` serves."""

    is_done = False
    error: OperationalError | None = None


class GroupCommit:
    """The waits for one open file. Threads share it; a file that takes the same name later gets its own."""

    _descriptor = -1

    def __init__(self, descriptor: int, path: Path) -> None:
        """Take the open file, and the path by which it is to be found after a power cut."""
        # Of our own, because the journal closes its descriptor as soon as another file has the name.
        self._descriptor = disk.duplicate(descriptor)
        self._path = path
        self._has_its_name = False
        """Whether the folder is known to name the file on the disk too; once is enough."""
        self._turn = threading.Lock()
        self._open = _Batch()

    def join(self) -> Wait:
        """Return how to wait for what the caller has just written; to be called while the file's lock is held."""
        return partial(self._wait, self._open)

    def _wait(self, batch: _Batch) -> None:
        with self._turn:  # whoever waits here finds the work done, unless it is the first of its batch
            if not batch.is_done:
                self._open = _Batch()
                try:
                    self._bring_to_disk()
                except OperationalError as error:
                    batch.error = error
                batch.is_done = True
        if batch.error:
            raise OperationalError(*batch.error.args) from batch.error

    def _bring_to_disk(self) -> None:
        disk.fsync(self._descriptor)
        if not self._has_its_name:
            folder = self._path.parent
            disk.fsync_folder(folder)
            if os.access(folder.parent, os.R_OK):  # the folder may be as new as the file
                disk.fsync_folder(folder.parent)
            self._has_its_name = True

    def __del__(self) -> None:
        """Close the file when neither the journal nor anybody who waits has it any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
