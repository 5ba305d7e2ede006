"""Finds out who holds a kernel lock, for people who wait for it: the system knows, and on Linux it says so.

It does not know what is locked, nor why.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_LOCKS = Path("/proc/locks")
_STOPPED = "Tt"
"""The states of a process that was stopped by a signal, or by a debugger: proc(5)."""


def holder_of(descriptor: int) -> str:
    """Return who holds the lock of an open file, as a message can say it; ``another program`` where nothing tells.

    ``process 4242 (python3)``, and of one that was stopped that it is, and how to have it go on. The system names the process
    that has taken the lock; that may have ended, as ``flock 9`` in a shell has, and left it to those it shared the file with.
    """
    file = os.fstat(descriptor)
    taker = _taker(file)
    if not taker:
        return "another program"
    pid = (
        taker
        if _has_lock(taker, file)
        else next((one for one in _processes() if _has_lock(one, file, unseen=False)), 0)
    )
    if not pid:
        return f"a program that process {taker} has started"
    try:
        name, state = _name_and_state(Path(f"/proc/{pid}/stat").read_text(errors="replace"))
    except OSError:  # it has ended this instant
        return f"process {pid}"
    stopped = f", which is stopped (go on: kill -CONT {pid})" if state in _STOPPED else ""
    return f"process {pid} ({name}){stopped}"


def _taker(file: os.stat_result) -> int:
    """Return the number of the process that took the lock, 0 if that cannot be seen."""
    place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}" if os.name == "posix" else ""
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        words = line.split()  # 1: FLOCK ADVISORY WRITE 4242 fe:00:1234567 0 EOF; one who waits has -> after its number
        if words[1] == "FLOCK" and words[5] == place:
            return max(0, int(words[4]))
    return 0


def _processes() -> list[int]:
    """Return the numbers of all processes, lowest first: a shell comes before what it has started."""
    return sorted(int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit())


def _has_lock(pid: int, file: os.stat_result, *, unseen: bool = True) -> bool:
    """Say whether a process has the file open in the way that holds the lock; ``unseen`` if we may not look."""
    try:
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # it was closed this instant
                if os.path.samestat(one.stat(), file) and "FLOCK" in Path(f"/proc/{pid}/fdinfo/{one.name}").read_text():
                    return True
    except PermissionError:
        return unseen
    except OSError:  # it has ended
        pass
    return False


def _name_and_state(line: str) -> tuple[str, str]:
    """Return the program's name and the letter of its state, from a line of proc(5), where the name may hold anything."""
    head, _, rest = line.rpartition(")")
    return ascii(head.partition("(")[2])[1:-1], rest.split()[0]
