"""Brings one file to the disk for all who wait for that, as seldom as possible.

1. Whoever waits has written before. One ``fsync`` serves all who had written when it began; who comes later waits for the
   next one, together with all others who come meanwhile.
2. The lock of the file is free by then: others append while some wait, and waits of several processes reach the file
   system at the same time, which joins them in its own journal.
3. If it fails, it has failed for all who had written by then, those too who wrote while it went on: the kernel reports such
   an error once and takes the lost bytes for written, so that the next success says nothing about them.
4. That success is believed by those who wrote after the failure, for the kernel has their bytes only since then. A database
   must not go on (https://lwn.net/Articles/752063/), because it counts on all it wrote before; here each line is for itself.

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
    """The latest refusal when it was served; it may be an older one than that of its own ``fsync``."""


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
        self.error: OperationalError | None = None
        """The latest refusal of the disk. What was written before it may be lost, the last newline included."""

    def join(self, known: OperationalError | None) -> Wait:
        """Return how to wait for what the caller has just written; to be called while the file's lock is held.

        ``known`` is the ``error`` that there was before it wrote. Any other one may be about what it wrote.
        """
        return partial(self._wait, self._open, known)

    def _wait(self, batch: _Batch, known: OperationalError | None) -> None:
        with self._turn:  # whoever waits here finds the work done, unless it is the first of its batch
            if not batch.is_done:
                self._open = _Batch()
                try:
                    self._bring_to_disk()
                except OperationalError as error:
                    self.error = error
                except BaseException:  # Ctrl-C or a time limit, which may have swallowed what the kernel reported
                    broken_off = InterruptedError("broken off")
                    self.error = disk.cannot("bring to the disk", self._path, broken_off, disk.UNSAFE)
                    raise
                finally:
                    batch.error, batch.is_done = self.error, True
        if batch.error and batch.error is not known:
            raise OperationalError(*batch.error.args) from batch.error

    def _bring_to_disk(self) -> None:
        disk.fsync(self._descriptor)
        # Folders may be tried again: a file system that cannot write its own notes keeps them, or refuses all from then on
        # (https://docs.kernel.org/admin-guide/xfs.html, "Error handling").
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
