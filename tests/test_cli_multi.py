"""Several workers in the background: real ones, which are listed, restarted and stopped by their process numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pmtq.cli import multi
from pmtq.cli.background import is_alive, pid_in
from pmtq.presence import living
from tests.support import Said, eventually


@pytest.fixture(autouse=True)
def _nothing_is_left_running(project: Path) -> Iterator[None]:
    yield
    for path in project.glob("*.pid"):
        if (pid := pid_in(path)) and is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> None:
    """This host is called ``web``."""
    monkeypatch.setattr("socket.gethostname", lambda: "web")


def test_two_workers_are_started_restarted_and_stopped_by_their_pids(pmtq, project, here):
    names = pmtq("multi", "names", "2").out.split()

    started = pmtq("multi", "start", "2", "-A", "tasks", "-c:2", "2", "-Q:1", "low,celery")
    first = [pid_in(project / f"celery{number}.pid") for number in (1, 2)]
    assert started == Said(
        0, f"Starting 2 workers\n  {names[0]}: OK, process {first[0]}\n  {names[1]}: OK, process {first[1]}\n", ""
    )
    facts = {worker["name"]: (worker["pid"], worker["queues"], worker["concurrency"]) for worker in living(here)}
    assert (facts[names[0]], facts[names[1]]) == ((first[0], ["low", "celery"], 1), (first[1], ["celery"], 2))
    assert {path.name for path in project.glob("*.log")} >= {"celery1.log", "celery2.log", "celery2-1.log"}

    restarted = pmtq("multi", "restart", "2", "-A", "tasks")
    second = [pid_in(project / f"celery{number}.pid") for number in (1, 2)]
    assert (restarted.status, restarted.err) == (0, "")
    assert [is_alive(pid) for pid in [*first, *second]] == [False, False, True, True]

    assert pmtq("multi", "stopwait", "2").out == (
        f"  {names[0]}: SIGTERM to process {second[0]}\n  {names[1]}: SIGTERM to process {second[1]}\n"
        f"  {names[0]}: has ended\n  {names[1]}: has ended\n"
    )
    assert ([is_alive(pid) for pid in second], list(project.glob("*.pid")), living(here)) == ([False, False], [], [])


def test_kill_ends_a_worker_at_once(pmtq, project, here):
    pmtq("multi", "start", "one", "-A", "tasks")
    pid = pid_in(project / "one.pid")

    said = pmtq("multi", "kill", "one")

    assert said.out.splitlines()[0].endswith(f": SIGKILL to process {pid}")
    assert eventually(lambda: living(here) == [])  # the kernel may still be at it
    assert (is_alive(pid), list(project.glob("*.pid"))) == (False, [])


@pytest.mark.parametrize("command", ["start", "restart"])
def test_workers_without_an_app_are_told_once_where_one_is_and_none_is_touched(run, web, project, command):
    (project / "celery1.pid").write_text("0")

    assert run("multi", command, "3", "-c", "2") == Said(
        1,
        "",
        "ImproperlyConfigured: a worker needs the code of your tasks, and no -A says where it is. There is an app in "
        f"tasks.py: pmtq multi {command} 3 -c 2 -A tasks\n",
    )
    assert (project / "celery1.pid").exists()


def test_a_worker_that_does_not_come_up_says_why(pmtq, project):
    said = pmtq("multi", "start", "one", "-A", "tsks")

    assert (said.status, said.out) == (1, "Starting 1 worker\n")
    assert "one@" in said.err
    assert "NoSuchModuleError: there is no module 'tsks'" in said.err
    assert "Did you mean tasks?" in said.err


def test_what_does_not_run_is_not_stopped_and_its_left_over_file_goes(run, web, project):
    (project / "b.pid").write_text("999999999\n")

    assert run("multi", "stop", "a", "b") == Said(
        0, "  a@web: is not running (a.pid is not there)\n  b@web: is not running (b.pid is left over)\n", ""
    )
    assert not (project / "b.pid").exists()


BUSY = """
import signal
signal.signal(signal.SIGUSR1, lambda *_: print("heard", flush=True))
print("up", flush=True)
while True:
    signal.pause()
