"""A client of the long run, in a process of its own: ``python -m tests.benchmarks.soak.client DIARY SECONDS EXPIRES``.

1. Round by round it posts one of everything, then asks for the results of some rounds before, and says what is wrong.
2. So the number of tasks that wait stays the same, however long it runs and however slow the workers are.
3. What it saw is one line of JSON a round, in the file ``DIARY``; the last line says ``"over": true``.

It does not know the workers, nor who reads the diary.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pmtq import chord
from pmtq.result import AsyncResult
from tests.benchmarks.soak import tasks

PATIENCE = 60.0
"""Seconds after which a result that is not there is missing …"""
IMPATIENCE = 1.0
"""… and after which the next ones are, once one was: a run in which all are missing must come to its end."""
PACE = 0.25
"""Seconds a round takes at least: the run is to be long, and leave the machine to others."""
BEHIND = 3
"""Rounds between posting and asking: what waits for a time has ended by then, when the workers are not slow."""
SHORT = 50
HEADER = 10
LONG_EVERY = 32
"""Rounds between two long results, so that four clients write half a megabyte of them a second."""
DELAY = 0.5
"""Seconds that a task with an ETA waits."""
TRIPS = 3


class Expected(NamedTuple):
    """A task that was posted, and what is to become of it."""

    kind: str
    result: AsyncResult[Any]
    value: Any
    """What it returns; of one that fails, the exception's name and text."""


def post(number: int) -> list[Expected]:
    """Post one of everything, in the ``number``-th round."""
    same = tasks.same
    posted = [Expected("short", same.delay(number + one), number + one) for one in range(SHORT)]
    if number % LONG_EVERY == 0:
        letter = "abcdefgh"[number // LONG_EVERY % 8]
        posted.append(Expected("long", tasks.long.delay(letter), letter * tasks.LONG))
    text = f"round {number}"
    members = [same.s(one) for one in range(HEADER)]
    begun = time.monotonic()
    called_off = same.apply_async([number], countdown=DELAY)
    called_off.revoke()
    in_time = time.monotonic() - begun < DELAY  # on a busy machine it may have begun before it was revoked
    return [
        *posted,
        Expected("failing", tasks.fail.delay(text), f"ValueError: {text}"),
        Expected("retried", tasks.again.delay(2), 2),
        Expected("chord", chord(members, tasks.total.s()).apply_async(), sum(range(HEADER))),
        Expected("with an ETA", same.apply_async([number], countdown=DELAY), number),
        *([Expected("revoked", called_off, "TaskRevokedError: ")] if in_time else []),
        Expected("forgotten", same.delay(number), number),
    ]


def troubles_of(asked: list[Expected]) -> Iterator[str]:
    """Wait for the ends of tasks; yield what is wrong."""
    patience = PATIENCE
    for one in asked:
        if text := trouble(one, patience):
            patience = IMPATIENCE
            yield text


def trouble(one: Expected, patience: float) -> str:
    """Wait for the end of a task; return what is wrong with it, or nothing."""
    try:
        value = one.result.get(patience)
    except TimeoutError as error:
        return f"missing: the result of a task that is {one.kind}: {error}"
    except Exception as error:
        value = f"{type(error).__name__}: {error}"
    if one.kind == "revoked":
        value = str(value)[: len(one.value)]
    if value != one.value:
        return f"wrong: the task {one.result.id} that is {one.kind} gave {value!r:.80} instead of {one.value!r:.80}"
    if one.kind == "forgotten":
        one.result.forget()
        if (state := one.result.state) != "PENDING":
            return f"wrong: the task {one.result.id} is {state} after its result was forgotten"
    return ""


def round_trips() -> tuple[list[float], str]:
    """Return the seconds from calls to their results, and what was wrong with the one after which no more were made."""
    trips: list[float] = []
    for _ in range(TRIPS):
        begun = time.perf_counter()
        asked = Expected("asked for at once", tasks.same.delay(0), 0)
        if text := trouble(asked, PATIENCE):
            return trips, text
        trips.append(time.perf_counter() - begun)
    return trips, ""


class Kept(NamedTuple):
    """A result that has been read, to be read once more shortly before it may go."""

    task_id: str
    at: float
    """When it was read, in seconds of ``time.monotonic``."""


def lost_again(kept: deque[Kept], expires: float) -> Iterator[str]:
    """Read those again whose time is half over; yield what is wrong."""
    while kept and time.monotonic() - kept[0].at > expires / 2:
        task_id, at = kept.popleft()
        state = tasks.app.AsyncResult(task_id).state
        age = time.monotonic() - at
        if state != "SUCCESS" and age < expires:
            yield f"missing: the task {task_id} is {state} {age:.0f} s after its result was there; it is kept for {expires:g} s"


def rounds(seconds: float, expires: float, tell: Callable[[dict[str, Any]], object]) -> None:
    """Post and ask for ``seconds``; then ask for what is left."""
    until = time.monotonic() + seconds
    pending: deque[list[Expected]] = deque()
    kept: deque[Kept] = deque()
    number = 0
    while pending or number == 0:
        begun = time.monotonic()
        trips, failed = [], ""
        if begun < until:
            pending.append(post(number))
            trips, failed = round_trips()
            number += 1
        over = time.monotonic() >= until
        asked = pending.popleft() if len(pending) > BEHIND or over else []
        troubles = [text for text in (failed, *troubles_of(asked)) if text]
        kept.extend(Kept(one.result.id, time.monotonic()) for one in asked[:1])
        troubles += lost_again(kept, expires)
        done = len(trips) + len(asked) + HEADER * any(one.kind == "chord" for one in asked)
        tell({"done": done, "trips": [round(one, 6) for one in trips], "troubles": troubles})
        time.sleep(max(0.0, min(PACE, until - begun) - (time.monotonic() - begun)))
    tell({"over": True})


def main(diary: str, seconds: str, expires: str) -> None:
    """Do what the command line says."""
    with Path(diary).open("a", buffering=1) as file:
        rounds(float(seconds), float(expires), lambda seen: print(json.dumps(seen), file=file))


if __name__ == "__main__":
    main(*sys.argv[1:])
