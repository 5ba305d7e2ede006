"""How a worker shows that it is alive, and what it leaves behind when it is not.

1. Alive means: the kernel lock on ``workers/<name>.json`` is held. The kernel frees it when the process ends, however
   it ends; there is no heartbeat, and nothing to tune.
2. Outcomes that are not in ``results.jsonl`` yet stand in ``workers/<name>.notes``, from where the finder of a dead
   worker posts them. So a ``kill -9`` repeats the one task that was running, never those that had ended.

It does not know what a task is: notes are lines of bytes.
"""

from __future__ import annotations

import logging
import mmap
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from pmtq import disk
from pmtq.exceptions import OperationalError, WorkerNameTaken
from pmtq.folder import Folder, may_name_worker
from pmtq.fork import put_in_order_after_fork

logger = logging.getLogger("pmtq.worker")

NOTES_BYTES = 256 * 1024
_HEAD_BYTES = 8
"""The notes file begins with the number of bytes that count, as 7 digits and a newline: one aligned machine word,
so that a kill between two instructions leaves the old number or the new one."""


class Presence:
    """A worker's own name: taken when it starts, given back when it leaves or dies."""

    def __init__(self, folder: Folder, name: str, facts: dict[str, Any]) -> None:
        """Take ``name``. ``facts`` are shown to whoever opens the file. Raises ``WorkerNameTaken``."""
        folder.make()
        self.name = name
        self._path = folder.worker(name)
        self._descriptor = -1
        self._facts = dict(facts)
        self._are_shown = False
        self._take_name()
        with self._name_given_back_on_error():
            disk.remove(folder.inbox(name))  # what stands there was said to a namesake that died …
            self._show_facts()  # … and what comes from now on, since it can be seen, is for us
            self.notes = Notes(folder.notes(name))
        put_in_order_after_fork(self)

    def _take_name(self) -> None:
        # Whoever buries a dead namesake unlinks the file after we may have opened it: then it is not ours, again.
        while True:
            self._descriptor = disk.open_file(self._path)
            if not disk.try_lock(self._descriptor, patience=0.1):  # an onlooker may be testing it this instant
                self.after_fork()
                raise WorkerNameTaken(
                    f"a worker called {self.name!r} is already running here. Nothing was changed. "
                    f"Give this one a name of its own: pmtq worker -n {self.name.split('@')[0]}b@%h"
                )
            if os.name != "posix" or os.fstat(self._descriptor).st_nlink:
                break
            os.close(self._descriptor)
        with self._name_given_back_on_error():
            disk.truncate(self._descriptor)  # a dead namesake's facts are not ours

    @contextmanager
    def _name_given_back_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            try:
                disk.remove(self._path)
            finally:
                self.after_fork()
            raise

    def _show_facts(self) -> None:
        self._are_shown = False
        disk.truncate(self._descriptor)
        facts = msgspec.json.format(msgspec.json.encode(self._facts)) + b"\n"
        disk.append(self._descriptor, facts, self._path, 0)
        self._are_shown = True

    def renew(self) -> None:
        """Take the name again if someone removed the file, so that nobody thinks us dead."""
        if os.name != "posix" or (self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink):
            if not self._are_shown:  # the disk was full
                self._show_facts()
            return
        self.after_fork()  # lets go of the file without a name, should it be open
        try:
            self._take_name()
        except WorkerNameTaken as error:
            raise OperationalError(f"{error} Our own file was removed meanwhile.") from error
        with self._name_given_back_on_error():
            self._show_facts()

    def update(self, **facts: Any) -> None:
        """Show other facts to whoever opens the file from now on; while it is written, it is empty for an instant."""
        changed = self._facts | facts != self._facts
        self._facts |= facts
        if changed and self._descriptor >= 0:
            self._show_facts()

    def leave(self) -> None:
        """Remove the name's files. Call it only when every task was ended or given back."""
        self.notes.close()
        disk.remove(self.notes.path)
        disk.remove(self._path)
        os.close(self._descriptor)
        self._descriptor = -1

    def abandon(self) -> None:
        """Free the name and leave its files, as if the process had been killed."""
        self.after_fork()
        self.notes.close()

    def after_fork(self) -> None:
        """Let go of the name in a forked child, so that its parent does not look alive after its death."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Notes:
    """Outcomes a worker has and the results file has not, kept in memory that outlives the process.

    A mapped file costs 0.1 µs a line where a ``write`` costs 1 µs; like a write it survives ``kill -9``, and like an
    unsynced write it does not survive a power cut (then the tasks run again).
    """

    def __init__(self, path: Path) -> None:
        """Open the notes under ``path``; a predecessor's are kept until ``clear``."""
        self.path = path
        descriptor = disk.open_file(path)
        try:
            size = os.fstat(descriptor).st_size
            if size < NOTES_BYTES:  # real zeros, not a hole: a full disk must fail here, not as a bus error later
                disk.append(descriptor, bytes(NOTES_BYTES - size), path, size)
            self._map = mmap.mmap(descriptor, NOTES_BYTES)
        finally:
            os.close(descriptor)
        self._shown_end = memoryview(self._map)[:_HEAD_BYTES].cast("Q")
        """Where the lines end, for whoever reads the file. It is written in one step, after the line that it takes in."""
        self._end = _end_of_lines(self._map[:_HEAD_BYTES])
        self._holds_old = True
        """Whether lines that were cleared may still stand behind the others."""
        self._kept = _HEAD_BYTES

    def add(self, line: bytes) -> bool:
        """Keep one more line; return False, keeping nothing, when it does not fit."""
        end = self._end + len(line)
        if end > NOTES_BYTES:
            return False
        self._map[self._end : end] = line
        self._shown_end[0] = self._end = end
        return True

    def keep(self, line: bytes) -> None:
        """Forget the lines, and begin with this one from now on: whoever buries us is to know it all the time."""
        self._kept = _HEAD_BYTES
        self.clear()
        if self.add(line):
            self._kept = self._end

    def clear(self) -> None:
        """Forget the lines, because they stand in the results file now."""
        if self._end > self._kept:
            self._shown_end[0] = self._end = self._kept
            self._holds_old = True

    def wipe(self) -> None:
        """Leave no byte of the lines that were cleared: what a client wants forgotten may be among them."""
        if self._holds_old:
            self._map[self._end :] = bytes(NOTES_BYTES - self._end)
            self._holds_old = False

    def lines(self) -> list[bytes]:
        """Return the lines that have come since the last ``clear``."""
        return self._map[self._kept : self._end].splitlines()

    def close(self) -> None:
        """Let go of the file."""
        self._shown_end.release()
        self._map.close()


