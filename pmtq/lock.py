"""A kernel lock on a file of its own: who has it says so by being alive, and nobody need take it back.

1. The kernel frees it when the process ends, however it ends.
2. A forked child has no part in it.

It does not know what it guards.
"""

from __future__ import annotations

import os
from pathlib import Path

from pmtq import disk
from pmtq.exceptions import OperationalError
from pmtq.fork import put_in_order_after_fork


class Lock:
    """One such lock, as one thread sees it. Two of them on one file exclude each other, in one process too."""

    def __init__(self, path: Path) -> None:
        """Name the file, which is made when the lock is first taken and stays."""
        self.path = path
        self._descriptor = -1
        put_in_order_after_fork(self)

    def take(self, patience: float | None = None) -> bool:
        """Wait for it up to ``patience`` seconds (None: as long as it takes); say whether it is ours now.

        One that is ours already stays ours, unless somebody has removed the file: then it is taken anew.
        """
        if self.is_held():
            return True
        while True:
            self.free()
            descriptor = disk.open_file(self.path)
            try:
                if patience is None:
                    disk.lock(descriptor)
                elif not disk.try_lock(descriptor, patience):
                    os.close(descriptor)
                    return False
            except OperationalError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
            if self.is_held():
                return True

    def is_held(self) -> bool:
        """Say whether it is ours: a lock on a file that has lost its name excludes nobody."""
        return self._descriptor >= 0 and (os.name != "posix" or os.fstat(self._descriptor).st_nlink > 0)

    def write(self, text: str) -> None:
        """Leave a note in the file about who has the lock, for people; hold it."""
        disk.truncate(self._descriptor)
        disk.append(self._descriptor, text.encode(), self.path, 0)

    def free(self) -> None:
        """Let go of it; once is enough."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def after_fork(self) -> None:
        """Let go of a forked child's copy, so that the lock ends with its owner."""
        self.free()


def is_free(path: Path) -> bool:
    """Say whether nobody holds the lock of a file at this moment."""
    try:
        descriptor = disk.open_file(path, create=False)
    except FileNotFoundError:
        return True
    try:
        return disk.try_lock(descriptor)
    finally:
        os.close(descriptor)
