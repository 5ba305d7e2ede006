"""A file system in memory that remembers every change, so that a crash can be put between any two of them.

1. Only paths below ``ROOT`` are kept here; all others go to the real file system, in every thread.
2. A change is one entry of ``log``. ``State`` is what the changes up to some entry amount to, and is cheap to copy.
3. A lock is held by an open file and ends when that is closed, as a kernel's does.

It does not know what is in the files, nor what a crash may take from them: see ``points``.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from pmtq import disk, fork, presence, sealing
from pmtq.clock import now
from pmtq.glance import Glance
from pmtq.journal import Journal
from pmtq.presence import Presence
from tests.support import die

ROOT = "/in-memory"
FIRST_DESCRIPTOR = 1 << 20
"""Far above what a kernel gives out."""
_LONG_AGO = 10**18
"""Nanoseconds since 1970: folders changed so long ago that their time is believed, see ``pmtq.glance``."""
_OWNER = os.geteuid() if hasattr(os, "geteuid") else 0


class Change(NamedTuple):
    """One effect on the file system, or something that a test wants to find among them."""

    kind: str
    """``create``, ``mkdir``, ``rename``, ``unlink``, ``write``, ``truncate``, ``sync`` or ``mark``."""
    path: str = ""
    inode: int = 0
    offset: int = 0
    data: bytes = b""
    target: str = ""
    mapped: bool = False
    """Whether it was written by way of a memory map."""


class State:
    """Names and contents at one moment."""

    __slots__ = ("data", "names")

    def __init__(self, names: dict[str, int] | None = None, data: dict[int, bytes | None] | None = None) -> None:
        """Begin with nothing but the root."""
        self.names = {ROOT: 1} if names is None else names
        self.data = {1: None} if data is None else data
        """The bytes of each file; None for a folder."""

    def copy(self) -> State:
        """Return one that can be changed without changing this."""
        return State(self.names.copy(), self.data.copy())

    def apply(self, change: Change) -> None:
        """Make one change."""
        kind = change.kind
        if kind == "write":
            old = self.data[change.inode]
            assert old is not None
            self.data[change.inode] = old[: change.offset] + change.data + old[change.offset + len(change.data) :]
        elif kind == "create":
            self.names[change.path] = change.inode
            self.data[change.inode] = b""
        elif kind == "mkdir":
            self.names[change.path] = change.inode
            self.data[change.inode] = None
        elif kind == "rename":
            self.names[change.target] = self.names.pop(change.path)
        elif kind == "unlink":
            self.names.pop(change.path)
        elif kind == "truncate":
            old = self.data[change.inode]
            assert old is not None
            self.data[change.inode] = old[: change.offset].ljust(change.offset, b"\0")

    def read(self, path: Path) -> bytes:
        """Return what is in a file; nothing if it is not there."""
        inode = self.names.get(str(path))
        return b"" if inode is None else self.data[inode] or b""

    def paths(self) -> list[str]:
        """Return the names of all files."""
        return [path for path, inode in self.names.items() if self.data[inode] is not None]


class _Status(NamedTuple):
    """What ``os.stat`` tells, as far as anybody here asks."""

    st_ino: int
    st_size: int
    st_mode: int
    st_uid: int
    st_nlink: int
    st_ctime_ns: int
    st_ctime: float
    st_mtime: float
    st_atime_ns: int
    st_mtime_ns: int


class _Open:
    """An open file."""

    __slots__ = ("appends", "inode", "position", "writes")

    def __init__(self, inode: int, flags: int) -> None:
        self.inode = inode
        self.writes = bool(flags & (os.O_RDWR | os.O_WRONLY))
        self.appends = bool(flags & os.O_APPEND)
        self.position = 0


class MemoryDisk:
    """The file system; ``installed`` lets a process see it."""

    def __init__(self, state: State | None = None) -> None:
        """Begin in ``state``, which is changed from then on."""
        self.state = state or State()
        self.log: list[Change] | None = None
        """What was changed; None while nobody wants to know."""
        self._files: dict[int, _Open] = {}
        self._locks: dict[int, int] = {}
        self._next = FIRST_DESCRIPTOR
        self._next_inode = 2
        self._ticks = 0
        self._changed: dict[int, tuple[int, float]] = {}
        self._booted = now()

    def boot(self, state: State) -> None:
        """Go on in another state, with no file open and no lock held, as after a crash."""
        self.state = state
        self._files.clear()
        self._locks.clear()
        self._changed.clear()
        self._booted = now()
        self._next_inode = max(max(state.data) + 1, self._next_inode)

    def mark(self, what: str) -> None:
        """Leave something in the log that is no change."""
        if self.log is not None:
            self.log.append(Change("mark", what))

    def write_by_hand(self, path: Path, data: bytes) -> None:
        """Append as a person's ``>>`` does."""
        descriptor = self.open(str(path), os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self.write(descriptor, data)
        self.close(descriptor)

    def _do(self, change: Change, *touched: int) -> None:
        self.state.apply(change)
        self._ticks += 1
        moment = (_LONG_AGO + self._ticks, now())
        for inode in touched:
            self._changed[inode] = moment
        if self.log is not None:
            self.log.append(change)

    def _parent(self, path: str) -> int:
        parent = self.state.names.get(path.rpartition("/")[0])
        if parent is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return parent

    def _new_inode(self) -> int:
        self._next_inode += 1
        return self._next_inode

    def _inode(self, path: str) -> int:
        inode = self.state.names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return inode

    # What the functions of ``os`` do, for paths and descriptors of this file system.

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        inode = self.state.names.get(path)
        if inode is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            parent, inode = self._parent(path), self._new_inode()
            self._do(Change("create", path, inode), parent, inode)
        self._next += 1
        self._files[self._next] = _Open(inode, flags)
        return self._next

    def close(self, descriptor: int) -> None:
        if (file := self._files.pop(descriptor, None)) and self._locks.get(file.inode) == descriptor:
            del self._locks[file.inode]

    def dup(self, descriptor: int) -> int:
        file = self._files[descriptor]
        self._next += 1
        self._files[self._next] = _Open(file.inode, os.O_RDWR | (os.O_APPEND if file.appends else 0))
        return self._next

    def write(self, descriptor: int, data: Any) -> int:
        file = self._files[descriptor]
        content = self.state.data[file.inode]
        assert content is not None
        offset = len(content) if file.appends else file.position
        if data := bytes(data):
            self._do(Change("write", "", file.inode, offset, data), file.inode)
        file.position = offset + len(data)
        return len(data)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        content = self.state.data[self._files[descriptor].inode]
        assert content is not None
        return content[offset : offset + size]

    def lseek(self, descriptor: int, offset: int, how: int) -> int:
        file = self._files[descriptor]
        content = self.state.data[file.inode]
        assert content is not None
        file.position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: file.position, os.SEEK_END: len(content)}[how]
        return file.position

    def ftruncate(self, descriptor: int, size: int) -> None:
        inode = self._files[descriptor].inode
        if len(self.state.data[inode] or b"") != size:
            self._do(Change("truncate", "", inode, size), inode)

    def fsync(self, descriptor: int) -> None:
        if self.log is not None:
            self.log.append(Change("sync", "", self._files[descriptor].inode))

    def fstat(self, descriptor: int) -> Any:
        inode = self._files[descriptor].inode
        return self._status(inode, links=list(self.state.names.values()).count(inode))

    def stat(self, path: str, *, follow_symlinks: bool = True) -> Any:
        return self._status(self._inode(path))

    def _status(self, inode: int, links: int = 1) -> _Status:
        content = self.state.data[inode]
        ticks, moment = self._changed.get(inode, (_LONG_AGO, self._booted))
        mode = stat.S_IFDIR | 0o700 if content is None else stat.S_IFREG | 0o600
        return _Status(inode, len(content or b""), mode, _OWNER, links, ticks, moment, moment, ticks, ticks)

    def replace(self, source: str, target: Any) -> None:
        target = os.fspath(target)
        inode = self._inode(source)
        self._do(Change("rename", source, inode, target=target), self._parent(source), self._parent(target), inode)

    def unlink(self, path: str) -> None:
        inode = self._inode(path)
        self._do(Change("unlink", path, inode), self._parent(path))

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        if path in self.state.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        parent, inode = self._parent(path), self._new_inode()
        self._do(Change("mkdir", path, inode), parent, inode)

    def chmod(self, path: str, mode: int, **_: Any) -> None:
        self._inode(path)  # every file and folder here is closed to others

    def fchmod(self, descriptor: int, mode: int) -> None:
        assert descriptor in self._files

    def listdir(self, path: str) -> list[str]:
        self._inode(path)
        start = f"{path}/"
        return [
            name[len(start) :] for name in self.state.names if name.startswith(start) and "/" not in name[len(start) :]
        ]

    def utime(self, path: str, *_: Any, **__: Any) -> None:
        self._inode(path)

    # What does not go through ``os``.

    def try_lock(self, descriptor: int, *, blocking: bool = False) -> bool:
        """Stand in for ``filelock.lock_descriptor``; there is one process, so whoever had to wait would wait for ever."""
        inode = self._files[descriptor].inode
        return self._locks.setdefault(inode, descriptor) == descriptor

    def unlock(self, descriptor: int) -> None:
        inode = self._files[descriptor].inode
        if self._locks.get(inode) == descriptor:
            del self._locks[inode]

    def is_written(self, path: Path) -> bool:
        """Say whether the file is open for writing."""
        inode = self.state.names.get(str(path))
        return any(file.inode == inode and file.writes for file in self._files.values())

    def map(self, descriptor: int, size: int) -> _Map:
        return _Map(self, self._files[descriptor].inode)


