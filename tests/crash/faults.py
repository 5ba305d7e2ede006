"""Has one system call on the files of a queue folder fail, as a full disk, a broken one or a limit would have it.

1. Only calls on that folder's files count, whichever module makes them; all else the process does goes its way.
2. One call fails, the one whose number was asked for; then all is well again, as when somebody has made room.
3. After each fault a fresh worker goes over the folder, and what ran is compared with what was promised.

``survey`` goes through every call of every scenario with every error; nothing is killed here, that is ``kills``.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from pmtq import PMTQ, disk, sealing
from pmtq.exceptions import OperationalError
from pmtq.folder import Folder
from pmtq.presence import Presence
from pmtq.states import SUCCESS
from pmtq.worker import consumer
from pmtq.worker.consumer import Consumer
from tests.crash.counts import Counts
from tests.support import all_states, read_lines

SHORT = -1
"""Instead of an error: half of the bytes are written."""
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EINTR, errno.EMFILE, SHORT)
CALLS = ("open", "write", "pread", "ftruncate", "fsync", "stat", "replace", "unlink", "mkdir", "listdir")


class Faults:
    """While it is entered, counts the calls on one folder's files, and has number ``number`` of them fail."""

    def __init__(self, folder: Path, number: int = 0, error: int = errno.EIO) -> None:
        self.calls: list[str] = []
        self._folder, self._number, self._error = str(folder), number, error
        self._real = {name: getattr(os, name) for name in CALLS}
        self._lock = disk.lock_descriptor

    def __enter__(self) -> Self:
        for name, real in self._real.items():
            setattr(os, name, self._wrapped(name, real))
        disk.lock_descriptor = self._wrapped("flock", self._lock)
        return self

    def __exit__(self, *_: object) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)
        disk.lock_descriptor = self._lock

    def happened(self) -> bool:
        """Say whether it came to the fault."""
        return 0 < self._number <= len(self.calls) and (self._error != SHORT or self.last() == "write")

    def last(self) -> str:
        """Return the name of the call that was to fail; empty if there were not so many."""
        return self.calls[self._number - 1] if 0 < self._number <= len(self.calls) else ""

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if not (args and self._is_ours(args[0])):
                return real(*args, **options)
            self.calls.append(name)
            if len(self.calls) == self._number:
                if self._error != SHORT:
                    raise OSError(self._error, os.strerror(self._error))
                if name == "write":
                    return real(args[0], args[1][: len(args[1]) // 2])
            return real(*args, **options)

        return call

    def _is_ours(self, file: Any) -> bool:
        if isinstance(file, int):
            try:
                file = os.readlink(f"/proc/self/fd/{file}")
            except OSError:
                return False
        return isinstance(file, str | os.PathLike) and os.fspath(file).startswith(self._folder)


def make_app(path: Path, ran: list[str]) -> PMTQ:
    """Return an app on the folder ``path`` with the task ``log``, which leaves its argument in ``ran``."""
    app = PMTQ("tasks", broker=f"file://{path}")

    @app.task(name="log")
    def log(entry):
        ran.append(entry)
        return entry

    return app


def post(app: PMTQ, task_id: str, **options: Any) -> None:
    """Post a task that leaves its own id."""
    app.tasks["log"].apply_async([task_id], task_id=task_id, **options)


def run_worker(app: PMTQ, name: str) -> None:
    """Be a worker until nothing is left to run, and clear away what is done with."""
    here = Presence(app.folder, name, {"pid": os.getpid()})
    try:
        working = Consumer(app.folder, here, ["celery"], app.tasks)
        working.run(burst=True)
        working._claimer.tidy(time.time() + sealing.GRACE + 1, idle=True)
        here.leave()
    except BaseException:
        here.abandon()
        raise


def first_call(app: PMTQ) -> None:
    """Post into a folder that is not there yet."""
    post(app, "new", durable=True)


def later_call(app: PMTQ) -> None:
    """Post once more, with the files open."""
    post(app, "new", durable=True)


def worker(app: PMTQ) -> None:
    """Work off a queue, and seal it."""
    run_worker(app, "w1")


def look(app: PMTQ) -> None:
    """Ask for a result."""
    assert app.AsyncResult("old").state == SUCCESS


def by_hand(app: PMTQ) -> None:
    with app.folder.queue().open("a") as file:
        file.write('{"function":"log","params":["hand"]}\n')


def nothing(app: PMTQ) -> None:
    """Have a folder that does not exist."""


def one_old(app: PMTQ) -> None:
    """Have one task waiting."""
    post(app, "old")


def some(app: PMTQ) -> None:
    """Have a few tasks waiting, one of them typed."""
    for number in range(3):
        post(app, f"t{number}")
    by_hand(app)


def one_done(app: PMTQ) -> None:
    """Have one task done, and its result sealed."""
    post(app, "old")
    run_worker(app, "w0")


SCENARIOS = {
    "first call": (nothing, first_call, []),
    "later call": (one_old, later_call, ["old"]),
    "worker": (some, worker, ["t0", "t1", "t2", "hand"]),
    "look": (one_done, look, ["old"]),
}
"""For each what is there before, what is done while a call fails, and what must have run in the end."""


def once(place: Path, scenario: str, number: int, error: int, counts: Counts) -> bool:
    """Go through a scenario with one fault; return whether there was a call of that number."""
    prepare, act, expected = SCENARIOS[scenario]
    ran: list[str] = []
    app = make_app(place / "queue_dir", ran)
    prepare(app)
    faults = Faults(app.folder.path, number, error)
    refusal = ""
    try:
        with faults:
            act(app)
    except OperationalError as refused:
        refusal = str(refused)
    where = f"{scenario}, call {number} ({faults.last()}), {'short' if error == SHORT else errno.errorcode[error]}"
    counts.troubles += [f"{where}: {trouble}" for trouble in _troubles(app.folder, scenario, refusal)]
    acknowledged = ["new"] if act in {first_call, later_call} and not refusal else []
    stands = _ids_in(app.folder)  # what is there though it was refused may run: it said so
    post(app, "after")
    for heir in ("w8", "w9"):
        run_worker(app, heir)
    runs = Counter(ran)
    ends = Counter(line["task_id"] for line in all_states(app.folder) if line["status"] == SUCCESS)
    lost = set(expected + acknowledged + ["after"]) - set(runs)
    unwanted = set(runs) - {*expected, *acknowledged, "after", *stands}
    doubled = [entry for entry, count in [*runs.items(), *ends.items()] if count > 1]
    counts.add(where, happened=faults.happened(), lost=len(lost), doubled=len(doubled) + len(unwanted))
    app.backend.close()
    app.close()
    return bool(faults.last())


def _ids_in(folder: Folder) -> list[str]:
    return [line["task_id"] for line in read_lines(folder.queue()) if "task_id" in line]


def _troubles(folder: Folder, scenario: str, refusal: str) -> Iterator[str]:
    """Yield what is not as it should be right after the fault, before anybody has mended it."""
    if scenario.endswith("call"):
        stands = "new" in _ids_in(folder)
        if stands and refusal and "might not survive a power cut" not in refusal:
            yield f"refused, and stands in the file: {refusal}"
        if not stands and not refusal:
            yield "not refused, and does not stand in the file"
        data = folder.queue().read_bytes() if folder.queue().exists() else b""
        if data and not data.endswith(b"\n"):
            yield "the file ends in half a line"
    if refusal and not (str(folder.path) in refusal and refusal.count(". ") >= 1):
        yield f"does not say where, or what to do: {refusal}"


@contextmanager
def in_a_hurry() -> Iterator[None]:
    """Seal whatever there is, try again at once, log nothing, and wait for no disk: nobody pulls a plug here."""
    places = [(sealing, "SEAL_BYTES"), (sealing, "IDLE_SEAL_BYTES"), (consumer, "SLOW_POLL"), (os, "fsync")]
    before = [getattr(*place) for place in places]
    for place, value in zip(places, (0, 0, 0.0, lambda _: None), strict=True):
        setattr(*place, value)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        for place, value in zip(places, before, strict=True):
            setattr(*place, value)


def survey(place: Path, scenario: str, errors: Callable[[int], tuple[int, ...]] = lambda _: ERRORS) -> Counts:
    """Fail each call of a scenario in turn, in a folder of its own below ``place``; ``errors`` says by its number with what."""
    counts = Counts()
    with in_a_hurry():
        for number in itertools.count(1):
            for error in errors(number):
                folder = place / f"{number}-{error}"
                folder.mkdir(parents=True)
                if not once(folder, scenario, number, error, counts):
                    return counts
    raise AssertionError("there is no last call")


def survey_all(place: Path) -> dict[str, Counts]:
    """Fail every call of every scenario with every error: the large form, some minutes."""
    return {scenario: survey(place / scenario, scenario) for scenario in SCENARIOS}
