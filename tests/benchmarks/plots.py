"""The figures of the tutorials: how fast pmtq is as more waits, and as more take part. README.md shows and explains them.

1. What was measured is kept as JSON beside the pictures, so that they can be drawn anew without measuring.
2. Each point is the median of some rounds; the rounds go through all points in turn, so that a busy minute of the machine
   falls on all of them.
3. A point is measured at its user's door, like all figures: clients and workers are processes of their own.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.presence import living
from tests.benchmarks.contenders import Pmtq
from tests.benchmarks.figures import FINE
from tests.benchmarks.files import Backlog, ResultsFollower
from tests.benchmarks.processes import ROOT, Unmeasured, Workshop, python
from tests.benchmarks.svg import Axis, Chart, Line, draw
from tests.benchmarks.table import circumstances

FIGURES = ROOT / "tutorials" / "figures"
MEASURED = "measured.json"
PATIENCE = 120.0
"""Seconds for one point, after which the machine is too busy to say anything."""
AT_ONCE = 5_000
"""Tasks that are posted at once to keep a backlog up, at most."""


class Scale(NamedTuple):
    """How much is measured."""

    rounds: int
    waiting: tuple[int, ...]
    """The backlogs."""
    window: tuple[int, int]
    """A worker's rate is taken from the first to the second number of tasks after its start."""
    trips: int
    """Round trips for each backlog and round …"""
    trip_seconds: float
    """… or as many as there are in this time."""
    producers: tuple[int, ...]
    workers: tuple[int, ...]
    tasks: int
    """So many are posted by all producers together."""


FULL = Scale(3, (1_000, 10_000, 100_000, 1_000_000), (10_000, 110_000), 200, 10.0, (1, 2, 4, 8), (1, 2, 4), 100_000)
QUICK = Scale(1, (1_000, 10_000, 100_000), (5_000, 25_000), 50, 1.0, (1, 4), (1, 2), 20_000)


class Urgent(Pmtq):
    """pmtq, with a client whose calls have the highest priority, so that they wait for no backlog."""

    client = "pmtq-urgent"


def measure(shop: Workshop, scale: Scale, say: Callable[[str], None]) -> dict[str, Any]:
    """Return every point of all figures, with what was measured in each round."""
    most = max(scale.waiting) + scale.window[1] + 4 * AT_ONCE
    one = Urgent(shop, Backlog(shop.new_folder(), most))
    rates: dict[int, list[float]] = {waiting: [] for waiting in scale.waiting}
    trips: dict[int, list[float]] = {waiting: [] for waiting in scale.waiting}
    starved = dict.fromkeys(scale.waiting, 0)
    together: dict[tuple[int, int], list[float]] = {
        (workers, producers): [] for workers in scale.workers for producers in scale.producers
    }
    for number in range(scale.rounds):
        for waiting in scale.waiting:
            say(f"plots, round {number + 1}: {waiting:,} waiting")
            course = with_waiting(one, waiting, scale)
            rates[waiting].append(course.rate)
            if not course.trips:
                raise Unmeasured(f"no round trip was made beside {waiting:,} waiting tasks")
            trips[waiting] += course.trips
            starved[waiting] += course.starved
        for (workers, producers), found in together.items():
            say(f"plots, round {number + 1}: {producers} producers, {workers} workers")
            found.append(rate_together(one, producers, workers, scale.tasks))
    return {
        "backlog": [
            {
                "waiting": waiting,
                "tasks_per_second": round(statistics.median(rates[waiting])),
                "trip_median": round(statistics.median(trips[waiting]), 6),
                "trip_p99": round(share_of(trips[waiting], 0.99), 6),
                "rounds": [round(rate) for rate in rates[waiting]],
                "trips": len(trips[waiting]),
                "starved": starved[waiting],
            }
            for waiting in scale.waiting
        ],
        "together": [
            {
                "workers": workers,
                "producers": producers,
                "tasks_per_second": round(statistics.median(found)),
                "rounds": [round(rate) for rate in found],
            }
            for (workers, producers), found in together.items()
        ],
    }


