"""Puts a worker into the background, the way Unix services go there.

1. ``pmtq worker -D`` returns when the worker is up, or with the error that kept it from that: not before.
2. A pid file belongs to one living process. One that a dead process left is replaced, never believed.

It does not know what runs in the background.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from pmtq.exceptions import ImproperlyConfigured, PmtqError
from pmtq.wording import typed

LOG, PID = "%n%I.log", "%n.pid"
"""What a background worker's log and pid file are called unless something else is asked for."""
_UP = b"+"


class PidFileTaken(PmtqError):
    """A living process has its number in the pid file."""


def detach() -> Callable[[str], None]:
    """Go on in a child without a terminal; return what it is to call, with the path of its log, as soon as it is up.

    The process that was called ends when that has happened, with status 0, or with 1 when the child has ended instead.
    """
    if not hasattr(os, "fork"):
        raise ImproperlyConfigured("this system cannot put a worker into the background. Start it without -D")
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as pipe:
            raise click.exceptions.Exit(0 if pipe.read(1) == _UP else 1)
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)  # only a process that leads no session can never get a terminal again

    def up(log: str) -> None:
        _leave_terminal(log)
        os.write(writing, _UP)
        os.close(writing)

    return up


def _leave_terminal(log: str) -> None:
    """Send what is printed to ``log`` (empty: nowhere), and have nothing to read."""
    nothing = os.open(os.devnull, os.O_RDWR)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if log else nothing
    for descriptor, stream in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, stream)


@contextlib.contextmanager
def pid_file(path: str) -> Iterator[None]:
    """Keep this process's number in ``path`` for a while; do nothing for an empty path. Raises ``PidFileTaken``."""
    if not path:
        yield
        return
    mine = Path(path)
    _take(mine)
    try:
        yield
    finally:
        if pid_in(mine) == os.getpid():  # somebody may have removed it and started another
            mine.unlink(missing_ok=True)


def _take(path: Path) -> None:
    pid = pid_in(path)
    if pid and pid != os.getpid() and is_alive(pid):
        raise PidFileTaken(
            f"{path} says that process {pid} runs already, and a process of that number is there. Nothing was started. "
            f"Stop it: kill {pid}; or, if it is no worker: rm {typed(path)}"
        )
    path.unlink(missing_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise PidFileTaken(f"another process took {path} this instant. Nothing was started. Try again") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{os.getpid()}\n")


def pid_in(path: Path) -> int:
    """Return the process number in a pid file; 0 if there is no such file, or no number in it."""
    with contextlib.suppress(OSError, ValueError):
        return max(0, int(path.read_text()))
    return 0


def is_alive(pid: int) -> bool:
    """Say whether there is a process of that number that has not ended."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return not _has_ended(pid)


def _has_ended(pid: int) -> bool:
    """Say whether the process only waits for its parent to hear of its end; that can be seen on Linux."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def drop_privileges(user: str, group: str, umask: str) -> None:
    """Become ``user`` and ``group`` (names or numbers; empty: stay), and make files with ``umask`` (octal, as in a shell).

    Raises ``ImproperlyConfigured`` for a name that is not known, and for a change that only root may make.
    """
    if umask:
        os.umask(_octal(umask))
    if not user and not group:
        return
    import grp
    import pwd

    owner = _looked_up(user, "--uid", pwd.getpwnam, pwd.getpwuid) if user else None
    gid = _looked_up(group, "--gid", grp.getgrnam, grp.getgrgid).gr_gid if group else owner and owner.pw_gid
    try:
        if gid is not None and gid != os.getgid():
            os.setgid(gid)
        if owner and owner.pw_uid != os.getuid():
            os.initgroups(owner.pw_name, gid if gid is not None else owner.pw_gid)
            os.setuid(owner.pw_uid)
    except PermissionError:
        raise ImproperlyConfigured(
            f"process {os.getpid()} may not become user {user or '-'}, group {group or '-'}: only root can give its rights "
            "away. Nothing was started. Leave --uid and --gid out, or start it with sudo"
        ) from None


def _octal(umask: str) -> int:
    if not re.fullmatch("(0o)?[0-7]{1,4}", umask):
        raise ImproperlyConfigured(f"--umask {umask!r} is no octal number. Nothing was started. Write it like 027")
    return int(umask, 8)


def _looked_up(name: str, option: str, by_name: Callable[[str], Any], by_number: Callable[[int], Any]) -> Any:
    try:
        return by_number(int(name)) if name.isdigit() else by_name(name)
    except KeyError:
        raise ImproperlyConfigured(f"{option} {name!r} is nobody on this system. Nothing was started") from None
