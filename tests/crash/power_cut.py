"""Cuts the power under a queue folder on ext4, xfs or btrfs, and looks what is left: ``python -m tests.crash.power_cut``.

1. Clients and a worker run on a file system whose disk writes down every write and every flush (``logged_disk``).
2. A cut is a moment of that log. What was flushed by then is on the disk; of what was written since, all, nothing or any
   part is, by sectors of 4096 bytes, as with the cache of a real disk.
3. The disk as it was then is mounted, so that the file system mends itself, and a worker runs on what is there.

One run of the load gives as many cuts as are wanted. It works in a mount namespace of its own, so that nothing stays mounted,
however it ends. Root is needed, loop devices, ``/dev/fuse`` and the tools of the file systems.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from pmtq import sealing
from pmtq.presence import Presence
from pmtq.states import SUCCESS
from pmtq.worker.consumer import Consumer
from tests.crash import logged_disk
from tests.crash.logged_disk import FLUSHED, NOTED, WRITTEN, Event, read_log
from tests.crash.power_load import IN_TURN, PROMISED, QUEUES, make_app

ROOT = Path(__file__).parents[2]
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
"""How each file system is made; ext4, xfs and btrfs with the options that their makers think best."""
PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}
SIZE = 320 << 20
"""Bytes of the disk, of which next to none are used: xfs wants 300 MB."""
SECTOR = 4096
"""Bytes that a disk writes as a whole. With 512, which older disks have, ext4 and xfs could not always be mounted again: a
half of a superblock or of a directory's block was new, the other half old."""
BEGIN = "begin\n"
ATTEMPTS = 20
PATIENCE = 120.0
"""Seconds for the load; more means that it hangs."""
PATIENCE_PER_CUT = 10.0


class Counts(NamedTuple):
    """What was seen at all cuts together."""

    cuts: int
    acknowledged: int
    """Durable calls whose callers had their answer."""
    lost: int
    """Those of them that were gone."""
    unpromised: int
    """Other calls whose callers had their answer: what a cut may cost."""
    gone: int
    """Those of them that were gone …"""
    older: int
    """… though a younger one was there, of the same caller and in the same file."""
    troubles: list[str]
    """What was wrong, a line each: also a worker's error, a task that failed, a wrong result."""


def why_not(file_system: str) -> str:
    """Return what is missing here for a cut under that file system, empty if nothing is."""
    if sys.platform != "linux" or os.geteuid():
        return "needs Linux and root, to mount file systems"
    tools = [MAKE[file_system][0], "losetup", "mount", "unshare"]
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        return f"{missing[0]} is not installed (apt-get install {PACKAGES[file_system]} util-linux)"
    if missing := [name for name in ("/dev/fuse", "/dev/loop-control") if not Path(name).exists()]:
        return f"there is no {missing[0]}"
    if file_system not in Path("/proc/filesystems").read_text().split():
        return f"this kernel has no {file_system} (modprobe {file_system})"
    trial = "mount -t tmpfs none /mnt && losetup -f"
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", trial],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"file systems cannot be mounted here: {done.stderr.strip()}" if done.returncode else ""


def cut_power(file_system: str, cuts: int, seed: int = 0, calls: int = 60) -> Counts:
    """Run the load, with ``calls`` calls of each client, and cut the power at ``cuts`` moments of it; return what was seen."""
    command = [sys.executable, "-m", "tests.crash.power_cut", file_system, str(cuts), str(seed), str(calls), "--inside"]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE + cuts * PATIENCE_PER_CUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Counts(**json.loads(done.stdout))


# Inside the namespace


