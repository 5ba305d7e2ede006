"""``kill -9`` at a system call of our choice, done by strace, and what a fresh worker makes of the remains.

1. A program is run in a forked child that strace attaches to, so that the calls of its start are not among those counted.
2. strace counts each kind of call for itself: a state is a kind, such as ``rename``, and a number.
3. After each kill a worker of another name goes over the folder, in this process. What ran is compared with what was owed.

``survey`` goes through the states of one program and returns ``Counts``. ``apt-get install strace`` where it is missing.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pmtq import sealing
from pmtq.folder import Folder
from pmtq.presence import Presence, noted
from pmtq.records import decode_state
from pmtq.states import SUCCESS
from pmtq.worker.consumer import Consumer
from tests.crash.counts import Counts
from tests.crash.worker_process import make_app
from tests.support import all_states, is_owed, read_lines

EFFECTS = (
    "write", "?pwrite64", "ftruncate", "?rename", "?renameat", "?renameat2", "?unlink", "?unlinkat", "fsync", "?mkdir", "flock"
)  # fmt: skip
"""One that this machine does not have is passed over (``?``)."""
_SET_PTRACER, _ANY = 0x59616D61, -1
"""prctl(2): let a process that is no parent attach, where the kernel's Yama module guards that."""


def why_not() -> str:
    """Return why strace cannot be used here, empty if it can."""
    if not shutil.which("strace"):
        return "strace is not installed (apt-get install strace)"
    status, said = traced(lambda: os.write(2, b""), "write", 1)
    return "" if status == -signal.SIGKILL else f"strace cannot attach to a process here: {said}"


