"""Everything pmtq does to the file system passes through these functions.

1. A file is opened only if it is a plain file of ours with one name; links and pipes are refused, never followed.
2. A write is one system call. A short one is cut back, so that a file never ends in half a record of ours.
3. A lock is the operating system's own: it ends with the process that holds it, however that process ends.

Being the only door, this is also where tests count, fail and cut every effect. It does not know what the bytes mean.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import random
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

from pmtq.exceptions import LockHeld, OperationalError, UnsafeFile
from pmtq.holder import holder_of
from pmtq.wording import typed

logger = logging.getLogger("pmtq.disk")

_UNCHANGED = "Nothing was changed."
UNSAFE = "What it holds can be read now, but might not survive a power cut."
FOLDER_MODE, FILE_MODE = 0o700, 0o600
# Windows lacks these flags; it has no symbolic links that an ordinary user could plant, and no exec to leak into.
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)

ALLOW_SHARED = "PMTQ_ALLOW_SHARED"
"""The environment variable by which a person accepts a folder that every user may write: some disks have no such modes."""

SHORTEST_NAP, LONGEST_NAP = 20e-6, 1e-3
"""Seconds between two attempts at a lock. A hold lasts about 5 µs in a client, a few ms in a worker."""

TOLD_AFTER = 5.0
"""Seconds after which one who waits for a lock says who has it: a stopped process, or a shell with a forgotten ``flock``."""

_patience: ContextVar[float] = ContextVar("patience", default=math.inf)


def make_folder(folder: Path) -> None:
    """Create ``folder``, and what it stands in, closed to other users; refuse one that every user may write, unless allowed.

    Whoever can write the folder can run the registered functions, so this is the security boundary.
    """
    try:
        _create(folder)
        status = folder.stat()
    except OSError as error:
        raise cannot("make the queue folder", folder, error) from error
    if os.name == "posix" and status.st_uid != os.geteuid():
        raise UnsafeFile(
            f"{folder} belongs to user {status.st_uid}, and you are user {os.geteuid()}. Nothing was touched. "
            f"Work as that user, or take another folder: --broker file:///…"
        )
    if os.name == "posix" and status.st_mode & stat.S_IWOTH and not os.environ.get(ALLOW_SHARED):
        raise UnsafeFile(
            f"{folder} can be written by every user of this machine (mode {stat.S_IMODE(status.st_mode):04o}), and whoever can "
            f"write it can run your tasks. Nothing was touched. Close it: chmod o-w {typed(folder)}; or accept that, where a disk has "
            f"no such modes: --allow-shared, or {ALLOW_SHARED}=1 in the environment of clients and workers"
        )


def _create(folder: Path) -> None:
    """Create a folder and those around it, all closed to other users, whatever the umask says."""
    try:
        os.mkdir(folder, FOLDER_MODE)  # noqa: PTH102  (kept beside its siblings, so that tests can fail it)
    except FileExistsError:
        if not folder.is_dir():
            raise
    except FileNotFoundError:
        _create(folder.parent)
        _create(folder)
    else:
        folder.chmod(FOLDER_MODE)  # the umask may have taken bits away that we need ourselves


def require_folder(path: Path) -> None:
    """Refuse what has the name of one of the folders in a queue folder and is none, such as a link to somewhere else."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(status(path, follow=False).st_mode):
            raise _unsafe(path, "a link or a file, and should be a folder")


def open_file(path: Path, *, write: bool = True, create: bool = True, is_new: bool = False) -> int:
    """Open ``path`` for reading and appending and return the descriptor, which child programs do not inherit.

    Raises ``FileNotFoundError`` when it is missing and ``create`` is false, ``FileExistsError`` when ``is_new`` and anything
    has that name, ``UnsafeFile`` when it is not a plain file of ours, ``OperationalError`` for anything else the system refuses.
    """
    flags = _SAFE | _BINARY | (os.O_RDWR | os.O_APPEND if write else os.O_RDONLY) | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags | (os.O_EXCL if is_new else 0), FILE_MODE)
    except FileNotFoundError:
        if create:
            make_folder(path.parent)
            return open_file(path, write=write, create=create, is_new=is_new)
        raise
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
            raise _unsafe(path, "a link, a pipe or a folder") from error
        raise cannot("open", path, error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _unsafe(path, "not a plain file")
    if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_nlink > 1):
        os.close(descriptor)
        raise _unsafe(path, f"owned by user {status.st_uid} under {status.st_nlink} names; expected {os.geteuid()}, 1")
    if os.name == "posix" and not status.st_size and status.st_mode & FILE_MODE != FILE_MODE:
        os.fchmod(descriptor, FILE_MODE)  # a new one, and the umask has taken bits away that we need ourselves
    return descriptor


