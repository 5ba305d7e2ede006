"""Makes signals, and the ends of children, readable: so that one wait waits for all (cr.yp.to/docs/selfpipe.html)."""

from __future__ import annotations

import contextlib
import os
import signal

from pmtq.fork import put_in_order_after_fork


class SelfPipe:
    """A pipe in which there is a byte for each signal that came."""

    def __init__(self) -> None:
        """Write a byte into it at every signal from now on."""
        self.reading, self._writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self._writing, False)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._old_handler = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        put_in_order_after_fork(self)

    def wake(self) -> None:
        """Write a byte for what is no signal."""
        with contextlib.suppress(OSError):  # full, or closed: somebody is awake
            os.write(self._writing, b"\0")

    def drain(self) -> None:
        """Take out what was written."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.reading, 4096)

    def after_fork(self) -> None:
        """Leave a forked child without it."""
        self.close()

    def close(self) -> None:
        """Put everything back as it was; once is enough."""
        if self.reading >= 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, self._old_handler)
            os.close(self.reading)
            os.close(self._writing)
            self.reading = self._writing = -1