def traced(program: Callable[[], object], effect: str, number: int, inject: str = "signal=KILL") -> tuple[int, str]:
    """Run a program in a child whose ``number``-th call of ``effect`` meets what ``inject`` says (strace(1)).

    Return its exit status, and what strace said if it could not attach.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _be_the_child(program, reading, writing)
    os.close(reading)
    with subprocess.Popen(
        ["strace", "-f", "-o", "/dev/null", "-p", str(child), "-e", f"trace={effect}", "-e", f"inject={effect}:{inject}:when={number}"],
        stderr=subprocess.PIPE, text=True,
    ) as strace:  # fmt: skip
        said = strace.stderr.readline()
        attached = "attached" in said
        if not attached:
            os.kill(child, signal.SIGTERM)
        os.write(writing, b"x")
        os.close(writing)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said += strace.stderr.read()
    return status, "" if attached else said.strip()


def _be_the_child(program: Callable[[], object], reading: int, writing: int) -> None:
    """Wait for strace, run the program, and end without another word: the parent's tests are none of the child's business."""
    status = 1
    try:
        os.close(writing)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_SET_PTRACER, _ANY, 0, 0, 0)
        os.read(reading, 1)
        program()
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def run_and_kill(program: Callable[[], object], effect: str, number: int) -> bool:
    """Run a program that dies at its ``number``-th call of ``effect``; return whether it came to that."""
    status, said = traced(program, effect, number)
    assert not said, said
    assert status in {0, -signal.SIGKILL}, f"the program ended with status {status} at {effect} {number}"
    return status != 0


def client(path: Path) -> None:
    """Post three tasks, and write down outside the folder which of them have got their ids."""
    log = make_app(path).tasks["tasks.log"]
    for number in range(3):
        log.apply_async([f"t{number}"], task_id=f"t{number}", durable=number == 2)
        descriptor = os.open(path.parent / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"t{number}\n".encode())
        os.close(descriptor)


def worker(path: Path, name: str = "w-victim") -> None:
    """Work off all there is, then seal queue and results, and sweep what was sealed."""
    before = sealing.SEAL_BYTES, sealing.IDLE_SEAL_BYTES
    sealing.SEAL_BYTES = sealing.IDLE_SEAL_BYTES = 0
    app = make_app(path)
    here = Presence(app.folder, name, {})
    consumer = Consumer(app.folder, here, ["celery"], app.tasks)
    consumer._expected["tasks.log"] = 0.0  # so that it claims them all at once, and notes are what tells them apart
    try:
        consumer.run(burst=True)
        consumer._claimer.tidy(time.time() + sealing.GRACE + 1, idle=True)
        here.leave()
        app.backend.close()
    finally:
        sealing.SEAL_BYTES, sealing.IDLE_SEAL_BYTES = before


def heir(path: Path) -> None:
    """Be the worker that comes next, and dies of nothing."""
    worker(path, "w-heir")


def no_task(path: Path) -> int:
    """Leave the folder to be made; return that nobody was killed yet."""
    path.parent.mkdir(parents=True)
    return 0


def some_tasks(path: Path) -> int:
    """Post tasks, one of them typed and one for later."""
    path.parent.mkdir(parents=True)
    app = make_app(path)
    log = app.tasks["tasks.log"]
    for number in range(3):
        log.apply_async([f"t{number}"], task_id=f"t{number}")
    with Folder(path).queue().open("a") as file:
        file.write('{"function":"tasks.log","params":["by_hand"]}\n')
    log.apply_async(["later"], task_id="later", eta="2099-01-01")
    app.close()
    return 0


def killed_at(effect: str, number: int) -> Callable[[Path], int]:
    """Return what leaves the folder as a worker did that was killed at that call."""

    def prepare(path: Path) -> int:
        template = path.parent.with_name("template") / path.name
        if not template.exists():
            some_tasks(template)
            assert run_and_kill(lambda: worker(template, "w-first"), effect, number), f"there is no {effect} {number}"
        shutil.copytree(template.parent, path.parent)
        return 1

    return prepare


class Program(NamedTuple):
    """What is killed, on which folder, and what must have run in the end."""

    run: Callable[[Path], None]
    prepare: Callable[[Path], int]
    """Fills the folder; returns how many were killed on it already."""
    owed: frozenset[str]
    waits: str = ""
    """A task that must still stand in the queue then."""


_SOME = frozenset({"t0", "t1", "t2", "by_hand"})
PROGRAMS = {
    "client": Program(client, no_task, frozenset()),
    "worker and sealing": Program(worker, some_tasks, _SOME, "later"),
    "recovery of a task": Program(worker, killed_at("write", 4), _SOME, "later"),
    "recovery of an outcome": Program(worker, killed_at("write", 5), _SOME, "later"),
    "recovery of a sealing": Program(worker, killed_at("?rename", 1), _SOME, "later"),
    "recovery of a renewal": Program(worker, killed_at("?rename", 3), _SOME, "later"),
}


def survey(place: Path, name: str, step: int = 1, program: Program | None = None) -> Counts:
    """Kill a program at each of its effects, or at every ``step``-th, each time in a folder of its own below ``place``.

    It is the one of that name, or another one that is given.
    """
    counts, program = Counts(), program or PROGRAMS[name]
    logging.disable(logging.CRITICAL)  # each heir reports what the dead have left
    try:
        for position, effect in enumerate(EFFECTS):
            number = 1 + position % step
            died = True
            while died:
                path, where = (
                    place / f"{effect.strip('?')}-{number}" / "queue_dir",
                    f"{name}, {effect.strip('?')} {number}",
                )
                died = _one_state(path, program, where, effect, number, counts)
                number += step
    finally:
        logging.disable(logging.NOTSET)
    return counts


def survey_all(place: Path) -> dict[str, Counts]:
    """Kill every program at every effect: the large form, a minute or two. ``why_not`` says whether it can be done here."""
    return {program: survey(place / program, program) for program in PROGRAMS}


def _one_state(path: Path, program: Program, where: str, effect: str, number: int, counts: Counts) -> bool:
    """Have a program killed once, and recover; return whether it came to that."""
    kills = program.prepare(path)
    folder = Folder(path)
    died = run_and_kill(lambda: program.run(path), effect, number)
    kills += died
    acknowledged = set(entries(path.parent / "acknowledged"))
    ran = entries(path.parent / "runs.log")
    before, ended = Counter(ran), _ended(folder) | set(ran[:-1])  # each is noted before the next one begins
    heir(path)
    runs = Counter(entries(path.parent / "runs.log"))
    ends = Counter(_ends(folder))
    owed = program.owed | acknowledged
    needless = sum(runs[entry] - before[entry] for entry in ended)
    re_runs = max(0, runs.total() - len(runs) - kills)
    twice = [entry for entry, count in ends.items() if count > 1]
    unwanted = max(0, len(set(runs) - owed) - kills)  # a client may die between the line and its answer
    counts.add(
        where,
        happened=died,
        lost=len(owed - set(runs)) + len(owed - set(ends)) + bool(program.waits and not is_owed(folder, program.waits)),
        doubled=re_runs + len(twice) + unwanted,
        needless=needless,
    )
    if folder.rejected.exists():
        counts.troubles.append(f"{where}: rejected {read_lines(folder.rejected)}")
    return died


def _ended(folder: Folder) -> set[str]:
    """Return the values of the tasks of which somebody, the dead worker among them, has written down that they ended."""
    notes = [decode_state(line) for name in folder.worker_names() for line in noted(folder, name)]
    return {state.result for state in notes if state.status == SUCCESS and isinstance(state.result, str)} | {
        *_ends(folder)
    }


def _ends(folder: Folder) -> list[str]:
    """Return the values of all tasks that have ended well, other than those that only gather the values of others."""
    values = [line.get("result") for line in all_states(folder) if line["status"] == SUCCESS and not line.get("kept")]
    return [value for value in values if isinstance(value, str)]


def entries(path: Path) -> list[str]:
    """Return what the tasks wrote into a file, one word each."""
    return path.read_text().split() if path.exists() else []