class _Map:
    """A file mapped into memory."""

    def __init__(self, memory: MemoryDisk, inode: int) -> None:
        self._memory, self._inode = memory, inode

    def __getitem__(self, place: slice) -> bytes:
        return self._memory.state.data[self._inode][place]  # type: ignore[index]

    def __setitem__(self, place: slice, data: bytes) -> None:
        change = Change("write", "", self._inode, place.start or 0, bytes(data), mapped=True)
        self._memory._do(change, self._inode)

    def close(self) -> None:
        """Do nothing: what was written is in the file."""


class _View:
    """The one machine word at the top of a map, as ``pmtq.presence`` asks for it."""

    def __init__(self, mapped: _Map) -> None:
        self._mapped = mapped

    def __getitem__(self, place: Any) -> _View:
        return self

    def __setitem__(self, place: int, value: int) -> None:
        self._mapped[0:8] = value.to_bytes(8, sys.byteorder)

    def cast(self, _: str) -> _View:
        return self

    def release(self) -> None:
        """Do nothing."""


_BY_PATH = ["open", "stat", "unlink", "mkdir", "chmod", "listdir", "utime", "replace"]
_BY_DESCRIPTOR = ["close", "write", "pread", "lseek", "ftruncate", "fchmod", "fsync", "fstat", "dup"]


