"""A directory with a program in it, and real worker processes that run its tasks; each is ended by its own pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from pmtq import PMTQ
from pmtq.folder import Folder
from pmtq.presence import living
from tests.support import all_states, eventually

PLAN_PROCESS = Path(__file__).parent / "crash" / "plan_process.py"
TASKS = """
import os, pathlib, signal, time
from pmtq import PMTQ

app = PMTQ("tasks")

@app.task
def add(x, y):
    return x + y

@app.task
def hold(gate):
    pathlib.Path(gate + ".begun").touch()
    for _ in range(3000):
        if os.path.exists(gate):
            return os.getpid()
        time.sleep(0.01)

@app.task
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Project:
    """A directory with ``tasks.py``, and the workers that were started in it."""

    def __init__(self, path: Path, tasks: str = TASKS) -> None:
        self.path = path
        self.app = PMTQ(broker=f"file://{path}/queue_dir")
        self.folder: Folder = self.app.folder
        self.started: list[subprocess.Popen[bytes]] = []
        (path / "tasks.py").write_text(tasks)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a Python program in the directory; what it logs goes to the file ``log``."""
        with (self.path / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.path,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
            )
        self.started.append(process)
        return process

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker called w by the command line, and wait until all of its processes live."""
        process = self.start("-m", "pmtq", "worker", "-A", "tasks", "-n", "w@h", *options)
        count = int(options[options.index("-c") + 1]) + 1 if "-c" in options else 1
        assert eventually(lambda: len(living(self.folder)) == count), self.log()
        return process

    def plan(self, children: int | None = None, **options: Any) -> subprocess.Popen[bytes]:
        """Start a worker called w by a plan; wait until it has so many ``children``, by default its concurrency."""
        environment = options.pop("environment", {})
        process = self.start(str(PLAN_PROCESS), "w@h", json.dumps(options), **environment)
        if not options.get("burst"):
            alone = options.get("pool", "solo") in {"solo", "asyncio"}
            wanted = (0 if alone else options.get("concurrency", 1)) if children is None else children
            assert eventually(lambda: len(living(self.folder)) == wanted + 1), self.log()
        return process

    def log(self) -> str:
        """Return what all processes have logged so far."""
        return (self.path / "log").read_text()

    def logged(self, text: str) -> bool:
        """Wait until something was logged."""
        return bool(eventually(lambda: text in self.log()))

    def pids(self) -> dict[str, int]:
        """Return the process of each living worker, children included, by name."""
        return {facts["name"]: facts["pid"] for facts in living(self.folder)}

    def facts(self, name: str = "w@h") -> dict[str, Any]:
        """Return what a living worker says of itself."""
        return next((facts for facts in living(self.folder) if facts["name"] == name), {})

    def send(self, name: str, *args: Any, **options: Any) -> str:
        """Post a call and return its id."""
        return self.app.send_task(f"tasks.{name}", args, **options).id

    def states(self, task_id: str) -> list[str]:
        """Return the states that a task has had so far."""
        return [line["status"] for line in all_states(self.folder) if line["task_id"] == task_id]

    def outcome(self, task_id: str) -> dict[str, Any]:
        """Wait for the task's final line and return it."""
        final = {"SUCCESS", "FAILURE", "REVOKED", "REJECTED", "IGNORED"}
        assert eventually(lambda: final & set(self.states(task_id)), 20), self.log()
        lines = [line for line in all_states(self.folder) if line["task_id"] == task_id]
        return next(line for line in lines if line["status"] in final)

    def result(self, task_id: str) -> Any:
        """Wait for the task's value."""
        outcome = self.outcome(task_id)
        assert outcome["status"] == "SUCCESS", outcome
        return outcome.get("result")

    def hold(self, gate: str = "gate") -> str:
        """Post a task that runs until ``open_gate``, and wait until it runs."""
        task_id = self.send("hold", str(self.path / gate))
        assert eventually((self.path / f"{gate}.begun").exists), self.log()
        return task_id

    def open_gate(self, gate: str = "gate") -> None:
        """Let it end."""
        (self.path / gate).touch()

    def runner(self, task_id: str) -> str:
        """Return the name of the worker that started the task last."""
        lines = [line for line in all_states(self.folder) if line["task_id"] == task_id and line["status"] == "STARTED"]
        return lines[-1]["worker"] if lines else ""

    def close(self) -> None:
        """End what still runs."""
        self.app.backend.close()
        pids = self.pids().values()
        for process in self.started:
            process.kill()
            process.wait()
        for pid in pids:  # children of a pool whose parent is gone
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
