"""``pmtq worker --reload``: a small parent that starts the worker afresh whenever a source file has changed.

1. The worker is a process of its own, started by the same command line without ``--reload``. It is ended gently: what it
   runs is run to its end, by the old code.
2. A worker that ended by itself, such as one whose code cannot be imported, is started again at the next change.

It does not know what the worker does, and never imports the code it watches.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

SETTLED = 0.1
"""Seconds without a further change after which it is believed that an editor, or a checkout, is done."""
_NOT_OURS = {"__pycache__", "node_modules", "venv", "site-packages", "queue_dir"}


def run_again_and_again(folder: Path) -> int:
    """Run this program's command line without ``--reload``, anew after every change below ``folder``.

    Returns the worker's last exit status, after a signal has ended it.
    """
    return Reloader(folder, [sys.executable, *(part for part in sys.orig_argv[1:] if part != "--reload")]).run()


def source_folders(folder: Path) -> Iterator[Path]:
    """Yield ``folder`` and those below it that hold Python files; hidden ones and those of other people's code are left out."""
    for path, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".") and name not in _NOT_OURS]
        if Path(path) == folder or any(name.endswith(".py") for name in files):
            yield Path(path)


class Reloader(FileSystemEventHandler):
    """The parent of one worker after the other."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        """Watch ``folder``, and run ``command`` again when something changes there."""
        self._folder = folder
        self._command = command
        self._changed = threading.Event()
        self._ending = False
        self._worker: subprocess.Popen[bytes] | None = None
        self._what = ""

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note the change of a source file; in watchdog's thread."""
        if event.event_type in {"modified", "attrib", "created", "moved", "deleted"}:
            for path in (os.fsdecode(event.src_path), os.fsdecode(event.dest_path)):
                if path.endswith(".py"):
                    self._what = os.path.relpath(path, self._folder)
                    self._changed.set()

    def run(self) -> int:
        """Return the exit status of the last worker."""
        status = 0
        with self._signals():
            while not self._ending:
                with self._watching():
                    status = self._run_once()
        return status

    def _run_once(self) -> int:
        """Start a worker; return its status when it has ended and there is a reason to start another, or to end."""
        self._changed.clear()
        self._worker = subprocess.Popen(self._command)  # noqa: S603  (our own command line)
        while self._worker.poll() is None and not self._changed.wait(SETTLED):
            pass
        if self._worker.poll() is None:
            self._let_settle()
            click.echo(f"{self._what} has changed; the worker starts again after the running task", err=True)
            self._worker.terminate()
        elif not self._ending and self._worker.returncode == 0:
            self._ending = True  # it had done what it was to do: --burst, --once
        elif not self._ending:
            click.echo("The worker has ended; it starts again when a source file changes", err=True)
            while not self._ending and not self._changed.wait(SETTLED):
                pass
            self._let_settle()
        return self._worker.wait()

    def _let_settle(self) -> None:
        while not self._ending and self._changed.is_set():
            self._changed.clear()
            self._changed.wait(SETTLED)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        observer = Observer()
        for path in source_folders(self._folder):
            observer.schedule(self, str(path))
        observer.start()
        try:
            yield
        finally:
            observer.stop()
            observer.join()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Hand the signals that end a worker to the worker, and end when it has."""
        numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGQUIT] if hasattr(signal, "SIGQUIT") else [])]
        before = {number: signal.signal(number, self._pass_on) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, _frame: object) -> None:
        self._ending = True
        from_terminal = number != signal.SIGTERM  # the terminal has told the worker, too
        if self._worker and not (from_terminal and os.isatty(0)):
            self._worker.send_signal(number)
