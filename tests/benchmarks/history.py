"""What became of each task while workers were killed: what the tasks noted, and what that amounts to.

1. A task notes its start and its end in a file, each with one append. It does the same in every queue.
2. A worker has one task in hand: the one it started last. Its death excuses one more start of that task, also when the task
   had just ended, because a queue cannot know of an end that nobody told it. Every other start but a task's first is needless.
3. Times are those of ``time.monotonic``, which all processes of one machine share.

It knows no queue, and it kills nobody.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

DIARY = "BENCH_DIARY"
"""The environment variable that tells a task where to note what it does."""
START, END = "start", "end"


class Note(NamedTuple):
    """One line of the diary."""

    what: str
    task: str
    worker: int
    """The session of the process that ran it: each worker leads one, and whatever it forks stays in there."""
    at: float


class Kill(NamedTuple):
    """The death of a worker."""

    worker: int
    at: float


@dataclass(frozen=True)
class Tally:
    """What a history amounts to."""

    unended: tuple[str, ...]
    """The tasks that did not come to an end, in the order in which they were posted."""
    needless: int
    """Starts that were neither the first of their task nor excused by a kill."""
    back: tuple[float, ...]
    """Seconds from a kill to the next start of the task that was in hand, for each kill after which there was one."""


def mark(task: str, seconds: float) -> None:
    """Note the start, take ``seconds``, note the end: the task that all queues run."""
    _write(START, task)
    time.sleep(seconds)
    _write(END, task)


def _write(what: str, task: str) -> None:
    descriptor = os.open(os.environ[DIARY], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{what} {task} {os.getsid(0)} {time.monotonic()}\n".encode())
    finally:
        os.close(descriptor)


def read(diary: Path) -> list[Note]:
    """Return what was noted; nothing if nobody has begun."""
    text = diary.read_text() if diary.exists() else ""
    fields = (line.split() for line in text.split("\n")[:-1])
    return [Note(what, task, int(worker), float(at)) for what, task, worker, at in fields]


def tally(tasks: Sequence[str], notes: Iterable[Note], kills: Iterable[Kill]) -> Tally:
    """Count what became of ``tasks``."""
    notes = sorted(notes, key=lambda note: note.at)
    ended = {note.task for note in notes if note.what == END}
    starts = [note for note in notes if note.what == START]
    in_hand = {start.worker: start.task for start in starts}  # the last one stays
    excuses: dict[str, list[float]] = {}
    for kill in sorted(kills, key=lambda kill: kill.at):
        if kill.worker in in_hand:  # else it died before its first task
            excuses.setdefault(in_hand[kill.worker], []).append(kill.at)
    started: set[str] = set()
    needless, back = 0, []
    for start in starts:
        if start.task in started:
            waiting = excuses.get(start.task)
            if waiting and waiting[0] <= start.at:
                back.append(start.at - waiting.pop(0))
            else:
                needless += 1
        started.add(start.task)
    return Tally(tuple(task for task in tasks if task not in ended), needless, tuple(back))
