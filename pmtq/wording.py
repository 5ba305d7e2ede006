"""How messages say what several of them say: a path that is to be typed.

It does not know what the messages are about.
"""

from __future__ import annotations

import shlex
from pathlib import Path


def typed(path: Path | str) -> str:
    """Return a path as one types it behind a command: in quotes if a shell would take it for several words."""
    return shlex.quote(str(path))
