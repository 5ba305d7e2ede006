"""Starts the two programs, and ends them by their process ids, whatever happens in between.

1. Worker and client are separate processes; the only thing given to both is the address of the queue folder.
2. Ctrl-C goes to this process alone, which then ends the client first, so that nothing more is asked.
3. What they say is kept, and shown only if something went wrong.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pmtq.demo.place import Place
from pmtq.disk import read_at

END_WITHIN = 3.0
"""Seconds for a process to end after being asked to, before it is killed."""
WORKER = (
    "-m",
    "pmtq",
    "worker",
    "-A",
    "pmtq.demo.pictures:app",
    "-P",
    "solo",
    "-n",
    "demo@%h",
    "--loglevel",
    "warning",
)
CLIENT = ("-m", "pmtq.demo.client")
_ASKED_TO_END = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Program:
    """One of the two running programs."""

    def __init__(self, name: str, arguments: Sequence[str], place: Place) -> None:
        """Start Python with ``arguments``; ``name`` is how it is called on the screen."""
        self.name = name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        # A process group of its own keeps the terminal's Ctrl-C away from it.
        group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
        self._process = subprocess.Popen(  # noqa: S603  (this Python, and arguments from here)
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PMTQ_BROKER_URL": place.url, "NO_COLOR": "1"},
            **group,
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def end(self) -> None:
        """Ask it to end, and see that it does."""
        try:
            if self.status is None:
                self._process.terminate()
                self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_WITHIN)
        finally:
            self._said.close()

    def last_words(self, lines: int = 6) -> list[str]:
        """Return the last lines of what it said; to be called before ``end``."""
        descriptor = self._said.fileno()  # it is the program's own output: a seek here would move where that writes
        said = read_at(descriptor, os.fstat(descriptor).st_size, 0)
        return said.decode("utf-8", "replace").splitlines()[-lines:]


class Programs:
    """Worker and client, side by side."""

    def __init__(self, place: Place, pictures: int) -> None:
        """Start both: the worker to serve the folder, the client to have that many pictures resized in it."""
        self.place = place
        self.worker = Program("worker", [*WORKER, "--broker", place.url], place)
        try:
            self.client = Program("client", [*CLIENT, str(place.pictures), str(pictures)], place)
        except BaseException:
            self.worker.end()
            raise

    def end(self) -> None:
        """End both, the client first."""
        try:
            self.client.end()
        finally:
            self.worker.end()


@contextmanager
def side_by_side(place: Place, pictures: int) -> Iterator[Programs]:
    """Start both programs; end them when the block is left."""
    programs = Programs(place, pictures)
    try:
        yield programs
    finally:
        programs.end()


@contextmanager
def interruptions() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, a TERM or a closed terminal sets, instead of breaking in anywhere."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted  # only the main thread is told of signals
        return
    before = {number: signal.signal(number, lambda *_: interrupted.set()) for number in _ASKED_TO_END}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
