"""Who holds a lock, in words for those who wait for it."""

import os
import signal
import subprocess
import sys

import pytest

from pmtq import disk, holder
from pmtq.holder import holder_of
from tests.support import eventually, in_child

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


@needs_proc
def test_a_shell_that_keeps_a_lock_which_flock_has_taken_for_it_is_named(tmp_path):
    """As in ``exec 9>>queue.jsonl.lock; flock 9``: the system names flock, which has ended."""
    path = tmp_path / "queue.jsonl.lock"
    script = 'exec 9>>"$0"; flock 9; echo; read line'
    with subprocess.Popen(["bash", "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        shell.stdout.readline()
        descriptor = disk.open_file(path)

        said = holder_of(descriptor)

        os.close(descriptor)
        shell.communicate()
    assert said == f"process {shell.pid} (bash)"


@pytest.fixture
def stranger():
    """A process that has nothing to do with the lock, and has the number of one that had."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate()


def say(monkeypatch, tmp_path, descriptor, pid):
    """Have the system say that it was this process that took the lock."""
    status = os.fstat(descriptor)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    (tmp_path / "locks").write_text(f"1: FLOCK  ADVISORY  WRITE {pid} {place} 0 EOF\n")
    monkeypatch.setattr(holder, "_LOCKS", tmp_path / "locks")


@needs_proc
def test_a_stranger_that_has_the_number_of_one_that_has_ended_is_not_named(held, tmp_path, monkeypatch, stranger):
    descriptor, process = held
    say(monkeypatch, tmp_path, descriptor, stranger)

    assert holder_of(descriptor) == f"process {process.pid} ({name_of(process)})"


@needs_proc
def test_where_nobody_shows_the_lock_it_is_said_who_took_it(tmp_path, monkeypatch, stranger):
    descriptor = disk.open_file(tmp_path / "x.lock")
    say(monkeypatch, tmp_path, descriptor, stranger)

    assert holder_of(descriptor) == f"a program that process {stranger} has started"
    os.close(descriptor)


@needs_proc
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_process_that_cannot_be_looked_into_is_believed_to_have_it(held):
    descriptor, process = held

    said = in_child(lambda: holder_of(descriptor), 65534)

    assert said == f"process {process.pid} ({name_of(process)})"


def test_a_lock_that_nobody_has_is_another_programs(tmp_path):
    descriptor = disk.open_file(tmp_path / "x.lock")

    assert holder_of(descriptor) == "another program"
    os.close(descriptor)


def test_where_the_system_does_not_tell_it_is_another_programs(held, tmp_path, monkeypatch):
    monkeypatch.setattr(holder, "_LOCKS", tmp_path / "missing")

    assert holder_of(held[0]) == "another program"


def test_a_programs_name_may_hold_anything():
    assert holder._name_and_state("42 (a) T (\x1b[2J) S 1 2\n") == ("a) T (\\x1b[2J", "S")