def duplicate(descriptor: int) -> int:
    """Return another descriptor of the same open file, which stays when the first one is closed."""
    try:
        return os.dup(descriptor)
    except OSError as error:
        raise cannot("open once more", _path(descriptor), error, UNSAFE) from error


def read_file(path: Path) -> bytes:
    """Return all that stands in a file; raises what ``open_file`` raises, without making one."""
    descriptor = open_file(path, write=False, create=False)
    size, data = os.fstat(descriptor).st_size, b""
    try:
        while len(data) < size and (part := read_at(descriptor, size - len(data), len(data))):
            data += part  # most often all of it; one call reads 2 GB at most
        return data
    finally:
        os.close(descriptor)


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Return up to ``size`` bytes that stand at ``offset``."""
    try:
        if hasattr(os, "pread"):
            return os.pread(descriptor, size, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)  # Windows; callers hold the file's thread lock
        return os.read(descriptor, size)
    except OSError as error:
        raise cannot("read", _path(descriptor), error) from error


def append(descriptor: int, data: bytes, path: Path, before: int) -> None:
    """Add ``data`` at the end of the file, whole or not at all.

    The caller holds the file's lock and has seen it end at byte ``before``.
    """
    try:
        if (written := os.write(descriptor, data)) == len(data):
            return
    except OSError as error:
        raise cannot("append to", path, error, f"It still ends at byte {before}, as before.") from error
    # Disk full or quota reached in mid-record. A stranger's `>>` may have landed behind the half record by now;
    # then the half record stays, is later rejected as a fragment, and the stranger's line survives.
    try:
        if os.fstat(descriptor).st_size == before + written:
            os.ftruncate(descriptor, before)
    except OSError as error:
        left = f"{written} of {len(data)} bytes were written and cannot be cut off again: they will be rejected as no record."
        raise cannot("append to", path, error, left) from error
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise cannot("append to", path, full, f"{written} of {len(data)} bytes fitted and were cut off again.") from full


def truncate(descriptor: int) -> None:
    """Make an open file empty."""
    try:
        os.ftruncate(descriptor, 0)
    except OSError as error:
        raise cannot("empty", _path(descriptor), error) from error


def names_in(folder: Path) -> list[str]:
    """Return the names of all that is in ``folder``; none if it is not there."""
    try:
        return os.listdir(folder)  # noqa: PTH208  (kept beside its siblings, so that tests can fail it)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise cannot("list", folder, error) from error


def status(path: Path, *, follow: bool = True) -> os.stat_result:
    """Return size, times and inode of what has that name, or of what it leads to if it is a link that we ``follow``.

    Raises ``FileNotFoundError`` when nothing has.
    """
    try:
        return path.stat(follow_symlinks=follow)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot("look at", path, error) from error


def exists(path: Path) -> bool:
    """Say whether anything has that name."""
    try:
        status(path)
    except FileNotFoundError:
        return False
    return True


def open_folder(folder: Path, verb: str = "open", left_behind: str = _UNCHANGED) -> int:
    """Open a folder, to look at it or to bring it to the disk. Raises ``FileNotFoundError`` when it is missing."""
    try:
        return os.open(folder, os.O_RDONLY | _FOLDER)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot(verb, folder, error, left_behind) from error


def try_lock(descriptor: int, patience: float = 0.0) -> bool:
    """Take the exclusive lock of an open file if it is free within ``patience`` seconds; say whether that worked."""
    deadline = time.monotonic() + patience
    try:
        while not lock_descriptor(descriptor, blocking=False):
            if time.monotonic() >= deadline:
                return False
            time.sleep(LONGEST_NAP)
    except OSError as error:
        raise cannot("lock", _path(descriptor), error) from error
    return True


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Have no lock waited for longer than that in the block, however deep inside it: ``lock`` raises ``LockHeld``."""
    before = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(before)


