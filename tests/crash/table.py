"""What a run of the harnesses came to, as one table.

1. A promise that was broken shows in the table, in what is printed below it, and in the exit status.
2. Whatever broke is named with the command that runs it again.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

WIDTH = 140
"""Columns, where there is no terminal to say how many it has."""
NONE = "-"
"""Stands where a harness does not count such a thing."""


@dataclass
class Row:
    """One harness."""

    harness: str
    count: str = ""
    """What it went through: states, steps, tasks, examples."""
    kills: int | None = None
    lost: int = 0
    doubled: int = 0
    """Runs beyond the first that no kill explains."""
    needless: int = 0
    """Runs of a task whose end was known."""
    unexpected: int = 0
    """Whatever else must not be."""
    redelivery: list[float] = field(default_factory=list)
    """Seconds, one for each task that a kill had broken off."""
    seconds: float = 0.0
    fault: str = ""
    """The first thing that went wrong, in words."""
    again: str = ""
    """The command that runs that once more."""

    @property
    def is_broken(self) -> bool:
        """Say whether any promise was."""
        return bool(self.fault or self.lost or self.doubled or self.needless or self.unexpected)


def share_at_most(values: list[float], share: float) -> float:
    """Return the value that ``share`` of ``values``, of which there are some, do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _in_ms(values: list[float], share: float) -> str:
    return f"{share_at_most(values, share) * 1000:.0f}" if values else NONE


def show(rows: list[Row]) -> int:
    """Print the table, and what is broken; return the exit status."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for heading in (
        "harness", "went through", "kills", "lost", "doubled", "needless re-runs", "unexpected", "redelivery p50 / p99 ms", "s",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading in {"harness", "went through"} else "right", no_wrap=True)
    for row in rows:
        delays = f"{_in_ms(row.redelivery, 0.5)} / {_in_ms(row.redelivery, 0.99)}" if row.redelivery else NONE
        numbers = [row.lost, row.doubled, row.needless, row.unexpected]
        kills = NONE if row.kills is None else f"{row.kills:,}"
        table.add_row(row.harness, row.count, kills, *(f"{one:,}" for one in numbers), delays, f"{row.seconds:.0f}")
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(table)
    console.print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
    )
    broken = [row for row in rows if row.is_broken]
    for row in broken:
        console.print(f"\nBROKEN: {row.harness}: {row.fault}\nRun it again: {row.again}", markup=False, soft_wrap=True)
    return int(bool(broken))