def share_of(values: list[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class Course(NamedTuple):
    """What a worker showed beside a backlog."""

    rate: float
    """Tasks per second."""
    trips: list[float]
    """Seconds of urgent round trips."""
    starved: int
    """Looks at which nothing waited: the machine was too busy to post in time, and the worker would have been faster."""


def piece_of(waiting: int) -> int:
    """Return how many tasks are posted at once when fewer than ``waiting`` wait: half of them, but at least one."""
    return max(1, min(waiting // 2, AT_ONCE))


def with_waiting(one: Urgent, waiting: int, scale: Scale) -> Course:
    """Return how fast a worker is while about ``waiting`` tasks wait.

    More are posted whenever fewer wait, as long as the backlog has any.
    """
    shop, backlog = one.shop, one.backlog
    with one.queue() as folder, ExitStack() as stack:
        one.fill(folder, waiting)
        seen = stack.enter_context(closing(ResultsFollower(folder)))
        queue = stack.enter_context(closing(Journal(Folder(folder).queue())))
        stack.enter_context(one.workers(folder))
        posted, piece, starved = waiting, piece_of(waiting), 0

        def ended() -> int:
            nonlocal posted, starved
            count = seen.count()
            starved += scale.window[0] <= seen.started == posted
            while posted - seen.started < waiting and posted + piece <= backlog.tasks:
                queue.append(backlog.lines(posted, posted + piece))
                posted += piece
            return count

        marks = []
        for goal in scale.window:
            shop.wait_for(lambda goal=goal: ended() >= goal, f"result number {goal:,}", PATIENCE, every=FINE)
            marks.append((time.perf_counter(), seen.ended))
        (begun, first), (over, last) = marks
        with ThreadPoolExecutor(1) as threads:
            trips = threads.submit(one.ask, folder, "round-trip", scale.trips, scale.trip_seconds, 0.0)
            shop.wait_for(lambda: ended() and trips.done(), "the round trips", PATIENCE, every=FINE)
    return Course((last - first) / (over - begun), trips.result(), starved)


def rate_together(one: Urgent, producers: int, workers: int, tasks: int) -> float:
    """Return the tasks per second from the moment in which producers begin to post until the last result is there."""
    shop, share = one.shop, tasks // producers
    gate = shop.new_folder()
    with one.queue() as folder, ExitStack() as stack:
        environment = one.environment(folder)
        stack.enter_context(one.workers(folder, workers))
        command = python("tests.benchmarks.client", "pmtq", folder, "fill-when-told", str(share), gate)
        for _ in range(producers):
            stack.enter_context(shop.running(command, environment))
        shop.wait_for(lambda: len(list(gate.iterdir())) == producers, f"{producers} producers", PATIENCE)
        shop.wait_for(lambda: len(living(Folder(folder))) == workers, f"{workers} workers", PATIENCE)
        with closing(ResultsFollower(folder)) as seen:
            begun = time.perf_counter()
            (gate / "go").touch()
            shop.wait_for(lambda: seen.count() >= share * producers, "all results", PATIENCE, every=FINE)
            return share * producers / (time.perf_counter() - begun)


def pictures(measured: dict[str, Any]) -> dict[str, str]:
    """Return the pictures of what ``measure`` has returned, by the name of their file."""
    points = measured["backlog"]
    across = Axis("tasks waiting", logarithmic=True)
    rates = Line("one worker", [(one["waiting"], one["tasks_per_second"]) for one in points])
    medians = Line("median", [(one["waiting"], one["trip_median"] * 1e3) for one in points])
    slowest = Line("99 of 100 are faster", [(one["waiting"], one["trip_p99"] * 1e3) for one in points])
    workers = sorted({one["workers"] for one in measured["together"]})
    producers = sorted({one["producers"] for one in measured["together"]})
    lines = [
        Line(
            f"{count} worker{'s' * (count > 1)}",
            [(one["producers"], one["tasks_per_second"]) for one in measured["together"] if one["workers"] == count],
        )
        for count in workers
    ]
    backlog = [
        Chart("Empty tasks run, beside a backlog", across, Axis("tasks a second"), [rates]),
        Chart("Round trip of an urgent call, beside a backlog", across, Axis("milliseconds"), [medians, slowest]),
    ]
    posting = Axis("producers posting at the same time", logarithmic=True, ticks=tuple(producers))
    together = Chart("Empty tasks posted and run", posting, Axis("tasks a second"), lines)
    return {"backlog.svg": draw(backlog), "producers.svg": draw([together])}


def facts_of_the_machine() -> dict[str, object]:
    """Return what a reader of the pictures must know of it."""
    facts = circumstances()
    return {name: facts[name] for name in ("at", "python", "cores", "load_before")}


def save(measured: dict[str, Any], folder: Path) -> None:
    """Write what was measured and its pictures into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, value in measured.items():
        rows = value if isinstance(value, list) else None
        text = json.dumps(value) if rows is None else "[\n" + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]"
        lines.append(f"{json.dumps(key)}: {text}")
    (folder / MEASURED).write_text("{\n" + ",\n".join(lines) + "\n}\n")
    redraw(folder)


def redraw(folder: Path) -> None:
    """Draw the pictures of what ``folder`` holds."""
    for name, text in pictures(json.loads((folder / MEASURED).read_text())).items():
        (folder / name).write_text(text)
