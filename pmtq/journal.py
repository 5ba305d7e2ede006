"""A journal is a text file that many processes append lines to, and read from where they left off.

1. Who appends holds the lock of ``<name>.lock``; so does ``flock(1)`` in a shell and ``FileLock`` in a script.
2. A line, once there, is never changed in place. Readers need no lock: they stop at the last newline.
3. The file may be renamed or replaced under us (by sealing, by an editor): after locking, the folder is asked whether
   any name in it has changed, and if so ours is looked up again.

It does not know what the lines mean.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pmtq import disk
from pmtq.exceptions import OperationalError
from pmtq.fork import put_in_order_after_fork
from pmtq.glance import Glance
from pmtq.group_commit import GroupCommit

CHUNK = 64 * 1024
"""Bytes read at a time: some hundred records. With four times as many, each cost a third more at a large backlog."""


LINE = 4096
"""Bytes read at a time when one line is wanted; most are shorter."""


class Journal:
    """One such file, as one process sees it. Threads may share it."""

    def __init__(self, path: Path, successor: Path | None = None) -> None:
        """Name the file; nothing is opened or created yet.

        ``successor`` is a complete file that takes the name when the file is missing: what a sealing leaves that
        died between its two renames.
        """
        self._descriptor = self._lock_descriptor = -1
        self._glance = Glance(path.parent)
        self.path = path
        self.lock_path = path.with_name(path.name + ".lock")
        self._successor = successor
        self._inode = 0
        self._end = 0
        """Where the file ended when it was looked at last …"""
        self._clean_end = -1
        """… and where it ended, with a newline, after our own last write."""
        self._commit: GroupCommit | None = None
        """Through which those wait who want the open file on the disk."""
        self._threads = threading.Lock()
        put_in_order_after_fork(self)

    @contextmanager
    def hold(self, patience: float | None = None) -> Iterator[None]:
        """Hold the file's lock against all threads and processes; the open file is the one that has the name.

        Raises ``LockHeld`` if somebody else still has it after ``patience`` seconds; None waits for ever.
        """
        with self._threads:
            self._lock(patience)
            try:
                # Someone may have emptied the folder, and a lock on a file without a name excludes nobody. `append`
                # does without this look: the system keeps single writes apart anyway, and it would cost a tenth.
                if os.name == "posix" and os.fstat(self._lock_descriptor).st_nlink == 0:
                    self.close()
                    self._lock(patience)
                yield
            finally:
                if self._lock_descriptor >= 0:
                    disk.unlock(self._lock_descriptor)

    def append(self, lines: bytes, *, durable: bool = False) -> None:
        """Add whole ``lines`` (each ending in a newline) under the lock; all of them stand in the file, or none.

        With ``durable`` it returns only when they would survive a power cut. Raises ``OperationalError``.
        """
        with self._threads:
            self._lock()
            try:
                if durable:
                    commit = self._commit = self._commit or GroupCommit(self._descriptor, self.path)
                    lines = (b"\n" if (known := commit.error) else b"") + lines  # the newline before it may be lost
                self.write(lines)
                if durable:
                    wait = commit.join(known)
            finally:
                disk.unlock(self._lock_descriptor)
        if durable:
            wait()

    def write(self, lines: bytes) -> int:
        """Append while already holding the lock; return the offset behind the last byte.

        A last line that somebody left without a newline is ended first, so that it cannot swallow ours.
        """
        end = self._end
        if end and end != self._clean_end and disk.read_at(self._descriptor, 1, end - 1) != b"\n":
            lines = b"\n" + lines
        disk.append(self._descriptor, lines, self.path, end)
        self._end = self._clean_end = end + len(lines)
        return self._end

    def read(self, offset: int, size: int = CHUNK, longest: int | None = None) -> bytes:
        """Return the whole lines that begin at ``offset``: about ``size`` bytes, more if one line is longer.

        Empty when no whole line stands there, or when it is longer than ``longest`` bytes.
        """
        data = self.read_bytes(offset, size)
        while (end := data.rfind(b"\n") + 1) == 0 and len(data) == size and (longest is None or size < longest):
            size *= 4
            data = self.read_bytes(offset, size)
        return data[:end]

    def read_bytes(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``, whole lines or not; none if no file is open."""
        return disk.read_at(self._descriptor, size, offset) if self._descriptor >= 0 else b""

    def read_line(self, offset: int) -> bytes:
        """Return the line that begins at ``offset``, which is a whole one."""
        lines = self.read(offset, LINE)
        return lines[: lines.index(b"\n") + 1]

    def size(self) -> int:
        """Return the length in bytes of the file that is open."""
        return os.fstat(self._descriptor).st_size if self._descriptor >= 0 else 0

    def refresh(self) -> int:
        """Open the file that has the name now, unless it is open already; return its inode, 0 if there is none.

        A changed number tells a reader that its offsets speak of another file.
        """
        if self._descriptor >= 0 and self._glance.shows_no_change():
            self._end = os.lseek(self._descriptor, 0, os.SEEK_END)
            return self._inode
        try:
            self._glance.take()
            # While the old file is open its inode cannot be given to another, so the number tells them apart.
            status = disk.status(self.path)
            if status.st_ino != self._inode or self._descriptor < 0:
                self._open(create=False)
            self._end = status.st_size
        except FileNotFoundError:
            self._glance.close()
            return 0
        return self._inode

    def set_aside(self, target: Path) -> Journal:
        """Rename the file to ``target``, while holding the lock; return the new, empty one that takes its name.

        This journal goes on reading the old file until it is refreshed.
        """
        disk.rename(self.path, target)
        fresh = Journal(self.path)
        fresh._open(create=True)
        return fresh

    def sync(self) -> None:
        """Return once everything in the file would survive a power cut."""
        try:
            disk.fsync(self._descriptor)
        except OperationalError as error:
            if self._commit:
                self._commit.error = error  # reported once per open file, so those who wait for it are not told
            raise

    def close(self) -> None:
        """Give the descriptors back; the next use opens them again."""
        for descriptor in (self._descriptor, self._lock_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock_descriptor = -1
        self._commit = None
        self._glance.close()
        self._inode = 0

    def after_fork(self) -> None:
        """Close a forked child's copies of the descriptors; it opens its own when it needs them."""
        self._threads = threading.Lock()
        self.close()

    def __del__(self) -> None:
        """Close the descriptors of a journal that nobody uses any more."""
        self.close()

    def _lock(self, patience: float | None = None) -> None:
        if self._lock_descriptor < 0:
            self._lock_descriptor = disk.open_file(self.lock_path)
        if patience is None:
            disk.lock(self._lock_descriptor)
        elif not disk.try_lock(self._lock_descriptor, patience):
            raise disk.lock_held(self.lock_path, self._lock_descriptor)
        try:
            if not self.refresh():
                if self._successor and disk.exists(self._successor):
                    disk.rename(self._successor, self.path)
                self._open(create=True)
        except BaseException:
            disk.unlock(self._lock_descriptor)
            raise

    def _open(self, *, create: bool) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._commit = -1, None
        self._descriptor = disk.open_file(self.path, create=create)
        status = os.fstat(self._descriptor)
        self._inode, self._end, self._clean_end = status.st_ino, status.st_size, -1