def run(file_system: str, cuts: int, seed: int, calls: int) -> Counts:
    """Do it in this process, which may mount what it likes."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        site = Site(Path(place), file_system)
        events = site.record(seed, calls)
        return Experiment(site, events, random.Random(seed)).run(cuts)


class Site:
    """The place of the disk, of its log, and of what is mounted."""

    def __init__(self, place: Path, file_system: str) -> None:
        """Make an empty file system."""
        self.place, self.file_system = place, file_system
        self.mountpoint, self.blank, self.image = place / "mounted", place / "blank", place / "image"
        self.mountpoint.mkdir()
        with self.blank.open("wb") as file:
            file.truncate(SIZE)
        _command(*MAKE[file_system], self.blank)

    def record(self, seed: int, calls: int) -> list[Event]:
        """Run the load and return what has happened to the disk meanwhile."""
        log, fuse = self.place / "log", self.place / "fuse"
        fuse.mkdir()
        _command("cp", "--sparse=always", self.blank, self.image)
        served = logged_disk.mount(fuse)
        heard, notes = os.pipe()
        command = [sys.executable, logged_disk.__file__, str(served), self.image, log, str(heard)]
        server = subprocess.Popen(command, pass_fds=[served, heard])
        os.close(served)
        os.close(heard)
        try:
            with self.mounted(fuse / "disk"):
                os.write(notes, BEGIN.encode())
                load = [sys.executable, "-m", "tests.crash.power_load", self.folder, str(seed), str(calls), str(notes)]
                subprocess.run(load, pass_fds=[notes], cwd=ROOT, check=True, timeout=PATIENCE)
            _command("umount", fuse)
            assert server.wait(timeout=PATIENCE) == 0
        finally:
            server.kill()  # no harm if it has ended, which it does when nobody is there any more to write a note
            server.wait()
            os.close(notes)
            subprocess.run(["umount", "--lazy", fuse], capture_output=True, check=False)  # only after a failure
        return list(read_log(log))

    @property
    def folder(self) -> Path:
        """The queue folder, some levels down, none of which was there before."""
        return self.mountpoint / "some" / "project" / "queue_dir"

    @contextmanager
    def mounted(self, disk: Path) -> Iterator[None]:
        """Mount the file system that is on ``disk``."""
        loop = _loop_device(disk)
        try:
            _command("mount", "-t", self.file_system, loop, self.mountpoint)
            try:
                yield
            finally:
                _command("umount", self.mountpoint)
        finally:
            _command("losetup", "--detach", loop)


class Experiment:
    """One recorded load, whose disk is looked at as it was at many moments."""

    def __init__(self, site: Site, events: list[Event], chance: random.Random) -> None:
        """Take the record."""
        self.site, self.events, self.chance = site, events, chance
        self.begin = next(n for n, event in enumerate(events) if event.data.startswith(BEGIN.encode()))
        self.seen = Counter({"acknowledged": 0, "lost": 0, "unpromised": 0, "gone": 0, "older": 0})
        self.troubles: list[str] = []

    def moments(self, cuts: int) -> list[int]:
        """Choose moments, the half of them right after a caller has had an answer."""
        answers = [n for n in range(self.begin + 1, len(self.events)) if self.events[n].kind == NOTED]
        chosen = [self.chance.choice(answers) + 1 for _ in range(cuts // 2)]
        chosen += [self.chance.randrange(self.begin, len(self.events)) + 1 for _ in range(cuts - len(chosen))]
        return sorted(chosen)

    def run(self, cuts: int) -> Counts:
        """Cut so often, the oldest moment first, so that what is on the disk for certain is written once."""
        done = 0
        durable = os.open(self.site.blank, os.O_RDWR)
        for moment in self.moments(cuts):
            flushed = max((n for n in range(done, moment) if self.events[n].kind == FLUSHED), default=done)
            _write(durable, self.events[done:flushed])
            done = flushed
            how = self.chance.choice(["all", "none", "part", "part"])
            _command("cp", "--sparse=always", self.site.blank, self.site.image)
            with self.site.image.open("r+b") as image:
                _write(image.fileno(), self._left(self.events[flushed:moment], how))
            where = f"{self.site.file_system}, event {moment}, {how} of what was not flushed"
            answered = b"".join(event.data for event in self.events[self.begin : moment] if event.kind == NOTED)
            with self.site.mounted(self.site.image):
                self.look(answered.decode().split()[1:], where)
        os.close(durable)
        return Counts(cuts, *self.seen.values(), troubles=self.troubles)

    def _left(self, events: Iterable[Event], how: str) -> Iterator[Event]:
        """Yield of some writes what has reached the disk: all of it, nothing, or any sectors."""
        for event in events:
            if event.kind != WRITTEN or how == "none":
                continue
            if how == "all":
                yield event
            elif (share := self.chance.choice([0.0, 0.5, 1.0])) > 0:
                for sector in _sectors(event):
                    if self.chance.random() < share:
                        yield sector

    def look(self, answered: list[str], where: str) -> None:
        """Run a worker on what is there, and count."""
        promised = {name for name in answered if name[0] in PROMISED}
        there, troubles = in_child(lambda: recover(self.site.folder, where))
        self.troubles += troubles
        there = set(there)
        self.seen["acknowledged"] += len(promised)
        if lost := sorted(promised - there):
            self.seen["lost"] += len(lost)
            self.troubles.append(f"{where}: lost {' '.join(lost[:5])}")
        for letter in sorted(IN_TURN):
            posted = [name for name in answered if name[0] == letter]
            last = max((n for n, name in enumerate(posted) if name in there), default=-1)
            older = [name for name in posted[: last + 1] if name not in there]
            self.seen["unpromised"] += len(posted)
            self.seen["gone"] += len(posted) - last - 1 + len(older)
            if older:
                self.seen["older"] += len(older)
                self.troubles.append(f"{where}: {posted[last]} is there, but not {' '.join(older[:5])}")


def in_child(work: Callable[[], Any]) -> Any:
    """Do it in a forked child, which keeps no file open when it has ended; return what it returned, by way of JSON."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, json.dumps(work()).encode())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(said)