@contextmanager
def installed(memory: MemoryDisk) -> Iterator[None]:
    """Let this process see ``memory`` below ``ROOT`` until the block ends."""

    def by_path(real: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if type(path) is int or not (name := os.fspath(path)).startswith(ROOT):
                return real(path, *args, **kwargs)
            return ours(name, *args, **kwargs)

        return call

    def by_descriptor(real: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, *args: Any) -> Any:
            return ours(descriptor, *args) if descriptor >= FIRST_DESCRIPTOR else real(descriptor, *args)

        return call

    glances: weakref.WeakSet[Glance] = weakref.WeakSet()
    changed: list[tuple[Any, str, Any]] = [
        *((os, name, by_path(getattr(os, name), getattr(memory, name))) for name in _BY_PATH),
        *((os, name, by_descriptor(getattr(os, name), getattr(memory, name))) for name in _BY_DESCRIPTOR),
        (Path, "read_bytes", lambda path, real=Path.read_bytes: _read_bytes(memory, path, real)),
        (disk, "lock_descriptor", memory.try_lock),
        (disk, "unlock", memory.unlock),
        (presence, "mmap", SimpleNamespace(mmap=memory.map)),
        (presence, "memoryview", _View),
        (Glance, "__init__", seen_by(glances)),
        (sealing, "may_still_be_written", lambda path, _: memory.is_written(path)),
    ]
    before = [(owner, name, owner.__dict__.get(name)) for owner, name, _ in changed]
    for owner, name, value in changed:
        setattr(owner, name, value)
    try:
        yield
    finally:
        _close_all()
        for glance in list(glances):
            glance.close()
        for owner, name, value in before:
            if value is None:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


def seen_by(glances: weakref.WeakSet[Glance], real: Callable[..., None] = Glance.__init__) -> Callable[..., None]:
    """Return how a glance is made so that it is known here."""

    def make(glance: Glance, folder: Path) -> None:
        real(glance, folder)
        glances.add(glance)

    return make


def _close_all() -> None:
    """Close what is open here, because these descriptors mean nothing to the real system."""
    for one in list(fork._instances):
        if isinstance(one, Journal) and str(one.path).startswith(ROOT):
            one.close()
        elif isinstance(one, Presence) and str(one._path).startswith(ROOT):
            die(one)


def _read_bytes(memory: MemoryDisk, path: Path, real: Callable[[Path], bytes]) -> bytes:
    if not str(path).startswith(ROOT):
        return real(path)
    memory._inode(str(path))
    return memory.state.read(path)
