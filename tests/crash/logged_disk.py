"""A disk that writes down what happens to it, as a process: ``logged_disk.py FUSE_FD IMAGE LOG NOTES_FD``.

1. It is one file, ``disk``, in a FUSE file system, to be given to a loop device; so what a file system on that device
   writes arrives here, write by write, and every flush of the disk's cache with it.
2. Each write and each flush goes into the log in the order in which the disk has answered them. What was written since
   the last flush is what a power cut may take.
3. What somebody writes into the pipe of notes is put into the log where it arrives: such as that a caller has its answer.

The protocol is the kernel's own, spoken on ``/dev/fuse``: https://docs.kernel.org/filesystems/fuse/fuse.html and, for the
layout of the messages, ``include/uapi/linux/fuse.h``. It does not know which file system is on it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS = 1, 2, 3, 4, 14, 15, 16, 17
RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, BATCH_FORGET = 18, 20, 25, 26, 36, 42
BIG_WRITES, MAX_PAGES, DIRECT_IO = 1 << 5, 1 << 22, 1
"""Two flags of INIT, and that of OPEN by which no write waits in a page cache of FUSE's own."""
MOST = 1 << 20
"""Bytes in one write at most."""
ROOT, DISK = 1, 2
"""The numbers of the only two inodes."""
HEADER, ENTRY = struct.Struct("<IIQQIIII"), struct.Struct("<cQI")
WRITTEN, FLUSHED, NOTED = b"W", b"F", b"N"


class Event(NamedTuple):
    """One entry of the log."""

    kind: bytes
    offset: int
    data: bytes


def read_log(path: Path) -> Iterator[Event]:
    """Yield what has happened to the disk, oldest first."""
    with path.open("rb") as file:
        while head := file.read(ENTRY.size):
            kind, offset, size = ENTRY.unpack(head)
            yield Event(kind, offset, file.read(size))


def mount(mountpoint: Path) -> int:
    """Mount such a file system, which only root can do; return the descriptor on which it is to be served."""
    descriptor = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={descriptor},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"logged_disk", bytes(mountpoint), b"fuse", 0, options.encode()):
        os.close(descriptor)
        raise OSError(ctypes.get_errno(), f"cannot mount FUSE: {os.strerror(ctypes.get_errno())}")
    return descriptor


def serve(fuse: int, image: Path, log_path: Path, notes: int) -> None:
    """Be the disk until the file system is unmounted, or nobody is left who could write a note."""
    disk, size = os.open(image, os.O_RDWR), image.stat().st_size
    poll = select.poll()
    poll.register(fuse, select.POLLIN)
    poll.register(notes, select.POLLIN)
    with log_path.open("wb") as log:

        def enter(kind: bytes, offset: int = 0, data: bytes = b"") -> None:
            log.write(ENTRY.pack(kind, offset, len(data)) + data)

        while True:
            ready = dict(poll.poll())
            # Notes first: a note was written before whatever its writer has asked of the disk since then.
            if notes in ready and not (ready[notes] & select.POLLIN and _take_note(notes, enter)):
                return  # whoever mounted the disk is gone
            if fuse not in ready:
                continue
            try:
                message = os.read(fuse, MOST + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                raise
            _, code, number, node, *_ = HEADER.unpack_from(message)
            if code in {FORGET, BATCH_FORGET, INTERRUPT}:
                continue
            answer = _answer(code, node, message[HEADER.size :], disk, size)
            if code == WRITE:
                offset, length = struct.unpack_from("<8xQI", message, HEADER.size)
                enter(WRITTEN, offset, message[-length:])
            elif code == FSYNC:
                enter(FLUSHED)
            failed = isinstance(answer, int)
            body = b"" if isinstance(answer, int) else answer
            os.write(fuse, struct.pack("<IiQ", 16 + len(body), -answer if failed else 0, number) + body)


def _take_note(notes: int, enter) -> bool:
    data = os.read(notes, 65536)
    if data:
        enter(NOTED, 0, data)
    return bool(data)


def _answer(code: int, node: int, asked: bytes, disk: int, size: int) -> bytes | int:
    """Return the body of the answer, or the number of an error."""
    if code == INIT:
        return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, BIG_WRITES | MAX_PAGES, 0, 0, MOST, 1, MOST // 4096, 0, 0)
    if code == LOOKUP:
        if asked != b"disk\0":
            return errno.ENOENT
        return struct.pack("<QQQQII", DISK, 0, 3600, 3600, 0, 0) + _attributes(DISK, size)
    if code in {GETATTR, SETATTR}:
        return struct.pack("<QII", 3600, 0, 0) + _attributes(node, size)
    if code == OPEN:
        return struct.pack("<QII", 0, DIRECT_IO, 0)
    if code == READ:
        offset, length = struct.unpack_from("<8xQI", asked)
        return os.pread(disk, length, offset)
    if code == WRITE:
        offset, length = struct.unpack_from("<8xQI", asked)
        os.pwrite(disk, asked[-length:], offset)
        return struct.pack("<II", length, 0)
    if code == STATFS:
        return struct.pack("<QQQQQIIII24x", size >> 12, 0, 0, 2, 0, 4096, 255, 4096, 0)
    return b"" if code in {FSYNC, FLUSH, RELEASE} else errno.ENOSYS


def _attributes(node: int, size: int) -> bytes:
    mode = stat.S_IFDIR | 0o700 if node == ROOT else stat.S_IFREG | 0o600
    length = 0 if node == ROOT else size
    return struct.pack(
        "<QQQQQQIIIIIIIIII", node, length, length >> 9, 0, 0, 0, 0, 0, 0, mode, 1, os.getuid(), os.getgid(), 0, 4096, 0
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