"""


def test_a_worker_that_is_still_busy_is_said_to_be_so(run, web, project, monkeypatch):
    monkeypatch.setattr(multi, "PATIENCE", 0.0)
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdout
        assert busy.stdout.readline() == "up\n"
        (project / "a.pid").write_text(f"{busy.pid}\n")

        said = run("multi", "stop", "a", "-USR1")

        assert busy.stdout.readline() == "heard\n"
        busy.kill()
    assert said == Said(
        1,
        f"  a@web: SIGUSR1 to process {busy.pid}\n",
        "  a@web: still runs its last tasks; it ends after them. To wait for that: pmtq multi stopwait a@web\n",
    )


def test_show_prints_the_commands_that_start_would_run(run, web):
    said = run("-A", "tasks", "multi", "show", "2", "-c:1", "4")

    program = f"{sys.executable} -m pmtq worker --detach"
    assert said.out == (
        f"{program} -n celery1@web -A tasks --pidfile=celery1.pid --logfile=celery1%I.log -c 4\n"
        f"{program} -n celery2@web -A tasks --pidfile=celery2.pid --logfile=celery2%I.log\n"
    )


def test_names_expand_and_get_say_what_would_be(run, web):
    assert run("multi", "names", "a", "b@x").out == "a@web\nb@x\n"
    assert run("multi", "expand", "/run/%n@%h%I.pid", "2").out == "/run/celery1@web%I.pid\n/run/celery2@web%I.pid\n"
    assert run("multi", "get", "celery2", "2", "-c:2", "4").out == (
        "worker --detach -n celery2@web --pidfile=celery2.pid --logfile=celery2%I.log -c 4\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["start"], "pmtq multi start: which workers? Name them, or say how many, such as 3. All options: pmtq multi start --help\n"),
        (["get", "x", "1"], "pmtq multi get: there is no worker 'x' among celery1@web. All options: pmtq multi get --help\n"),
        (["expand"], "pmtq multi expand: what is to be expanded? pmtq multi expand %n.pid 3. All options: pmtq multi expand --help\n"),
        (["strat", "3"], "pmtq multi: there is no command 'strat'. Did you mean 'pmtq multi start'? All options: pmtq multi --help\n"),
    ],
)  # fmt: skip
def test_a_command_that_says_too_little_is_told_what_is_missing(run, web, arguments, message):
    assert run("multi", *arguments) == Said(2, "", message)


def test_quiet_says_nothing_that_is_not_an_error(run, web):
    assert run("multi", "stop", "a", "--quiet") == Said(0, "", "")


def test_mutli_is_taken_for_a_slip(run):
    assert run("mutli", "start", "2").err == (
        "pmtq: there is no command 'mutli'. Did you mean 'pmtq multi'? All options: pmtq --help\n"
    )


@pytest.mark.parametrize("group", ["multi", "schedule", "inspect", "control"])
def test_a_group_of_commands_alone_shows_its_help(run, group):
    assert run(group) == run(group, "--help")


def test_help_is_the_same_with_and_without_dashes(run):
    assert run("multi", "help").out == run("multi", "--help").out == run("help", "multi").out


def test_a_pid_file_is_looked_for_where_the_worker_goes_first(pmtq, project):
    (project / "elsewhere").mkdir()
    (project / "tasks.py").rename(project / "elsewhere" / "tasks.py")

    pmtq("multi", "start", "one", "-A", "tasks", "--workdir", "elsewhere")
    pid = pid_in(project / "elsewhere" / "one.pid")
    pmtq("multi", "stop", "one", "--workdir", "elsewhere")

    assert pid
    assert eventually(lambda: not is_alive(pid))
