"""What ``pmtq worker`` makes of its options, and that a worker does what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pmtq.cli import banner
from pmtq.worker import supervisor
from tests.support import Said, all_states, life, read_lines

CELERYS_OPTIONS = [
    "-n",
    "--hostname",
    "-D",
    "--detach",
    "-S",
    "--statedb",
    "-l",
    "--loglevel",
    "-O",
    "--optimization",
    "--prefetch-multiplier",
    "-c",
    "--concurrency",
    "-P",
    "--pool",
    "-E",
    "--task-events",
    "--time-limit",
    "--soft-time-limit",
    "--max-tasks-per-child",
    "--max-memory-per-child",
    "--purge",
    "--discard",
    "-Q",
    "--queues",
    "-X",
    "--exclude-queues",
    "-I",
    "--include",
    "--without-gossip",
    "--without-mingle",
    "--without-heartbeat",
    "--heartbeat-interval",
    "--autoscale",
    "-B",
    "--beat",
    "-s",
    "--schedule",
    "--schedule-filename",
    "--scheduler",
    "-f",
    "--logfile",
    "--pidfile",
    "--uid",
    "--gid",
    "--umask",
    "--executable",
]


@pytest.fixture
def planned(run, monkeypatch) -> Callable[..., supervisor.Plan]:
    """A function that returns the plan of a worker with these options, which does not start."""
    plans: list[supervisor.Plan] = []

    def work(plan: supervisor.Plan, presence: Any, look_after: Any) -> None:
        plans.append(plan)
        presence.leave()

    monkeypatch.setattr(supervisor, "work", work)

    def plan(*options: str) -> supervisor.Plan:
        said = run("worker", "-A", "tasks", *options)
        assert said.status == 0, said.err
        return plans[-1]

    return plan


def test_the_help_names_every_option_that_celerys_worker_has(run):
    words = run("worker", "--help").out.replace(",", " ").split()

    assert [option for option in CELERYS_OPTIONS if option not in words] == []


def test_options_stand_in_the_plan(planned, here):
    plan = planned(
        *[
            "-c",
            "3",
            "-P",
            "processes",
            "--time-limit",
            "9",
            "--soft-time-limit",
            "8.5",
            "--max-tasks-per-child",
            "100",
            "--max-memory-per-child",
            "20000",
        ],
        *["--autoscale=3,10", "-B", "-s", "beat.json", "--scheduler", "mine:Scheduler", "-Q", "a,b,a"],
    )

    assert replace(plan, load=dict, prepare=print) == supervisor.Plan(
        folder=plan.folder,
        queues=["a", "b"],
        load=dict,
        prepare=print,
        pool="prefork",
        concurrency=3,
        time_limit=9,
        soft_time_limit=8.5,
        max_tasks_per_child=100,
        max_memory_per_child=20000,
        autoscale=(10, 3),
        beat=True,
        schedule="beat.json",
    )


def test_what_celery_needs_and_pmtq_does_not_is_accepted(planned):
    accepted = "-E -O fair --prefetch-multiplier=1 -S state.db --without-gossip --without-mingle --without-heartbeat"

    plan = planned(*accepted.split(), "--heartbeat-interval", "2", "--executable", "python", "--loader", "x", "-q")

    assert (plan.pool, plan.concurrency) == ("solo", 1)


@pytest.mark.parametrize(
    ("options", "pool", "concurrency"),
    [
        ("", "solo", 1),
        ("-c 2", "prefork", 2),
        ("-P prefork", "prefork", 1),
        ("-P processes -c 2", "prefork", 2),
        ("-P threads", "threads", 10),
        ("-P threads -c 3", "threads", 3),
        ("-P asyncio", "asyncio", 1000),
        ("--once", "solo", 1),
        ("--step -c 4", "solo", 1),
    ],
)
def test_the_pool_follows_from_what_was_asked_for(planned, options, pool, concurrency):
    plan = planned(*options.split())

    assert (plan.pool, plan.concurrency) == (pool, concurrency)


def test_a_setting_counts_where_the_command_line_is_silent(planned, project):
    settings = "app.conf.update(worker_concurrency=4, worker_pool='threads', task_time_limit=7)"
    (project / "tasks.py").write_text(f"from pmtq import PMTQ\napp = PMTQ('t')\n{settings}")

    plan, louder = planned(), planned("-c", "2")

    assert (plan.pool, plan.concurrency, plan.time_limit) == ("threads", 4, 7)
    assert (louder.pool, louder.concurrency, louder.time_limit) == ("threads", 2, 7)


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_a_pool_that_needs_a_package_says_which(run, here, monkeypatch, pool):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    assert run("worker", "-A", "tasks", "-P", pool) == Said(
        1,
        "",
        f"ImproperlyConfigured: -P {pool} needs the package {pool}, which is not installed. Nothing was started. Install it: "
        f"pip install {pool}; or take -P threads, or -P asyncio for async def tasks\n",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-P solo -c 2", "-P solo is one process, and -c asks for several. Leave one of them out."),
        ("-P solo --autoscale 2", "-P solo is one process, and -c asks for several. Leave one of them out."),
        ("--step -P prefork", "--step follows one task at a time, in this process. Leave -P and -c out."),
        ("--once -c 2", "--once follows one task at a time, in this process. Leave -P and -c out."),
        ("--reload -D", "--reload is for a terminal, and -D leaves it. Leave one of them out."),
        ("--step -D", "--step is for a terminal, and -D leaves it. Leave one of them out."),
        (
            "--autoscale x",
            "invalid value for '--autoscale': 'x' is not the most and the fewest processes, such as 10,3.",
        ),
        (
            "--autoscale 0,0",
            "invalid value for '--autoscale': '0,0' is not the most and the fewest processes, such as 10,3.",
        ),
    ],
)
def test_two_options_that_cannot_both_be_meant_are_refused(run, options, message):
    assert run("worker", "-A", "tasks", *options.split()) == Said(
        2, "", f"pmtq worker: {message} All options: pmtq worker --help\n"
    )


# Which queues


@pytest.fixture
def shop(project) -> None:
    """An app whose tasks go to ``celery``, ``slow`` and ``mail``; the folder has a file for ``old``, too."""
    (project / "tasks.py").write_text(
        "from pmtq import PMTQ\napp = PMTQ('t')\n"
        "@app.task(queue='slow')\ndef a(): ...\n@app.task(queue='mail')\ndef b(): ...\n@app.task\ndef c(): ..."
    )
    (project / "queue_dir").mkdir(mode=0o700)
    (project / "queue_dir" / "queue.old.jsonl").touch()


@pytest.mark.parametrize(
    ("options", "queues"),
    [
        ("", ["celery"]),
        ("-Q slow,mail,slow", ["slow", "mail"]),
        ("-Q slow,mail -X mail", ["slow"]),
        ("-X slow", ["celery", "mail", "old"]),
    ],
)
def test_q_names_the_queues_and_x_leaves_some_out(planned, shop, options, queues):
    assert planned(*options.split()).queues == queues


def test_the_declared_queues_are_served_unless_others_are_named(planned, project):
    declared = "app.conf.task_queues = [Queue('a'), 'b']"
    (project / "tasks.py").write_text(
        f"from pmtq import PMTQ\nfrom pmtq.routes import Queue\napp = PMTQ('t')\n{declared}"
    )

    assert (planned().queues, planned("-Q", "c").queues, planned("-X", "a").queues) == (["a", "b"], ["c"], ["b"])


def test_to_leave_out_every_queue_is_refused(run, here):
    assert run("worker", "-A", "tasks", "-Q", "a", "-X", "a").err == (
        "ImproperlyConfigured: -X a leaves none of the queues a. Nothing was started. Name one: -Q a\n"
    )


def test_a_queue_that_is_left_out_on_purpose_is_not_noted_as_missing(run, shop, monkeypatch):
    monkeypatch.setattr(supervisor, "work", lambda _plan, presence: presence.leave())

    assert "nobody here serves" not in run("worker", "-A", "tasks", "-X", "slow,mail").err
    assert "nobody here serves mail, slow" in run("worker", "-A", "tasks").err


# What it does


def test_purge_calls_off_what_waits_before_the_worker_starts(pmtq, here):
    pmtq("call", "tasks.add", "[2, 3]", "--task-id", "t")

    said = pmtq("worker", "-A", "tasks", "--purge", "--burst")

    assert said.err.splitlines()[0] == "1 waiting task called off (REVOKED)"
    assert life(here, "t") == [("REVOKED", 0)]


def test_include_imports_more_tasks(pmtq, project, here):
    (project / "more.py").write_text("from tasks import app\n@app.task\ndef ship(): return 'sent'")
    pmtq("call", "more.ship", "--task-id", "t")

    pmtq("worker", "-A", "tasks", "-I", "more", "--burst")

    assert life(here, "t") == [("STARTED", 1), ("SUCCESS", 1)]


def test_once_runs_one_task(pmtq, here):
    pmtq("call", "tasks.add", "[2, 3]", "--task-id", "one")
    pmtq("call", "tasks.add", "[2, 3]", "--task-id", "two")

    assert pmtq("worker", "-A", "tasks", "--once").status == 0

    assert (life(here, "one"), life(here, "two")) == ([("STARTED", 1), ("SUCCESS", 1)], [])


def test_once_waits_for_its_task_unless_it_is_to_run_what_is_there(pmtq, here):
    assert pmtq("worker", "-A", "tasks", "--once", "--burst").status == 0
    worker = subprocess.Popen([sys.executable, "-m", "pmtq", "worker", "-A", "tasks", "--once"], stderr=subprocess.PIPE)
    assert worker.stderr
    worker.stderr.readline()  # the banner: it is up
    pmtq("call", "tasks.add", "[2, 3]", "--task-id", "t")

    worker.communicate(timeout=20)
    assert (worker.returncode, life(here, "t")) == (0, [("STARTED", 1), ("SUCCESS", 1)])


def test_the_log_goes_to_the_file_of_each_process(pmtq, project):
    pmtq("call", "tasks.add", "[2, 3]", "--task-id", "t")

    said = pmtq("worker", "-A", "tasks", "-n", "w@h", "-c", "1", "-P", "prefork", "-f", "%n%I.log", "--burst")

    assert "INFO" not in said.err
    (line,) = (project / "w-1.log").read_text().splitlines()
    assert line.split()[2:] == ["INFO", "w@h#1", "tasks.add", "t", "SUCCESS", "in", line.split()[8], "s:", "5"]


def test_quiet_leaves_the_banner_out(pmtq):
    assert pmtq("worker", "-q", "-A", "tasks", "--burst") == Said(0, "", "")


def test_workdir_is_where_the_app_is_looked_for(pmtq, project):
    (project / "inner").mkdir()
    (project / "tasks.py").rename(project / "inner" / "tasks.py")

    assert pmtq("--workdir", "inner", "worker", "-A", "tasks", "--burst").status == 0
    assert (project / "inner" / "queue_dir").is_dir()


@pytest.mark.parametrize(
    ("plan", "shown"),
    [
        ({}, "this process"),
        ({"pool": "prefork", "concurrency": 1}, "one child process"),
        ({"pool": "prefork", "concurrency": 3}, "3 child processes"),
        ({"pool": "prefork", "autoscale": (10, 3)}, "3 to 10 child processes"),
        ({"pool": "threads", "concurrency": 10}, "10 threads"),
        ({"pool": "gevent", "concurrency": 10}, "10 at a time"),
    ],
)
def test_the_banner_says_how_much_runs_at_a_time(plan, shown):
    assert banner._size(supervisor.Plan(SimpleNamespace(), [], dict, **plan)) == shown


# A program that is its own command line

PROGRAM = """
from pmtq import PMTQ
from pmtq.cli import start

