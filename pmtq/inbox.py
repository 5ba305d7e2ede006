"""Where a running worker is told to change something: a file of its own, one command a line.

1. ``{"command":"pool_grow","n":2}``: whoever may write the folder may add one; ``echo`` in a shell will do.
2. A worker looks about once a second, and does what it finds in that order. The file goes when the worker goes.
3. Nothing comes back. What a command has changed shows in ``workers/<name>.json``; one that makes no sense, in the log.

It does not know what the commands mean.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from pmtq import disk
from pmtq.folder import Folder
from pmtq.presence import find_remains

MOST_BYTES = 1024 * 1024
"""So much is read in one look; the rest in the next."""


def tell(folder: Folder, worker: str, command: str, **fields: Any) -> bool:
    """Have the worker called ``worker`` carry out ``command``, with ``fields`` that JSON can hold, within about a second.

    Return False, having written nothing, if no worker of that name is alive. Raises ``OperationalError``.
    """
    if (remains := find_remains(folder, worker)) is not None:
        remains.close(bury=False)
        return False
    line = msgspec.json.encode({"command": command, **fields}) + b"\n"
    path = folder.inbox(worker)
    descriptor = disk.open_file(path)
    try:
        disk.append(descriptor, line, path, os.fstat(descriptor).st_size)  # one write of a short line: no lock needed
    finally:
        os.close(descriptor)
    return True


class Inbox:
    """A worker's own inbox."""

    def __init__(self, folder: Folder, worker: str) -> None:
        """Read the inbox of the worker called ``worker``, from when it took its name."""
        self._path = folder.inbox(worker)
        self._offset = 0

    def commands(self) -> list[dict[str, Any]]:
        """Return the commands that have come since last time; what is no command has the key ``unreadable`` only."""
        try:
            descriptor = disk.open_file(self._path, create=False)
        except FileNotFoundError:
            self._offset = 0
            return []
        try:
            if os.fstat(descriptor).st_size < self._offset:  # another file
                self._offset = 0
            data = disk.read_at(descriptor, MOST_BYTES, self._offset)
        finally:
            os.close(descriptor)
        lines = data[: data.rfind(b"\n") + 1]
        self._offset += len(lines)
        return [_command(line) for line in lines.splitlines() if line.strip()]

    def close(self) -> None:
        """Remove the file, because the worker leaves."""
        disk.remove(self._path)


def _command(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {"unreadable": line.decode(errors="replace")}
