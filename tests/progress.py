"""What the programs among the tests share that run for minutes: they show what is going on, and Ctrl-C ends them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn


def say(text: str) -> None:
    """Show what is going on, on a line that the next one replaces; in a log file, not at all."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:120]}", end="", file=sys.stderr, flush=True)


def run_as_program(main: Callable[[], int]) -> NoReturn:
    """End this process with the status that ``main`` returns, or as one that Ctrl-C has ended; no queue folder is set for it."""
    os.environ.pop("PMTQ_BROKER_URL", None)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
