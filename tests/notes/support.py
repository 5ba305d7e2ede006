"""What the tests of the notes share: a directory where a note's programs stand, and the processes that run there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from pmtq.folder import Folder
from tests.support import eventually, life, read_lines

HERE = Path(__file__).parent
URL = "file://queue_dir"
"""What overrides the servers that the programs name."""
MESSAGE_ID = "45bc8d0ae7c9f8e810e8d"
"""The id that the client in note 0 signs its message with."""
DEADLINE = 20.0


class Said(NamedTuple):
    """What a command that has ended said."""

    status: int
    out: str
    err: str


def printed(name: str) -> str:
    """Return the code block ``name`` as it was printed."""
    return (HERE / "programs" / name).read_text()


def runnable(*names: str) -> str:
    """Return code blocks, one after the other, with the one word changed that makes them programs for this queue."""
    return "\n\n".join(map(printed, names)).replace("from celery import", "from pmtq import")


def parts(name: str) -> dict[str, str]:
    """Return the files that a code block shows one below the other, each under a comment with its name."""
    found = re.split(r"^# (\w+\.py) *\n", runnable(name), flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def type_in(session: str, names: dict[str, Any]) -> list[Any]:
    """Type what stands behind ``>>>`` into a prompt where ``names`` are known; return the values it shows."""
    values = []
    for line in session.splitlines():
        if line.startswith(">>> "):
            code = compile(line.removeprefix(">>> ").strip(), "<prompt>", "single")
            shown: list[Any] = []
            with patch("sys.displayhook", shown.append):
                exec(code, names)
            values += shown
    return values


class Place:
    """A directory with programs in it, the queue folder below it, and the processes started there."""

    def __init__(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self.path = path
        self.folder = Folder(path / "queue_dir")
        self.processes: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PMTQ_BROKER_URL": URL,
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }

    def write(self, name: str, text: str) -> None:
        """Write a program."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def tell(self, *names: str) -> None:
        """Copy our own stories here."""
        for name in names:
            self.write(name, (HERE / "stories" / name).read_text())

    def write_proj(self) -> None:
        """Write the package ``proj`` of note 3, which notes 2 and 3 start workers for."""
        files = parts("note_3_proj.py")
        self.write("proj/__init__.py", "")
        self.write("proj/celery.py", files["celery.py"])
        self.write("proj/tasks.py", "from proj.celery import app\n\n" + files["tasks.py"])

    def run(self, command: str, **environment: str) -> Said:
        """Run a command line to its end."""
        done = subprocess.run(
            shlex.split(command),
            cwd=self.path,
            env={**self._environment, **environment},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a command line; what it says goes into the file that ``log`` reads."""
        with self._log(len(self.processes)).open("wb") as log:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=self.path,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def start_workers(self, *commands: str) -> list[subprocess.Popen[bytes]]:
        """Start workers together, and return when all of them serve."""
        workers = [self.start(command) for command in commands]
        assert eventually(lambda: all(self.facts(one) or one.poll() is not None for one in workers), DEADLINE)
        assert [self.log(one) for one in workers if one.poll() is not None] == []
        return workers

    def facts(self, worker: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Return what a worker's file says about it; nothing before it serves, and for an instant while it is changed."""
        for name in self.folder.worker_names():
            try:
                facts: dict[str, Any] = json.loads(self.folder.worker(name).read_text())
            except (OSError, ValueError):  # it is being written, or its worker is leaving
                continue
            if facts.get("pid") == worker.pid:
                return facts
        return {}

    def log(self, process: subprocess.Popen[bytes]) -> str:
        """Return what a process has said so far."""
        return self._log(self.processes.index(process)).read_text()

    def lines(self, task_id: str) -> list[dict[str, Any]]:
        """Return the lines about a task in the results."""
        return [line for line in read_lines(self.folder.results) if line.get("task_id") == task_id]

    def life(self, task_id: str) -> list[str]:
        """Return the states a task has had."""
        return [status for status, _ in life(self.folder, task_id)]

    def stop(self, *processes: subprocess.Popen[bytes]) -> list[int]:
        """Ask processes to end, all at once, and return their exit statuses."""
        for process in processes:
            process.terminate()
        return [process.wait(DEADLINE) for process in processes]

    def close(self) -> None:
        """End whatever still runs."""
        left = [process for process in self.processes if process.poll() is None]
        for process in left:
            process.terminate()
        for process in left:
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _log(self, number: int) -> Path:
        return self.path / f"process{number}.log"


Load = Callable[..., Any]
