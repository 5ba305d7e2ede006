"""Rows of figures, and how they are shown.

1. A ratio is the median of the rounds' own ratios: both sides of each were measured within the same seconds.
2. A row without a target is there for orientation.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDTH = 140
"""Columns, where there is no terminal to say how many it has."""
PEERS = ("celery", "kombu", "huey", "redis", "rq")
"""The packages whose versions a reader must know, if they are installed."""


@dataclass
class Row:
    """One line of the table: a figure, and perhaps what it stands beside."""

    figure: str
    pmtq: str = ""
    beside: str = ""
    """What it is compared with."""
    other: str = ""
    """The figure of that."""
    ratio: float | None = None
    """pmtq's figure divided by the other."""
    target: str = ""
    met: bool | None = None
    note: str = ""
    failed: bool = False
    samples: dict[str, list[float]] = field(default_factory=dict)
    """What was measured, in tasks per second, seconds, megabytes or shares, one number for each round."""


@dataclass
class Outcome:
    """One line of the kill test's table."""

    queue: str
    tasks: int = 0
    kills: int = 0
    late: int = 0
    """Tasks that had not ended when the wait was over, and that the queue still had."""
    lost: int = 0
    """Tasks that had not ended, and that the queue had no more."""
    doubled: int = 0
    """Starts that no kill explains."""
    back: list[float] = field(default_factory=list)
    """Seconds from a kill to the second start of the task that it cut off."""
    note: str = ""
    failed: bool = False

    @property
    def median(self) -> float | None:
        """The median of ``back``; None if nothing came back."""
        return statistics.median(self.back) if self.back else None

    @property
    def worst(self) -> float | None:
        """The longest of ``back``; None if nothing came back."""
        return max(self.back, default=None)


@dataclass(frozen=True)
class Limit:
    """A target: at least or at most so much."""

    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        """Return it the way people write it."""
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"

    def is_met_by(self, value: float) -> bool:
        """Say whether ``value`` keeps to it."""
        return value >= self.least if self.least is not None else value <= (self.most or 0)


def rate(value: float) -> str:
    """Show tasks per second."""
    return f"{value:,.0f} /s"


def duration(seconds: float) -> str:
    """Show a time in the unit in which it has one to three digits before the point."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e6:.2f} µs"


def paired_ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the ratios of the rounds in which both were measured."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=False))


def show(rows: list[Row]) -> None:
    """Print the table; figure and value of pmtq only where they change."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for heading in ("figure", "pmtq", "beside", "its figure", "ratio", "target", "met", "note"):
        right = heading in {"pmtq", "its figure", "ratio", "target"}
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "note", overflow="fold")
    before = ""
    for row in rows:
        head = ("", "") if row.figure == before else (row.figure, row.pmtq)
        before = row.figure
        met = {None: "", True: "yes", False: "NO"}[row.met]
        table.add_row(*map(escape, (*head, row.beside, row.other, _shown(row.ratio), row.target, met, row.note)))
    _console().print(table)


def show_kills(outcomes: list[Outcome], patience: float) -> None:
    """Print the table of the kill test, in which nobody waited longer than ``patience`` seconds for a sign of life."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for heading in ("kill -9 of workers", "tasks", "kills", "late", "lost", "doubled", "back: median", "worst", "note"):
        words = heading in {"kill -9 of workers", "note"}
        table.add_column(heading, justify="left" if words else "right", no_wrap=heading != "note", overflow="fold")
    for one in outcomes:
        counts = (one.tasks, one.kills, one.late, one.lost, one.doubled) if one.tasks else ("",) * 5
        times = (duration(time) if time is not None else "-" * bool(one.tasks) for time in (one.median, one.worst))
        table.add_row(*(escape(str(cell)) for cell in (one.queue, *counts, *times, one.note)))
    _console().print(table)
    _console().print(
        f"late: still in the queue, and not run to its end when nothing had moved for {patience:g} s; lost: not even there; "
        "doubled: starts that no kill explains; back: from a kill to the second start of the task it cut off"
    )


def show_circumstances(facts: dict[str, Any]) -> None:
    """Print what a reader must know of the machine and of the other queues."""
    versions = "".join(f", {name} {version}" for name, version in facts["versions"].items())
    _console().print(
        f"Python {facts['python']}{versions}, {facts['cores']} cores, load {facts['load_before']} before, {facts['at']}"
    )


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def _shown(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def circumstances() -> dict[str, Any]:
    """Return what a reader must know of the machine and of the other queues."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_before": load,
        "versions": {name: metadata.version(name) for name in PEERS if find_spec(name)},
    }


def save(rows: list[Row], outcomes: list[Outcome], facts: dict[str, Any], path: Path) -> None:
    """Write everything to a JSON file, every round's figure and every kill's outcome included."""
    lists = {"rows": [asdict(row) for row in rows], "kills": [asdict(one) for one in outcomes]}
    path.write_text(json.dumps(facts | lists, indent=2) + "\n")