class Remains:
    """What a dead worker left. While this is open nobody else can take the name or bury it."""

    def __init__(self, folder: Folder, name: str, descriptor: int | None) -> None:
        """Use ``find_remains`` instead; ``descriptor`` holds the name's lock, None if the name has no file."""
        self._folder, self._name, self._descriptor = folder, name, descriptor

    def lines(self) -> list[bytes]:
        """Return the outcomes that the dead worker had noted and not posted."""
        return noted(self._folder, self._name)

    def close(self, *, bury: bool) -> None:
        """Free the name; with ``bury`` remove its files first, because all they said has been posted."""
        try:
            if bury and may_name_worker(self._name):
                for path in (self._folder.notes, self._folder.inbox, self._folder.worker):
                    disk.remove(path(self._name))
        except OperationalError as error:
            logger.warning("%s The next worker that looks tries again.", error)
        finally:
            if self._descriptor is not None:
                os.close(self._descriptor)


def noted(folder: Folder, name: str, *, posted: bool = False) -> list[bytes]:
    """Return the outcomes that a worker has noted and not posted.

    With ``posted`` also those before that were not written over yet; the last lines may be torn.
    """
    if not may_name_worker(name):
        return []
    try:
        descriptor = disk.open_file(folder.notes(name), create=False)
    except FileNotFoundError:
        return []
    try:
        data = disk.read_at(descriptor, NOTES_BYTES, 0)
    finally:
        os.close(descriptor)
    end = len(data) if posted else _end_of_lines(data[:_HEAD_BYTES])
    return data[_HEAD_BYTES:end].splitlines()


def find_remains(folder: Folder, name: str) -> Remains | None:
    """Return what the worker called ``name`` left if it is dead, None if it is alive.

    A name that no worker can have, which somebody has typed into a line, is that of a dead one without files.
    """
    if not may_name_worker(name):
        return Remains(folder, name, None)
    try:
        descriptor = disk.open_file(folder.worker(name), create=False)
    except FileNotFoundError:
        return Remains(folder, name, None)
    if not disk.try_lock(descriptor):
        os.close(descriptor)
        return None
    return Remains(folder, name, descriptor)


def living(folder: Folder) -> list[dict[str, Any]]:
    """Return the facts of every worker that is alive, by name."""
    facts = []
    for name in folder.worker_names():
        remains = find_remains(folder, name)
        if remains is None:
            facts += _facts_in(folder.worker(name))
        else:
            remains.close(bury=False)
    return facts


def _facts_in(path: Path) -> list[dict[str, Any]]:
    """Return what stands in a worker's file, under the name of the file; nothing for one that is starting or leaving."""
    for nap in (0.001, 0.01, 0.1, 0.5, 0.0):
        try:
            facts = msgspec.json.decode(disk.read_file(path))
            return [{**(facts if isinstance(facts, dict) else {}), "name": path.name.removesuffix(".json")}]
        except FileNotFoundError:
            break
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            time.sleep(nap)  # it is being written, once at the start and whenever they change
    return []


def _end_of_lines(head: bytes) -> int:
    """Return the offset behind the last line, given the bytes before the first one; they are zeros in a new file."""
    return max(_HEAD_BYTES, min(int.from_bytes(head, sys.byteorder), NOTES_BYTES))