def lock(descriptor: int) -> None:
    """Wait until the exclusive lock of an open file is ours.

    The kernel's queue is not used because a blocking call could not be interrupted on every system; the nap is
    short, doubles, and carries some chance so that two waiters do not march in step. Who has waited for ``TOLD_AFTER``
    seconds says once who holds it, and goes on waiting: nobody's lock is ever broken. Inside ``patience`` it raises ``LockHeld``
    instead.
    """
    try:
        if lock_descriptor(descriptor, blocking=False):
            return
        begun = time.monotonic()
        nap, tell_at, give_up_at = SHORTEST_NAP, begun + TOLD_AFTER, begun + _patience.get()
        while not lock_descriptor(descriptor, blocking=False):
            time.sleep(nap * (0.5 + random.random()))  # noqa: S311  (spreads waiters; guards nothing)
            nap = min(2 * nap, LONGEST_NAP)
            if time.monotonic() >= tell_at:
                _tell_who_holds(descriptor)
                tell_at = math.inf
            if time.monotonic() >= give_up_at:
                raise lock_held(_path(descriptor), descriptor, "Try again when it is let go.")
    except OSError as error:
        raise cannot("lock", _path(descriptor), error) from error


def lock_held(path: Path, descriptor: int, left_behind: str = _UNCHANGED) -> LockHeld:
    """Return the error for the lock of an open file that somebody else keeps."""
    return LockHeld(f"{path} is held by {holder_of(descriptor)}. {left_behind} See who: lsof {typed(path)}")


def _tell_who_holds(descriptor: int) -> None:
    path = _path(descriptor)
    logger.warning(
        "%s has been locked for %g s by %s. Nothing can be written until it is free; waiting goes on. See who: lsof %s",
        path,
        TOLD_AFTER,
        holder_of(descriptor),
        typed(path),
    )


unlock = unlock_descriptor


def fsync(descriptor: int) -> None:
    """Return once the file's bytes would survive a power cut."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise cannot("bring to the disk", _path(descriptor), error, UNSAFE) from error


def fsync_folder(folder: Path) -> None:
    """Return once the names in ``folder`` would survive a power cut. Windows has no such call."""
    if os.name != "posix":
        return
    try:
        descriptor = open_folder(folder, "bring to the disk", UNSAFE)
    except FileNotFoundError as error:
        raise cannot("bring to the disk", folder, error, UNSAFE) from error
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def nudge(path: Path) -> None:
    """Make watchers of ``path`` look again, without changing a byte of it; it is a hint, so no failure matters."""
    with contextlib.suppress(OSError):
        os.utime(path)


def same_times(path: Path, model: Path) -> None:
    """Let ``path`` look as old as ``model``, where the system allows that."""
    with contextlib.suppress(OSError):
        status = model.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rename(source: Path, target: Path) -> None:
    """Give a file another name in one step; whatever had that name before is gone."""
    try:
        os.replace(source, target)  # noqa: PTH105  (kept beside its siblings, so that tests can fail it)
    except OSError as error:
        raise cannot(f"rename to {target.name} the file", source, error) from error


def remove(path: Path) -> None:
    """Remove a file; a file that is not there is no error."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot("remove", path, error) from error


def cannot(verb: str, path: Path, error: OSError, left_behind: str = _UNCHANGED) -> OperationalError:
    """Return the error for a system call that failed, with what it left behind and what to do about it."""
    advice = {
        errno.ENOSPC: f"Free some space on its disk (df -h {typed(path.parent)}) and try again.",
        errno.EDQUOT: "Your disk quota is used up: free some space and try again.",
        errno.EFBIG: "The file-size limit of this process is reached: ulimit -f shows it.",
        errno.EACCES: f"Look who owns it: ls -l {typed(path.parent)}",
        errno.EPERM: f"Look who owns it: ls -l {typed(path.parent)}",
        errno.EROFS: "That disk is mounted read-only: choose another folder with --broker file:///…",
        errno.EMFILE: "This process has too many open files: ulimit -n shows the limit.",
    }.get(error.errno or 0, f"Look at the folder: ls -la {typed(path.parent)}")
    return OperationalError(f"cannot {verb} {path}: {error.strerror or error}. {left_behind} {advice}")


def _path(descriptor: int) -> Path:
    """Return the name of an open file for a message, where the system tells it."""
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:
        return Path(f"descriptor {descriptor}")


def _unsafe(path: Path, what: str) -> UnsafeFile:
    return UnsafeFile(
        f"{path} is refused: it is {what}, and pmtq only uses plain files that it owns alone. It was not touched, nor "
        f"what it points to. Look at it: ls -la {typed(path.parent)}"
    )
