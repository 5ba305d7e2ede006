"""What is noted of a long run every few seconds: memory, files, and what the clients saw.

1. Processes and files are looked at from outside, as ``ps`` and ``du`` do.
2. A file or a child process that goes while it is looked at counts as nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pmtq.sealing import SEAL_BYTES
from tests.benchmarks.plots import share_of
from tests.benchmarks.soak.growth import Watched
from tests.benchmarks.svg import Axis, Chart, Line

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
TOOTH = SEAL_BYTES / 1e6
"""Files that are cleared when they have grown to this size look like a saw."""
KINDS = ("queue", "results", "sealed", "workers", "other")
"""What the files of a folder are for, by which their sizes are added up."""


class Note(msgspec.Struct, frozen=True):
    """One look at everything."""

    at: float
    """Seconds since the start."""
    workers: list[float]
    """Resident memory of each worker and its children, in units of 1,000,000 bytes."""
    client: float
    """The same of the largest client."""
    opened: int
    """Descriptors that all workers have open."""
    sizes: dict[str, float]
    """The files of the folder, in units of 1,000,000 bytes, by kind."""
    files: int
    done: int
    """Tasks whose end clients have seen since the last look."""
    seconds: float
    """Since the last look."""
    p50: float
    """Of the round trips since the last look, in seconds."""
    p99: float


class Seen(NamedTuple):
    """What clients wrote into their diaries since the last look."""

    done: int
    trips: list[float]
    troubles: list[str]
    over: int
    """How many clients have ended."""


class Diaries:
    """Reads the clients' diaries as they grow."""

    def __init__(self, paths: list[Path]) -> None:
        """Take their paths; they need not exist yet."""
        self._places = dict.fromkeys(paths, 0)

    def read_on(self) -> Seen:
        """Return what is new."""
        lines = list(self._new_lines())
        return Seen(
            sum(line.get("done", 0) for line in lines),
            [trip for line in lines for trip in line.get("trips", [])],
            [text for line in lines for text in line.get("troubles", [])],
            sum(line.get("over", False) for line in lines),
        )

    def _new_lines(self) -> Iterator[dict[str, Any]]:
        for path, place in self._places.items():
            with suppress(FileNotFoundError), path.open("rb") as file:
                file.seek(place)
                data = file.read()
                whole = data.rfind(b"\n") + 1
                self._places[path] = place + whole
                yield from map(json.loads, data[:whole].splitlines())


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it (Linux)."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def megabytes_of(pid: int) -> float:
    """Return the memory that a process and its descendants have in RAM, in units of 1,000,000 bytes (Linux)."""
    pages = 0
    for one in family(pid):
        with suppress(OSError):
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return round(pages * PAGE / 1e6, 2)


def opened_by(pid: int) -> int:
    """Return how many descriptors a process and its descendants have open (Linux)."""
    count = 0
    for one in family(pid):
        with suppress(OSError):
            count += len(os.listdir(f"/proc/{one}/fd"))
    return count


def kind_of(name: str) -> str:
    """Return which of ``KINDS`` a file is, by its path in the folder."""
    head = name.partition("/")[0] if "/" in name else name.partition(".")[0]
    return head if head in KINDS else "other"


def sizes_of(folder: Path) -> tuple[dict[str, float], int]:
    """Return the sizes of all files of a queue folder by kind, in units of 1,000,000 bytes, and how many there are."""
    sizes: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    count = 0
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with suppress(FileNotFoundError):
                sizes[kind_of(path.relative_to(folder).as_posix())] += path.stat().st_size
                count += 1
    return {kind: round(sizes[kind] / 1e6, 3) for kind in KINDS}, count


class Watcher:
    """Takes the notes of one run."""

    def __init__(self, folder: Path, workers: list[int], clients: list[int], diaries: Diaries) -> None:
        """Watch a queue folder and the processes with these ids."""
        self._folder, self._workers, self._clients, self._diaries = folder, workers, clients, diaries
        self._begun = self._last = time.monotonic()
        self.troubles: list[str] = []
        """What clients found missing or wrong."""
        self.done = 0
        self.over = 0
        """How many clients have ended."""

    def look(self) -> Note:
        """Return how everything is now."""
        seen = self._diaries.read_on()
        self.troubles += seen.troubles
        self.done += seen.done
        self.over += seen.over
        now = time.monotonic()
        sizes, files = sizes_of(self._folder)
        note = Note(
            at=round(now - self._begun, 1),
            workers=[megabytes_of(pid) for pid in self._workers],
            client=max(map(megabytes_of, self._clients)),
            opened=sum(map(opened_by, self._workers)),
            sizes=sizes,
            files=files,
            done=seen.done,
            seconds=round(now - self._last, 2),
            p50=round(share_of(seen.trips, 0.5), 6),
            p99=round(share_of(seen.trips, 0.99), 6),
        )
        self._last = now
        return note


def watched(notes: list[Note], pools: list[str]) -> list[Watched]:
    """Return the series of a run, each with what it may rise by while the same work is done all the time."""
    return [
        *(
            Watched(f"memory of worker {number + 1} ({pool})", "MB", [note.workers[number] for note in notes], 0.05, 2)
            for number, pool in enumerate(pools)
        ),
        Watched("memory of the largest client", "MB", [note.client for note in notes], 0.05, 2),
        Watched("files open in all workers", "", [note.opened for note in notes], 0.1, 4),
        *(Watched(f"{kind}, size", "MB", [note.sizes[kind] for note in notes], 0.1, TOOTH / 2) for kind in KINDS),
        Watched("files in the folder", "", [note.files for note in notes], 0.1, 4),
        Watched("round trip, median", "ms", [note.p50 * 1e3 for note in notes], 0.5, 10),
        Watched("round trip, p99", "ms", [note.p99 * 1e3 for note in notes], 1.0, 100),
        Watched("tasks a second", "/s", [note.done / note.seconds for note in notes], 0.5, 10, falls=True),
    ]


def charts(notes: list[Note], pools: list[str]) -> list[Chart]:
    """Return the pictures of a run."""
    times = [note.at / 60 for note in notes]
    across = Axis("minutes")

    def line(name: str, values: list[float]) -> Line:
        return Line(name, list(zip(times, values, strict=True)))

    memory = [line(pool, [note.workers[number] for note in notes]) for number, pool in enumerate(pools)]
    sizes = [line(kind, [note.sizes[kind] for note in notes]) for kind in KINDS]
    made = [note for note in notes if note.p50]  # none was made since the last look: a logarithm has no 0
    trips = [
        Line("median", [(note.at / 60, note.p50 * 1e3) for note in made]),
        Line("99 of 100 are faster", [(note.at / 60, note.p99 * 1e3) for note in made]),
    ]
    return [
        Chart("Memory of each worker", across, Axis("megabytes"), memory),
        Chart("Sizes of the files", across, Axis("megabytes"), sizes),
        Chart("Round trips", across, Axis("milliseconds, logarithmic", logarithmic=True), trips),
        Chart("Tasks run", across, Axis("a second"), [line("all", [note.done / note.seconds for note in notes])]),
    ]
