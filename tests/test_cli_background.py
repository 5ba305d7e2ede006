"""Going into the background: the pid file, the log, and whose rights a worker has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pmtq.cli import background
from pmtq.cli.background import PidFileTaken, is_alive, pid_file, pid_in
from pmtq.exceptions import ImproperlyConfigured
from pmtq.presence import living
from tests.support import eventually


def ended_process() -> int:
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_pid_file_holds_the_number_for_as_long_as_it_is_kept(tmp_path):
    path = tmp_path / "w.pid"

    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"

    assert not path.exists()


@pytest.mark.parametrize("text", ["{ended}\n", "", "nonsense", "-1", "9" * 30])
def test_what_a_dead_process_left_is_replaced(tmp_path, text):
    path = tmp_path / "w.pid"
    path.write_text(text.format(ended=ended_process()))

    with pid_file(str(path)):
        assert pid_in(path) == os.getpid()


def test_the_pid_file_of_a_living_process_is_left_alone(tmp_path):
    path = tmp_path / "w.pid"
    path.write_text(f"{os.getppid()}\n")

    with pytest.raises(PidFileTaken) as caught, pid_file(str(path)):
        pass

    assert str(caught.value) == (
        f"{path} says that process {os.getppid()} runs already, and a process of that number is there. Nothing was started. "
        f"Stop it: kill {os.getppid()}; or, if it is no worker: rm {path}"
    )
    assert pid_in(path) == os.getppid()


def test_a_pid_file_that_somebody_else_has_taken_meanwhile_is_theirs(tmp_path):
    path = tmp_path / "w.pid"

    with pid_file(str(path)):
        path.write_text("1\n")

    assert pid_in(path) == 1


def test_a_process_that_only_waits_to_be_noticed_counts_as_ended():
    process = subprocess.Popen([sys.executable, "-c", ""])

    assert eventually(lambda: not is_alive(process.pid))
    process.wait()


def test_a_worker_goes_into_the_background_and_is_up_when_the_command_returns(pmtq, project, here):
    said = pmtq("worker", "-A", "tasks", "-D", "-n", "w@h")
    pid = pid_in(project / "w.pid")
    try:
        assert (said.status, said.out) == (0, f"w@h runs in the background as process {pid}; its log: w.log\n")
        assert [(worker["name"], worker["pid"]) for worker in living(here)] == [("w@h", pid)]
        assert os.getsid(pid) not in {os.getsid(0), pid}
    finally:
        os.kill(pid, signal.SIGTERM)

    assert eventually(lambda: not is_alive(pid))
    assert not (project / "w.pid").exists()
    banner, *_, last = (project / "w.log").read_text().splitlines()
    assert banner.startswith("pmtq ")
    assert "w@h Ending after the running task" in last


def test_an_error_in_the_background_is_shown_in_front(pmtq, project):
    said = pmtq("worker", "-A", "tsks", "-D")

    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("NoSuchModuleError: there is no module 'tsks' in ")
    assert list(project.glob("*.pid")) == []


def test_a_worker_whose_pid_file_is_taken_gives_its_name_back(run, project, here):
    (project / "w.pid").write_text(f"{os.getppid()}\n")

    said = run("worker", "-A", "tasks", "--pidfile", "%n.pid", "-n", "w@h", "--burst")

    assert (said.status, said.err.partition(" ")[0]) == (1, "PidFileTaken:")
    assert list(here.workers.iterdir()) == []


def test_files_are_made_with_the_umask_that_was_asked_for(tmp_path):
    before = os.umask(0)
    try:
        background.drop_privileges("", "", "027")
        assert os.umask(0) == 0o027
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody-knows", "", ""), "--uid 'nobody-knows' is nobody on this system. Nothing was started"),
        (("", "4294967", ""), "--gid '4294967' is nobody on this system. Nothing was started"),
        (("", "", "9"), "--umask '9' is no octal number. Nothing was started. Write it like 027"),
    ],
)
def test_a_user_that_nobody_knows_is_refused(arguments, message):
    with pytest.raises(ImproperlyConfigured) as caught:
        background.drop_privileges(*arguments)

    assert str(caught.value) == message


def test_rights_are_given_away_before_anything_of_the_users_is_touched(monkeypatch):
    import pwd

    done: list[tuple[object, ...]] = []
    someone = pwd.struct_passwd(("someone", "x", 4321, 8765, "", "/", ""))
    monkeypatch.setattr(pwd, "getpwnam", lambda _: someone)
    for name in ("setgid", "initgroups", "setuid"):
        monkeypatch.setattr(os, name, lambda *given, name=name: done.append((name, *given)))

    background.drop_privileges("someone", "", "")

    assert done == [("setgid", 8765), ("initgroups", "someone", 8765), ("setuid", 4321)]


def test_who_may_not_give_rights_away_is_told_so(monkeypatch):
    import pwd

    def refused(_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.struct_passwd(("someone", "x", 4321, 8765, "", "/", "")))
    monkeypatch.setattr(os, "setgid", refused)

    with pytest.raises(ImproperlyConfigured) as caught:
        background.drop_privileges("someone", "", "")

    assert str(caught.value) == (
        f"process {os.getpid()} may not become user someone, group -: only root can give its rights away. Nothing was started. "
        "Leave --uid and --gid out, or start it with sudo"
    )


def test_a_background_log_that_was_moved_away_is_begun_afresh(tmp_path: Path):
    from pmtq.cli.logs import LinesInFile
    from tests.test_cli import record

    path = tmp_path / "w.log"
    lines = LinesInFile("w@h", str(path))
    lines.emit(record("one"))
    path.rename(tmp_path / "w.log.1")
    lines.emit(record("two"))
    lines.close()

    assert (tmp_path / "w.log.1").read_text() == "2026-11-20 15:04:05.007 INFO    w@h one\n"
    assert path.read_text() == "2026-11-20 15:04:05.007 INFO    w@h two\n"
