"""Every block of the README is run as a reader would, and every name in it exists."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pmtq import PMTQ

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(?P<kind>\w+) (?P<where>\w+)=(?P<name>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
DEADLINE = 30.0


def wait_for(fact: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not fact():
        assert time.monotonic() < end, f"waited {DEADLINE:g} s for {what}"
        time.sleep(0.02)


class Reader:
    """Follows the README in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "NO_COLOR": "1"}
        self.environment.pop("PMTQ_BROKER_URL", None)
        self.worker: subprocess.Popen[bytes] | None = None

    def follow(self, kind: str, name: str, text: str) -> None:
        path = self.folder / name
        if kind in {"python", "sh"}:
            path.write_text(text)
        elif kind == "text":  # typed in an editor, saved
            path.parent.mkdir(exist_ok=True)
            path.write_text((path.read_text() if path.exists() else "") + text)
        elif kind == "pycon":
            (self.folder / "client.txt").write_text(text)
            self.run([sys.executable, "-m", "doctest", "client.txt"])
        elif name == "worker":
            command = text.removeprefix("$ ").split()
            self.worker = subprocess.Popen(command, cwd=self.folder, env=self.environment)
            wait_for(lambda: list(self.folder.glob("queue_dir/workers/*.json")) != [], "the worker")
        else:
            self.run(["sh", "-c", text.removeprefix("$ ")])

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            check=True,
            timeout=DEADLINE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        if self.worker:
            self.worker.terminate()
            assert self.worker.wait(DEADLINE) == 0


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    follower = Reader(tmp_path)
    yield follower
    follower.close()


def test_a_reader_who_follows_the_readme_block_by_block_sees_what_it_says(reader: Reader) -> None:
    blocks = list(BLOCK.finditer(README))
    assert len(blocks) == README.count("\n```") / 2, "each block names its file or its terminal"
    for block in blocks:
        reader.follow(block["kind"], block["name"], block["text"])

    app = PMTQ(broker=f"file://{reader.folder}/queue_dir")
    assert app.AsyncResult("45bc8d0ae7c9f8e810e8d").get(timeout=DEADLINE) == 5
    if shutil.which("flock"):
        reader.run(["sh", "post.sh"])

        def sums() -> list[int]:
            text = (reader.folder / "queue_dir" / "results.jsonl").read_text()
            return sorted(int(found) for found in re.findall(r'"status":"SUCCESS","result":(\d+)', text))

        # 1000 from the script; 5 from the prompt, from the echo and from the editor; the chain, the group and the header
        workflows = [4, 8, 16, 4, 8, 4, 8]
        wait_for(lambda: sums() == sorted([*range(2, 1002), 5, 5, 5, *workflows]), "all results")
    app.backend.close()


def test_the_schedule_of_the_readme_is_posted_and_listed_by_the_commands_beside_it(reader: Reader) -> None:
    section = README.split("## Workflows and schedules")[1].split("\n## ")[0]
    beat, listing = re.findall(r"`(pmtq [^`]+)`", section)
    for block in BLOCK.finditer(README):
        if block["kind"] == "python":
            reader.follow(block["kind"], block["name"], block["text"])

    service = subprocess.Popen(beat.split(), cwd=reader.folder, env=reader.environment)
    try:
        wait_for((reader.folder / "queue_dir" / "schedule.json").exists, "the scheduler's file")
        shown = reader.run(listing.split()).stdout
    finally:
        service.terminate()
        service.wait(DEADLINE)

    assert beat == "pmtq beat -A clock"
    assert [line.split()[:1] for line in shown.splitlines() if "tasks.add" in line] == [["greet"]]


def test_the_files_and_functions_on_the_way_of_a_task_are_where_the_readme_says() -> None:
    section = README.split("## The life of a task")[1].split("\n## ")[0]
    named = re.findall(r"`(pmtq/[\w/]+)\.py`|`(\w+(?:\.\w+)?)`", section)
    module, found = None, []
    for path, name in named:
        if path:
            module = importlib.import_module(path.replace("/", "."))
            found.append(path)
        elif name[0].isupper() and "." in name:
            class_name, method = name.split(".")
            assert module is not None
            assert callable(getattr(getattr(module, class_name), method)), f"{name} is not in {module.__name__}"
            found.append(name)
    assert found == [
        "pmtq/task", "Task.delay", "pmtq/app", "PMTQ.send_task", "pmtq/calls", "pmtq/records",
        "pmtq/broker", "Broker.publish",
        "pmtq/journal", "Journal.append",
        "pmtq/watch", "Watch.wait",
        "pmtq/claimer", "Claimer.exchange",
        "pmtq/ledger", "Ledger.apply",
        "pmtq/worker/consumer", "Consumer.run", "pmtq/execute",
        "pmtq/backend", "Backend.wait",
        "pmtq/promise", "Promise.get",
        "pmtq/sealing",
    ]  # fmt: skip


def test_every_command_the_readme_lists_exists() -> None:
    section = README.split("## What waits, and why")[1].split("\n## ")[0]
    commands = sorted(set(re.findall(r"^    pmtq (\w+)", section, re.MULTILINE)))
    assert commands == [
        "beat",
        "call",
        "doctor",
        "events",
        "inspect",
        "multi",
        "purge",
        "queue",
        "result",
        "status",
        "worker",
    ]
    for command in commands:
        done = subprocess.run([sys.executable, "-m", "pmtq", command, "--help"], capture_output=True, check=False)
        assert (command, done.returncode) == (command, 0)


def test_the_readme_stays_under_two_hundred_lines() -> None:
    assert len(README.splitlines()) < 200
