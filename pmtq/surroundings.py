"""What a queue folder needs of the machine it is on: its own files, locks that are let go of, room, and being told of changes.

1. It changes nothing but the time of a lock's file, to see whether that is noticed.
2. A file that is not plainly ours is named, and never opened.

It does not know records or tasks.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import msgspec

from pmtq import disk
from pmtq.folder import Folder
from pmtq.holder import holder_of
from pmtq.lock import Lock
from pmtq.timetable import FILE_NAME
from pmtq.watch import Watch
from pmtq.wording import typed

LEAST_ROOM = 64 * 1024 * 1024
"""Bytes that should be free beside as many as the longest file has: starting it afresh needs both at once."""
PATIENCE = 0.3
"""Seconds after which a lock counts as kept: clients have it for microseconds, workers for milliseconds."""
_HEARINGS = 4
"""So often a notification is waited for, half a second each time."""
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs", "lustre"})  # fmt: skip
"""File systems on which other machines write without telling, and on which a lock may hold for one machine only."""
_OURS = re.compile(r".*\.(jsonl?|lock|new)|workers|sealed|logs|edits")
_KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}


class Finding(msgspec.Struct, kw_only=True):
    """One thing that is not as it should be, or that is good to know."""

    check: str
    """Which look has found it: one word, the same for all of its kind."""
    file: str = ""
    """What it is about: a path inside the folder; empty for the folder itself or the machine."""
    what: str
    """A sentence without its full stop."""
    remedy: str
    """What to do about it, as something to type where that is possible."""
    mends: str = ""
    """What mending does about it; empty if that is left to a person."""
    is_note: bool = False
    """Whether nothing is wrong."""


def look_around(folder: Folder) -> Iterator[Finding]:
    """Yield what is found about the folder itself, which exists, and its files, as far as they can be looked at."""
    told = list(_folder(folder.path))
    yield from told
    if not can_look_into(folder.path):
        yield from [] if told else _closed(folder.path, folder)
        return
    for place in (folder.path, folder.workers, folder.sealed, folder.logs, folder.edits):
        if not place.is_dir() or place.is_symlink():
            continue
        if can_look_into(place):
            ours = [name for name in disk.names_in(place) if place != folder.path or _OURS.fullmatch(name)]
            told += (found := [one for name in sorted(ours) for one in _file(place / name, folder)])
            yield from found
        elif place.name not in {one.file for one in told}:
            yield from _closed(place, folder)


def looks_at_machine(folder: Folder, refused: Collection[str]) -> list[Callable[[], Iterator[Finding]]]:
    """Return the looks at the locks, the disk, and whether changes are noticed; ``refused`` files are left alone."""
    locks = [path for path in sorted(folder.path.glob("*.lock")) if path.name not in refused]
    return [
        *(
            partial(_kept_lock, path) for path in locks if path.name != f"{FILE_NAME}.lock"
        ),  # a scheduler keeps that one
        lambda: _room(folder),
        lambda: _file_system(folder.path),
        lambda: _notifications(folder, locks),
    ]


def can_look_into(place: Path) -> bool:
    """Say whether the names in a folder can be read, and what has them be looked at."""
    return os.access(place, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _closed(place: Path, folder: Folder) -> Iterator[Finding]:
    """Tell of a place that the system keeps closed although owner and mode are as they should be."""
    file, mode = "" if place == folder.path else place.name, stat.S_IMODE(place.stat().st_mode)
    user = f" (user {os.geteuid()})" if os.name == "posix" else ""
    what = f"{file or place} cannot be looked into by you{user}, though its mode, {mode:04o}, allows it"
    yield Finding(check="unreadable", file=file, what=what, remedy=f"See what else forbids it: getfacl {typed(place)}")


def _folder(path: Path) -> Iterator[Finding]:
    if os.name != "posix":
        return
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        yield Finding(
            check="owner",
            what=f"{path} belongs to user {status.st_uid}, and you are user {os.geteuid()}: pmtq refuses it",
            remedy=f"Work as that user, or make it yours: chown -R {os.geteuid()} {typed(path)}",
        )
        return
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        yield Finding(
            check="mode",
            what=f"{path} cannot be read, written and entered by you (mode {mode:04o})",
            remedy=f"Open it: chmod u+rwx {typed(path)}",
            mends="opened to you",
        )
    if mode & stat.S_IRWXO:
        can = "write into it, and so run your tasks" if mode & stat.S_IWOTH else "read what your tasks are called with"
        yield Finding(
            check="mode",
            what=f"{path} is open to every user of this machine (mode {mode:04o}), who can {can}",
            remedy=f"Close it: chmod o-rwx {typed(path)}",
            mends="closed to other users",
        )
    elif mode & stat.S_IRWXG:
        yield Finding(
            check="group",
            what=f"{path} is open to its group (mode {mode:04o})",
            remedy=f"If that is not meant: chmod 700 {typed(path)}",
            is_note=True,
        )


def _file(path: Path, folder: Folder) -> Iterator[Finding]:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return  # it has gone while we looked
    file, look = str(path.relative_to(folder.path)), f"ls -la {typed(path.parent)}"
    wanted = stat.S_IFDIR if path in {folder.workers, folder.sealed, folder.logs, folder.edits} else stat.S_IFREG
    kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
    least = 0o700 if kind == stat.S_IFDIR else 0o600
    if kind != wanted:
        what = f"{_KINDS.get(kind, 'no plain file')}, which pmtq refuses and leaves alone"
        yield Finding(check="kind", file=file, what=f"{file} is {what}", remedy=f"Look at it, and remove it: {look}")
    elif os.name != "posix":
        return
    elif status.st_uid != os.geteuid():
        what = f"belongs to user {status.st_uid}, and you are user {os.geteuid()}: pmtq refuses it"
        remedy = f"Look at it, then make it yours: sudo chown {os.geteuid()} {typed(path)}"
        yield Finding(check="owner", file=file, what=f"{file} {what}", remedy=remedy)
    elif kind == stat.S_IFREG and status.st_nlink > 1:
        what = f"has {status.st_nlink} names, which pmtq refuses: whoever has another one could change it"
        yield Finding(
            check="names",
            file=file,
            what=f"{file} {what}",
            remedy=f"Find them: find / -samefile {typed(path)} 2>/dev/null",
        )
    elif mode & least != least:
        what = f"cannot be read and written by you (mode {mode:04o})"
        remedy = f"Open it: chmod u+rw{'x' if least == 0o700 else ''} {typed(path)}"
        yield Finding(check="mode", file=file, what=f"{file} {what}", remedy=remedy, mends="opened to you")


def make_accessible(folder: Folder, finding: Finding) -> None:
    """Mend what was found about a mode."""
    path = folder.path / finding.file
    mode = stat.S_IMODE(path.lstat().st_mode)
    mode |= 0o700 if path.is_dir() else 0o600
    path.chmod(mode if finding.file else mode & ~stat.S_IRWXO)


def _kept_lock(path: Path) -> Iterator[Finding]:
    lock = Lock(path)
    if not lock.take(PATIENCE):
        what = f"{path.name} is held by {_holder(path)}, and all others wait for it"
        yield Finding(check="lock", file=path.name, what=what, remedy=f"See what it is: lsof {typed(path)}")
    lock.free()


def _holder(path: Path) -> str:
    descriptor = disk.open_file(path, create=False)
    try:
        return holder_of(descriptor)
    finally:
        os.close(descriptor)


def _room(folder: Folder) -> Iterator[Finding]:
    if not hasattr(os, "statvfs"):
        return
    files = [folder.results, *map(folder.queue, folder.queue_names())]
    longest = max(map(_size, files))
    seen = os.statvfs(folder.path)
    free = seen.f_bavail * seen.f_frsize
    if free < LEAST_ROOM + longest:
        yield Finding(
            check="room",
            what=f"the disk of {folder.path} has {free // 2**20:,} MB left; {(LEAST_ROOM + longest) // 2**20:,} MB would be safe",
            remedy=f"Free some: df -h {typed(folder.path)}",
        )
    elif seen.f_files and not seen.f_favail:
        yield Finding(
            check="room",
            what=f"the disk of {folder.path} can take no new file (all {seen.f_files:,} inodes are in use)",
            remedy=f"Remove some: df -i {typed(folder.path)}",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _file_system(path: Path) -> Iterator[Finding]:
    kind = _kind_of_file_system(path.resolve())
    if kind in _NETWORK:
        yield Finding(
            check="disk",
            what=f"{path} is on a network file system ({kind}), where locks and notifications may hold for one machine only",
            remedy="Use a folder on a local disk: --broker file:///…",
        )


def _kind_of_file_system(path: Path) -> str:
    """Return the kind of file system that a path is on, as Linux calls it; empty where the system does not tell it."""
    # 36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw; a space in a name is written \040
    kinds = {line.split()[4].replace("\\040", " "): line.split(" - ")[-1].split()[0] for line in _mounts()}
    return next((kinds[str(one)] for one in [path, *path.parents] if str(one) in kinds), "")


def _mounts() -> list[str]:
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _notifications(folder: Folder, locks: list[Path]) -> Iterator[Finding]:
    if not locks:
        return
    file = locks[0]
    watch = Watch(folder.path, frozenset({file.name}))
    try:
        watch.wait(watch.seen(), 0.0)  # begins to listen
        if not watch.trouble:
            for _ in range(_HEARINGS):
                seen = watch.seen()
                disk.nudge(file)
                if watch.wait(seen, 1.0):
                    return
    finally:
        watch.close()
    why = watch.trouble or f"changes in {folder.path} are not notified"
    limits = f" ({_limits()})" if sys.platform == "linux" and watch.trouble else ""
    yield Finding(
        check="notifications",
        what=f"{why}{limits}, so programs look for themselves, twenty times a second",
        remedy="Raise the limits: sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512"
        if limits
        else "It works like this, and costs a little time: see whether the folder may be on another disk",
        is_note=not limits,
    )


def _limits() -> str:
    shown = []
    for name in ("max_user_watches", "max_user_instances"):
        try:
            shown.append(f"{name} is {Path(f'/proc/sys/fs/inotify/{name}').read_text('ascii').strip()}")
        except OSError:
            continue
    return ", ".join(shown)
