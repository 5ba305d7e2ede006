"""Starts, watches and ends the processes of a benchmark run.

1. Whatever happens, none of them outlives the run: each leads a process group of its own, which is ended by its id.
2. Nobody waits without a deadline. Who waits in vain gets to read what the processes had to say.

It does not know what the processes do.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.001
Process = subprocess.Popen[bytes]


class Unmeasured(Exception):
    """A figure could not be measured; the text says why."""


class Workshop:
    """A place for one run: a temporary folder on the project's disk, and the processes that work in it."""

    def __init__(self, place: Path = ROOT) -> None:
        """Make the folder in ``place``: not in /tmp, which may be memory and have none of a disk's costs."""
        self.path = Path(tempfile.mkdtemp(prefix=".benchmarks-", dir=place))
        (self.path / ".gitignore").write_text("*\n")  # somebody may commit while this runs
        self._log = self.path / "log"
        self._running: list[Process] = []
        self._folders = 0
        self.begun: dict[int, float] = {}
        """When each process was started, by its id, in seconds of ``time.perf_counter``."""

    def __enter__(self) -> Self:
        """Open the workshop."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every process and remove every file."""
        self.stop_all()
        shutil.rmtree(self.path, ignore_errors=True)

    def new_folder(self) -> Path:
        """Return a new, empty folder."""
        self._folders += 1
        folder = self.path / f"{self._folders}"
        folder.mkdir(mode=0o700)
        return folder

    @contextmanager
    def running(self, command: list[str], environment: Mapping[str, str] | None = None) -> Iterator[Process]:
        """Start a process; kill it at the end of the ``with``."""
        process = self.start(command, environment)
        try:
            yield process
        finally:
            self.kill(process)

    def start(self, command: list[str], environment: Mapping[str, str] | None = None) -> Process:
        """Start a process in the project's root folder."""
        begun = time.perf_counter()
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append(process)
        self.begun[process.pid] = begun
        return process

    def ask(self, command: list[str], environment: Mapping[str, str] | None = None, patience: float = 60.0) -> Any:
        """Run a process to its end and return the JSON it prints."""
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=os.environ | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=patience,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unmeasured(f"{' '.join(command[2:4])} took more than {patience:g} s.{self.said()}") from error
        if done.returncode:
            last_words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise Unmeasured(f"{' '.join(command[2:4])} failed: {last_words[-200:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def stop(self, process: Process, patience: float = 5.0) -> None:
        """Ask a process to end, then end it, and whatever it started."""
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        self.kill(process)

    def kill(self, process: Process) -> None:
        """End a process and whatever it started, without asking; not twice, since another may have its number by then."""
        if process not in self._running:
            return
        self._running.remove(process)
        with suppress(ProcessLookupError):  # they may all have ended
            os.killpg(process.pid, signal.SIGKILL)  # it leads its group, so this number is its own
        for pid in _session(process.pid):  # what RQ forks for a task has a group of its own
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def stop_all(self) -> None:
        """End every process that was started here."""
        for process in list(self._running):
            self.kill(process)

    def wait_for(self, fact: Callable[[], Any], what: str, seconds: float = 20.0, every: float = POLL) -> Any:
        """Return what ``fact`` says as soon as that is true; raises ``Unmeasured`` after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not (said := fact()):
            if time.monotonic() > deadline:
                raise Unmeasured(f"waited {seconds:g} s in vain for {what}.{self.said()}")
            time.sleep(every)
        return said

    def said(self) -> str:
        """Return the end of what the processes printed."""
        text = self._log.read_text(errors="replace").strip() if self._log.exists() else ""
        return f" The last words of the processes: {text[-800:]}" if text else ""


def python(*arguments: str | Path) -> list[str]:
    """Return the command that runs a module with this interpreter."""
    return [sys.executable, "-m", *map(str, arguments)]


def cpu_seconds(pid: int) -> float:
    """Return the processor time that the threads of a process have used, to the nanosecond (Linux)."""
    return sum(int(path.read_text().split()[0]) for path in _proc(pid, "task").glob("*/schedstat")) / 1e9


def peak_megabytes(pid: int) -> float:
    """Return the largest amount of memory the process had in RAM at any time, in units of 1,000,000 bytes (Linux)."""
    for line in _proc(pid, "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise Unmeasured(f"/proc/{pid}/status has no VmHWM")


def _session(leader: int) -> list[int]:
    """Return the ids of all processes in the session that ``leader`` began (Linux; elsewhere none)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # one that ends meanwhile
            # After the name, which may hold anything but ends in the last bracket: state, parent, group, session.
            if int(path.read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(int(path.parent.name))
    return found


def _proc(pid: int, name: str) -> Path:
    path = Path(f"/proc/{pid}/{name}")
    if not path.exists():
        raise Unmeasured(f"needs {path}, which only Linux has, for a process that runs")
    return path
