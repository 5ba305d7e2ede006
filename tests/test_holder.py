"""Who holds a lock, in words for those who wait for it."""

import os
import signal
import subprocess
import sys

import pytest

from pmtq import disk, holder
from pmtq.holder import holder_of
from tests.support import eventually

HOLD = (
    "import signal, sys\nfrom pathlib import Path\nfrom pmtq import disk\n"
    "disk.lock(disk.open_file(Path(sys.argv[1])))\nprint(flush=True)\nsignal.pause()\n"
)


@pytest.fixture
def held(tmp_path):
    """A descriptor of a file that another process has locked, and that process."""
    path = tmp_path / "queue.jsonl.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        descriptor = disk.open_file(path)
        yield descriptor, process
        os.close(descriptor)
        process.kill()


def name_of(process: subprocess.Popen[bytes]) -> str:
    with open(f"/proc/{process.pid}/comm") as file:
        return file.read().strip()


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="only Linux tells who holds a lock")


@needs_proc
def test_the_process_that_has_the_lock_is_named(held):
    descriptor, process = held

    assert holder_of(descriptor) == f"process {process.pid} ({name_of(process)})"


@needs_proc
def test_of_a_stopped_process_it_is_said_that_it_is_stopped(held):
    descriptor, process = held
    process.send_signal(signal.SIGSTOP)

    assert eventually(lambda: "stopped" in holder_of(descriptor))
    assert holder_of(descriptor) == (
        f"process {process.pid} ({name_of(process)}), which is stopped (go on: kill -CONT {process.pid})"
    )


def test_a_lock_that_nobody_has_is_another_programs(tmp_path):
    descriptor = disk.open_file(tmp_path / "x.lock")

    assert holder_of(descriptor) == "another program"
    os.close(descriptor)


def test_where_the_system_does_not_tell_it_is_another_programs(held, tmp_path, monkeypatch):
    monkeypatch.setattr(holder, "_LOCKS", tmp_path / "missing")

    assert holder_of(held[0]) == "another program"


def test_a_programs_name_may_hold_anything():
    assert holder._name_and_state("42 (a) T (\x1b[2J) S 1 2\n") == ("a) T (\\x1b[2J", "S")