app = PMTQ("proj.celery")

@app.task
def add(x, y):
    return x + y

if __name__ == "__main__":
    start(app)
"""


@pytest.mark.parametrize("options", [[], ["-c", "2"]])
def test_a_program_that_starts_its_app_is_the_command_line_of_that_app(project, here, options):
    (project / "proj").mkdir()
    (project / "proj" / "__init__.py").touch()
    (project / "proj" / "celery.py").write_text(PROGRAM)

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "proj.celery", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert python("call", "proj.celery.add", "[2]").returncode == 1  # it knows the task, which takes two
    assert python("call", "proj.celery.add", "[2, 3]").returncode == 0
    done = python("worker", "-l", "info", "--burst", *options)

    assert (done.returncode, [line.get("result") for line in all_states(here)]) == (0, [None, 5]), done.stderr
    assert python("wroker").returncode == 2


def test_an_app_on_the_command_line_counts_more_than_the_one_that_was_started(project, here, capsys):
    from pmtq import PMTQ
    from pmtq.cli import start

    start(PMTQ("other"), ["-A", "tasks", "call", "tasks.add", "-a", "[2, 3]"])

    assert [line["function"] for line in read_lines(here.queue())] == ["tasks.add"]
    with pytest.raises(SystemExit) as caught:
        start(PMTQ("other", broker=f"file://{here.path}"), ["result", "unknown"])
    assert caught.value.code == 2
