"""A worker that starts afresh when its code changes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pmtq.cli.reload import source_folders
from pmtq.presence import living
from tests.support import all_states, eventually

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """A function that starts ``pmtq worker --reload`` and hands over its process; it is ended by its pid."""
    started: list[subprocess.Popen[str]] = []

    def reloading(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pmtq", "worker", "-A", "tasks", "--reload", *options]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield reloading
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


def pid_of(here) -> int:
    return next((worker["pid"] for worker in living(here)), 0)


def test_changed_code_is_run_by_a_new_process(start, project, here, pmtq):
    parent = start()
    first = eventually(lambda: pid_of(here))

    (project / "tasks.py").write_text((project / "tasks.py").read_text().replace("x + y", "x * y"))
    second = eventually(lambda: pid_of(here) not in {0, first} and pid_of(here))
    assert pmtq("call", "tasks.add", "[2, 3]", "--wait").out == "6\n"
    parent.terminate()

    assert (parent.wait(20), bool(second), living(here)) == (0, True, [])
    assert parent.stderr
    assert "tasks.py has changed; the worker starts again after the running task" in parent.stderr.read()


def test_code_that_cannot_be_imported_waits_to_be_mended(start, project, here):
    whole = (project / "tasks.py").read_text()
    (project / "tasks.py").write_text("app = = 1")
    parent = start()
    assert parent.stderr
    assert "SyntaxError" in parent.stderr.readline()
    assert parent.stderr.readline() == "The worker has ended; it starts again when a source file changes\n"

    (project / "tasks.py").write_text(whole)

    assert eventually(lambda: pid_of(here))


def test_touching_a_file_is_enough(start, project, here):
    start()
    first = eventually(lambda: pid_of(here))

    (project / "tasks.py").touch()

    assert eventually(lambda: pid_of(here) not in {0, first})


def test_a_worker_that_was_to_end_ends_for_good(start):
    assert start("--burst").wait(20) == 0


def test_a_signal_ends_the_worker_and_its_parent_after_the_running_task(start, project, here, pmtq):
    (project / "tasks.py").write_text(
        "import os, time\nfrom pmtq import PMTQ\napp = PMTQ('tasks')\n@app.task\ndef nap():\n"
        "    open('began', 'w').close()\n    while not os.path.exists('go'): time.sleep(0.01)\n    return 'rested'"
    )
    parent = start()
    pmtq("call", "tasks.nap")
    assert eventually((project / "began").exists)

    parent.send_signal(signal.SIGTERM)
    assert parent.stderr
    assert eventually(lambda: "Ending after the running task" in parent.stderr.readline())
    (project / "go").touch()

    assert parent.wait(20) == 0
    assert [line["status"] for line in all_states(here)] == ["STARTED", "SUCCESS"]


def test_only_folders_with_code_of_ones_own_are_watched(tmp_path):
    for name in ("proj/deep", "proj/empty", ".hidden", "venv/lib", "__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("proj/a.py", "proj/deep/b.py", ".hidden/c.py", "venv/lib/d.py", "__pycache__/e.py"):
        (tmp_path / name).touch()

    assert sorted(source_folders(tmp_path)) == [tmp_path, tmp_path / "proj", tmp_path / "proj" / "deep"]
