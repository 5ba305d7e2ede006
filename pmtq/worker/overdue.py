"""A second thread that notices when a task takes longer than was expected of its batch.

It does not know what is to be done about it: whoever runs the batch says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("pmtq.worker")

OVERDUE = 0.05
"""Seconds after which the rest of a batch no longer waits for the task that is running."""


class Overdue(threading.Thread):
    """Looks after batches of several tasks, one after the other."""

    def __init__(self, count: Callable[[], int], act: Callable[[int], bool]) -> None:
        """Call ``act`` with ``count()`` when that has not grown for ``OVERDUE`` seconds.

        ``act`` returns whether there is still something to look after.
        """
        super().__init__(daemon=True, name="pmtq-overdue")
        self._count = count
        self._act = act
        self._wanted = threading.Event()
        self._stopping = False

    def look_after(self) -> None:
        """Look from now on."""
        self._wanted.set()

    def stop(self) -> None:
        """End the thread, within ``OVERDUE`` seconds."""
        self._stopping = True
        self._wanted.set()

    def run(self) -> None:
        """Look; what goes wrong is logged and tried again, because nobody else would notice."""
        while not self._stopping:
            self._wanted.wait()
            count = self._count()
            time.sleep(OVERDUE)
            if self._count() != count:
                continue
            self._wanted.clear()  # before acting: what is filled in meanwhile asks for another look
            try:
                more = self._act(count)
            except Exception:
                logger.exception("The rest of a batch could not be given back; trying again")
                more = True
            if more:
                self._wanted.set()
