"""The worker's log: one line an event, on stderr.

1. A line is one write, so that the lines of several processes do not mix, and a signal handler may log too.
2. A log that cannot be written (a closed terminal, a full disk) never stops the work.

It does not know what is logged.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time

from pmtq.cli.text import colours, visible

LEVELS = ("debug", "info", "warning", "error", "critical")
# Written out because rich needs 200 µs a line and these need none.
_COLOUR = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_STDERR = 2


def set_up(level: str, worker: str) -> None:
    """Send what ``pmtq`` logs from ``level`` on to stderr, under the name of ``worker``; replaces an earlier call."""
    logger = logging.getLogger("pmtq")
    logger.setLevel(level.upper())
    logger.propagate = False
    logger.handlers = [Lines(worker, coloured=colours(sys.stderr))]


class Lines(logging.Handler):
    """Writes ``HH:MM:SS.mmm LEVEL worker message``."""

    def __init__(self, worker: str, *, coloured: bool) -> None:
        """Log under the name ``worker``."""
        super().__init__()
        self._worker = visible(worker)
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a message of several lines goes on indented, so that it cannot pass for another event."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname:<7}"
        if self._coloured:
            level = f"\x1b[{_COLOUR.get(record.levelname, '0')}m{level}\x1b[0m"
        message = "\n    | ".join(map(visible, record.getMessage().splitlines() or [""]))
        return f"{clock}.{int(record.msecs):03d} {level} {self._worker} {message}\n"

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line at once."""
        with contextlib.suppress(OSError):
            os.write(_STDERR, self.format(record).encode("utf-8", "backslashreplace"))
