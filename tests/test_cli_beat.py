"""``pmtq beat``: how the scheduler is started, what it says, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pmtq.folder import Folder
from pmtq.lock import is_free
from tests.support import Run, all_states, eventually, read_lines

PLANNED = """
from pmtq import PMTQ
from pmtq.schedules import crontab

app = PMTQ("planned", timezone="Europe/Oslo")

@app.task
def add(x, y):
    return x + y

app.conf.beat_schedule = {"report": {"task": "shop.report", "schedule": crontab(minute=0, hour=7)}}
app.add_periodic_task(0.1, add, (2, 3), name="often")
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """A function that starts a command in a process of its own; all of them are killed afterwards."""
    (project / "planned.py").write_text(PLANNED)
    running = []

    def command(*arguments: str) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "pmtq", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield command
    for process in running:
        process.kill()
        process.communicate()


def test_it_says_what_it_works_on_posts_what_is_due_and_ends_when_told(start: Start, here: Folder) -> None:
    process = start("beat", "-A", "planned", "-n", "clock@%h")
    assert eventually(lambda: len(read_lines(here.queue())) > 2, 20)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)

    host = os.uname().nodename
    head, *lines = err.splitlines()
    assert process.returncode == 0
    assert head.endswith(f"  clock@{host}  (process {process.pid})")
    assert lines[:4] == [
        f"  file    {here.path}/schedule.json",
        "  in code report (at 07:00); often (every 0.1 s)",
        "  zone    Europe/Oslo",
        f"  stop    Ctrl-C or kill {process.pid}",
    ]
    assert lines[4].endswith(f"clock@{host} This scheduler fires now what stands in {here.path}/schedule.json")
    posted = read_lines(here.queue())
    assert lines[5].endswith(f"clock@{host} often: posted planned.add as {posted[0]['task_id']}")
    assert len(lines) - 5 == len(posted)


def test_ctrl_c_ends_it_quietly(start: Start, here: Folder) -> None:
    process = start("beat", "-A", "planned", "-q", "-l", "error")
    assert eventually(lambda: read_lines(here.queue()), 20)
    process.send_signal(signal.SIGINT)

    assert process.communicate(timeout=20) == ("", "")
    assert (process.returncode, is_free(here.path / "schedule.json.lock")) == (0, True)


def test_it_goes_into_the_background_with_a_log_and_a_pid_file(pmtq: Run, start: Start, project: Path) -> None:
    said = pmtq("beat", "-A", "planned", "--detach", "-s", "plan.json", "--max-interval", "1")
    pid = int((project / "beat.pid").read_text())
    try:
        assert eventually((project / "plan.json").exists)
        assert said.out == (
            f"beat@{os.uname().nodename} runs in the background as process {pid}; its log: {project}/beat.log\n"
        )
        assert eventually(lambda: "This scheduler fires now" in (project / "beat.log").read_text())
    finally:
        os.kill(pid, signal.SIGTERM)
    assert eventually(lambda: not (project / "beat.pid").exists())


def test_a_worker_posts_the_periodic_tasks_too_when_asked(start: Start, here: Folder) -> None:
    for pool in (["-c", "1"], ["-c", "2"]):
        process = start("worker", "-A", "planned", "-B", *pool)
        before = len(all_states(here))
        assert eventually(lambda before=before: len(all_states(here)) > before + 4, 20)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, is_free(here.path / "schedule.json.lock")) == (0, True), err


def test_the_scheduler_of_a_killed_worker_ends_with_it(start: Start, here: Folder) -> None:
    process = start("worker", "-A", "planned", "-B", "-c", "2", "-q")
    assert eventually(lambda: len(read_lines(here.queue())) > 1, 20)
    process.kill()

    assert eventually(lambda: is_free(here.path / "schedule.json.lock"), 5)


def test_the_scheduler_of_a_pool_is_replaced_when_it_is_killed(start: Start, here: Folder) -> None:
    def number() -> int:
        """Return the number of the process that fires; 0 while another is just writing."""
        return int((re.search(r"\d+", lock.read_text()) or "0")[0]) if lock.exists() else 0

    lock = here.path / "schedule.json.lock"
    process = start("worker", "-A", "planned", "-B", "-c", "2", "-q")
    assert eventually(lambda: len(read_lines(here.queue())) > 1, 20)
    for _ in range(2):
        killed = number()
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda killed=killed: number() not in {0, killed})
    before = len(all_states(here))
    assert eventually(lambda: len(all_states(here)) > before + 4, 20)
    process.send_signal(signal.SIGTERM)

    _, err = process.communicate(timeout=20)
    assert (process.returncode, is_free(lock), err.count("has died with status -9; another is started")) == (
        0,
        True,
        2,
    ), err


def test_without_an_app_it_says_what_to_write(run: Run) -> None:
    said = run("beat")

    assert (said.status, said.out, said.err) == (
        1,
        "",
        (
            "ImproperlyConfigured: the scheduler needs the code that says what is to be run when, and no -A says where it is. "
            "There is an app in tasks.py: pmtq beat -A tasks\n"
        ),
    )


def test_what_cannot_be_planned_is_told_before_anything_starts(run: Run, project: Path, here: Folder) -> None:
    (project / "wrong.py").write_text(PLANNED.replace("minute=0", "minute=60"))
    (project / "odd.py").write_text(PLANNED.replace('"schedule":', '"shedule":'))
    wrong, odd = run("beat", "-A", "wrong"), run("beat", "-A", "odd")

    assert "minute='60' is no part of a crontab: it has 60 in it. It goes from 0 to 59." in wrong.err
    assert odd.err == (
        "ImproperlyConfigured: the periodic task 'report' has a key 'shedule'. It was not planned. Did you mean "
        "'schedule'?\n"
    )
    assert (wrong.status, odd.status, here.path.exists()) == (1, 1, False)


OPTIONS = [
    "-s",
    "--schedule",
    "-S",
    "--scheduler",
    "--max-interval",
    "-n",
    "--hostname",
    "-l",
    "--loglevel",
    "-f",
    "--logfile",
    "-D",
    "--detach",
    "--pidfile",
    "--uid",
    "--gid",
    "--umask",
    "--executable",
    "--enable-remote-control",
    "--no-enable-remote-control",
    "-A",
    "-b",
]


def test_its_help_names_every_option_of_celerys(run: Run) -> None:
    said = run("beat", "--help")

    words = set(said.out.replace(",", " ").replace("/", " ").split())
    assert (said.status, [option for option in OPTIONS if option not in words]) == (0, [])
    assert run("beat", "--scheduler", "django_celery_beat.schedulers:DatabaseScheduler").err.startswith("Improperly")
