"""How messages say what several of them say: a number of things, a path that is to be typed, a signal.

It does not know what the messages are about.
"""

from __future__ import annotations

import shlex
import signal
from pathlib import Path


def counted(number: int, thing: str) -> str:
    """Return ``1 task`` or ``2,000 tasks``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def typed(path: Path | str) -> str:
    """Return a path as one types it behind a command: in quotes if a shell would take it for several words."""
    return shlex.quote(str(path))


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` or, of one that has no name, such as the real-time ones, ``signal 40``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
