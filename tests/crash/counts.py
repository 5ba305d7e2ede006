"""What a survey of faults has counted: every field but the first two is to be 0."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

LARGE = os.environ.get("PMTQ_CRASH") == "large"
"""Whether surveys visit every state there is, as ``PMTQ_CRASH=large`` in front of pytest asks for, or a handful."""


@dataclass
class Counts:
    """What came of all states together."""

    states: int = 0
    """How often something was run with a fault in it, and recovered."""
    kills: int = 0
    """How often the fault has come to pass: the process was killed, or the system call failed."""
    lost: int = 0
    """Tasks that were acknowledged and have no result."""
    doubled: int = 0
    """Tasks that have ended twice, or ran again without a kill, or that were refused and ran."""
    needless: int = 0
    """Tasks that ran again though their outcome had been noted when the worker was killed."""
    troubles: list[str] = field(default_factory=list)
    """Where it was, and what else was not as promised."""

    def add(self, where: str, *, happened: bool, lost: int = 0, doubled: int = 0, needless: int = 0) -> None:
        """Count one state."""
        self.states += 1
        self.kills += happened
        self.lost += lost
        self.doubled += doubled
        self.needless += needless
        if lost or doubled or needless:
            self.troubles.append(f"{where}: {lost} lost, {doubled} doubled, {needless} run again needlessly")