def recover(path: Path, where: str) -> tuple[list[str], list[str]]:
    """Run what is owed in the folder and clear it.

    Return the ids of what has ended well or still waits for its time, and what was wrong.
    """
    troubles: list[str] = []
    errors = _Errors()
    logging.getLogger("pmtq").addHandler(errors)
    logging.getLogger("pmtq").propagate = False
    app = make_app(path)
    try:
        _work(app)
        waiting = {line["task_id"] for name in app.folder.queue_names() for line in _lines(app.folder.queue(name))}
        there = waiting | _ended(app, troubles, where)
    except Exception as error:
        troubles.append(f"{where}: {error!r}")
        there = set()
    return sorted(there), [*troubles, *(f"{where}: {said}" for said in errors.said)]


def _work(app) -> None:
    sealing.SEAL_BYTES = sealing.IDLE_SEAL_BYTES = 0
    here = Presence(app.folder, "heir", {"name": "heir", "pid": os.getpid()})
    for _ in range(2):  # a sealed file is read once more, and what is found in it run
        consumer = Consumer(app.folder, here, QUEUES, app.tasks)
        consumer.run(burst=True)
        for _ in range(2):
            consumer._claimer.tidy(time.time() + sealing.GRACE + 1, idle=True)
    here.leave()


def _ended(app, troubles: list[str], where: str) -> set[str]:
    """Return the ids of the tasks that have ended well; what has ended in another way is wrong."""
    ended = set()
    for path in [*app.folder.sealed_results(), app.folder.results]:
        for line in _lines(path):
            if line.get("status") == SUCCESS:
                ended.add(line["task_id"])
                if line["result"] != line["task_id"]:
                    troubles.append(f"{where}: wrong result: {line}")
            elif line.get("status") == "FAILURE":
                troubles.append(f"{where}: {line}")
    return ended


def _lines(path: Path) -> list[dict]:
    """Return the lines of a file; half a one at the end is nothing."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


class _Errors(logging.Handler):
    """Keeps what a worker logs as an error, but for half a line: that of a call whose caller had no answer."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        if "is no task record" not in (said := record.getMessage()):
            self.said.append(said)


def _sectors(event: Event) -> Iterator[Event]:
    """Yield a write cut where one sector of the disk ends and the next begins."""
    start, end = event.offset, event.offset + len(event.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        yield Event(WRITTEN, start, event.data[start - event.offset : stop - event.offset])
        start = stop


def _write(disk: int, events: Iterable[Event]) -> None:
    for event in events:
        if event.kind == WRITTEN:
            os.pwrite(disk, event.data, event.offset)


def _loop_device(disk: Path) -> str:
    """Return a loop device that stands for ``disk``; another program may be faster to take the one that was free."""
    for _ in range(ATTEMPTS - 1):
        with suppress(AssertionError):
            return _command("losetup", "--find", "--show", disk).strip()
    return _command("losetup", "--find", "--show", disk).strip()


def _command(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def main() -> None:
    """Cut so often as the command line says and print the counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.power_cut", description="Cut the power under a queue.")
    parser.add_argument("file_system", choices=list(MAKE))
    parser.add_argument("cuts", type=int)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("calls", type=int, nargs="?", default=60, help="of each of the clients")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = vars(parser.parse_args())
    do = run if chosen.pop("inside") else cut_power
    print(json.dumps(do(**chosen)._asdict(), indent=1))


if __name__ == "__main__":
    main()
