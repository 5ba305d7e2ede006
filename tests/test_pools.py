"""What the pools promise, tried with real processes: limits, renewal, growth, commands, and the ways to end."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pmtq.inbox import tell
from pmtq.presence import living
from pmtq.records import epoch
from tests.projects import TASKS, Project
from tests.support import all_states, eventually, life

MORE_TASKS = '''
import asyncio, re, sys, threading
from pmtq.exceptions import SoftTimeLimitExceeded
from pmtq import signals

@app.task
def pid():
    return os.getpid()

@app.task
def backtrack():
    """Hold the interpreter's lock for years."""
    re.match("(a+)+$", "a" * 60 + "b")

@app.task(time_limit=0.3)
def limited(gate):
    hold.run(gate)

@app.task(soft_time_limit=0.2)
def soft(gate):
    try:
        hold.run(gate)
    except SoftTimeLimitExceeded as error:
        return str(error)

@app.task(soft_time_limit=0.2)
async def soft_nap(seconds):
    try:
        await asyncio.sleep(seconds)
    except SoftTimeLimitExceeded as error:
        return str(error)

@app.task
async def nap(seconds):
    await asyncio.sleep(seconds)
    return threading.current_thread().name

@app.task
async def hold_async(gate):
    pathlib.Path(gate + ".begun").touch()
    while not os.path.exists(gate):
        await asyncio.sleep(0.01)

@app.task
def eat(megabytes):
    eaten.append(b"x" * (megabytes * 1024 * 1024))
    return os.getpid()

eaten = []

@app.task
def surroundings():
    descriptors = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            descriptors[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
    return descriptors, sorted(thread.name for thread in threading.enumerate())

def note(name):
    def write(sender=None, **kwargs):
        with open("signals", "a") as file:
            file.write(f"{name} {sender if isinstance(sender, str) else sender.hostname}\\n")
    return write

def note_revoked(sender=None, request=None, terminated=None, signum=None, expired=None, **kwargs):
    with open("revoked", "a") as file:
        file.write(f"{sender.name} {request.id} {terminated} {signum and int(signum)} {expired}\\n")

signals.task_revoked.connect(note_revoked)

for name in ("celeryd_init", "celeryd_after_setup", "worker_init", "worker_process_init", "worker_ready",
             "worker_shutting_down", "worker_process_shutdown", "worker_shutdown"):
    getattr(signals, name).connect(note(name), weak=False)
'''


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path, TASKS + MORE_TASKS)
    yield project
    project.close()


def error_of(project: Project, task_id: str) -> dict[str, Any]:
    return project.outcome(task_id)["error"]


# Time limits


def test_a_task_that_takes_longer_than_its_limit_fails_and_its_process_is_replaced(project):
    project.plan(pool="prefork", concurrency=1)
    before = project.pids()["w@h#1"]

    overdue = project.send("limited", "never")

    outcome = project.outcome(overdue)
    assert outcome["error"] == {
        "type": "pmtq.exceptions.TimeLimitExceeded",
        "message": "tasks.limited ran longer than its time limit of 0.3 s, so its process was ended",
    }
    assert (outcome["status"], outcome["attempt"], outcome["worker"]) == ("FAILURE", 1, "w@h#1")
    assert outcome["record"]["params"] == ["never"], "it can be posted again"
    assert eventually(lambda: project.pids().get("w@h#1", before) != before)
    assert project.result(project.send("add", 2, 3)) == 5
    assert project.states(overdue) == ["STARTED", "FAILURE"]
    assert "was killed" not in project.log(), "it is no crash"
    assert "pmtq.exceptions" not in project.log()


def test_a_limit_is_kept_when_the_task_lets_no_other_code_run_and_its_batch_is_given_back_unharmed(project):
    project.plan(pool="prefork", concurrency=1)
    for number in range(40):  # so that the next ones are claimed together
        project.send("add", number, 1)
    project.result(project.send("add", 0, 0))
    before = [project.send("add", number, 1, priority=0) for number in range(3)]
    began = time.monotonic()
    stuck = project.send("backtrack", time_limit=0.5)
    after = [project.send("add", number, 1) for number in range(5)]

    assert error_of(project, stuck)["type"] == "pmtq.exceptions.TimeLimitExceeded"
    assert time.monotonic() - began < 5
    assert [project.result(task_id) for task_id in [*before, *after]] == [1, 2, 3, 1, 2, 3, 4, 5]
    assert [life(project.folder, task_id)[-1] for task_id in after] == [("SUCCESS", 1)] * 5, "none of them had begun"


@pytest.mark.parametrize("how", ["plan", "call", "control"])
def test_a_limit_may_be_set_for_all_tasks_for_one_call_and_while_the_worker_runs(project, how):
    project.plan(pool="prefork", concurrency=1, **({"time_limit": 0.3} if how == "plan" else {}))
    if how == "control":
        with project.folder.results.open("ab") as results:
            results.write(b'{"control":"time_limit tasks.hold","result":[0.3,null]}\n')

    overdue = project.send("hold", "never", **({"time_limit": 0.3} if how == "call" else {}))

    assert error_of(project, overdue)["message"].startswith("tasks.hold ran longer than its time limit of 0.3 s")


def test_a_task_that_ends_within_its_limit_is_none_the_worse_for_it(project):
    project.plan(pool="prefork", concurrency=1, time_limit=20, soft_time_limit=10)
    before = project.pids()

    assert [project.result(project.send("add", number, 1)) for number in range(20)] == list(range(1, 21))
    assert project.pids() == before


@pytest.mark.parametrize("pool", ["solo", "prefork"])
@pytest.mark.parametrize("task", ["soft", "soft_nap"])
def test_a_task_hears_of_its_soft_limit_and_may_still_return_a_value(project, pool, task):
    project.plan(pool=pool)

    assert project.result(project.send(task, "never" if task == "soft" else 20)) == (
        "it ran longer than its soft time limit of 0.2 s"
    )


def test_a_soft_limit_strikes_a_coroutine_in_an_event_loop_too(project):
    project.plan(pool="asyncio", concurrency=5)

    assert project.result(project.send("soft_nap", 20)) == "it ran longer than its soft time limit of 0.2 s"


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio"])
def test_a_pool_that_cannot_keep_a_limit_says_so_once_for_each_task(project, pool):
    project.plan(pool=pool)
    for _ in range(2):
        project.result(project.send("add", 1, 2, time_limit=5))

    lines = [line for line in project.log().splitlines() if " time limit of " in line and "soft" not in line]
    assert ["tasks.limited" in lines[0], "tasks.add" in lines[1], len(lines)] == [True, True, 2]
    assert ("The soft time limit of tasks.soft (0.2 s) is not kept" in project.log()) == (pool != "solo")
    assert ("The soft time limit of tasks.soft_nap" in project.log()) == (pool == "threads")


# Children that have done enough


def test_a_child_that_has_run_as_many_tasks_as_it_may_is_replaced(project):
    project.plan(pool="prefork", concurrency=1, max_tasks_per_child=3)
    sent = [project.send("pid") for _ in range(7)]

    pids = [project.result(task_id) for task_id in sent]

    assert [len(set(pids[start : start + 3])) for start in (0, 3, 6)] == [1, 1, 1]
    assert len(set(pids)) == 3
    assert "has ended; another starts" in project.log()
    assert "ERROR" not in project.log()


def test_a_child_that_has_grown_too_large_is_replaced_after_its_task(project):
    project.plan(pool="prefork", concurrency=1, max_memory_per_child=150 * 1024)

    small, large, after = (project.result(project.send("eat", size)) for size in (1, 200, 1))

    assert small == large
    assert after != large


def test_settings_say_how_much_a_child_may_do_where_the_plan_does_not(tmp_path):
    project = Project(tmp_path, TASKS + MORE_TASKS + "\napp.conf.update(worker_max_tasks_per_child=1)\n")
    project.plan(pool="prefork", concurrency=1)

    assert project.result(project.send("pid")) != project.result(project.send("pid"))
    project.close()


def test_a_child_used_up_in_a_burst_is_replaced_until_all_is_done(project):
    sent = [project.send("pid") for _ in range(5)]

    assert project.plan(pool="prefork", concurrency=1, max_tasks_per_child=2, burst=True).wait(20) == 0

    assert len({project.result(task_id) for task_id in sent}) == 3


def test_a_worker_may_run_one_task_and_end(project):
    first, second = project.send("add", 1, 2), project.send("add", 3, 4)

    assert project.plan(children=0, once=True, burst=True).wait(20) == 0

    assert (project.states(first), project.states(second)) == (["STARTED", "SUCCESS"], [])


def test_a_child_whose_task_was_called_off_is_replaced_at_once_and_that_is_no_crash(project):
    project.plan(pool="prefork", concurrency=1)
    for number in range(6):  # more often than a child may crash before its successor has to wait
        held = project.hold(f"gate{number}")
        project.app.control.revoke(held, terminate=True)

    assert project.result(project.send("add", 2, 3)) == 5
    assert "ERROR" not in project.log()


@pytest.mark.parametrize(("wanted", "number"), [("SIGTERM", signal.SIGQUIT), ("SIGKILL", signal.SIGKILL)])
def test_receivers_are_told_once_of_a_task_that_was_ended_with_its_process(project, wanted, number):
    project.plan(pool="prefork", concurrency=2)
    held = [project.hold(f"gate{turn}") for turn in range(2)]
    for task_id in held:
        project.app.control.revoke(task_id, terminate=True, signal=wanted)

    assert project.result(project.send("add", 2, 3)) == 5
    told = project.path / "revoked"
    assert eventually(lambda: told.exists() and len(told.read_text().splitlines()) == 2), project.log()
    project.started[0].terminate()
    project.started[0].wait()
    assert sorted(told.read_text().splitlines()) == sorted(f"tasks.hold {one} True {int(number)} False" for one in held)


def test_receivers_are_told_once_of_a_task_that_expired_where_the_pool_has_no_process_left(project):
    project.plan(children=0, pool="prefork", autoscale=[2, 0])

    expired = project.send("add", 1, 2, expires="2020-01-01")

    assert project.outcome(expired)["status"] == "REVOKED"
    assert eventually((project.path / "revoked").exists)
    assert project.result(project.send("add", 2, 3)) == 5
    assert (project.path / "revoked").read_text() == f"tasks.add {expired} False None True\n"


# Pools that grow and shrink


def test_a_pool_grows_when_all_are_busy_and_work_waits_and_shrinks_when_they_have_been_idle(project):
    project.plan(children=1, pool="prefork", autoscale=[3, 1], environment={"AUTOSCALE_KEEPALIVE": "0.5"})

    held = [project.send("hold", str(project.path / f"gate{number}")) for number in range(4)]
    assert eventually(lambda: len(living(project.folder)) == 4), project.log()
    assert (project.facts()["concurrency"], project.facts()["autoscale"]) == (3, [3, 1])
    for number in range(4):
        project.open_gate(f"gate{number}")

    assert [project.outcome(task_id)["attempt"] for task_id in held] == [1] * 4
    assert eventually(lambda: len(living(project.folder)) == 2), project.log()
    assert "ERROR" not in project.log()


def test_a_pool_may_have_no_child_at_all_until_work_comes(project):
    project.plan(children=0, pool="prefork", autoscale=[2, 0])

    assert project.result(project.send("add", 2, 3)) == 5


def test_a_command_that_cannot_be_carried_out_ends_no_worker(project):
    project.plan()
    project.folder.queue("low").symlink_to("/dev/null")

    tell(project.folder, "w@h", "add_consumer", queue="low")

    assert project.logged("Told to add_consumer queue='low', which changes nothing: ")
    assert project.result(project.send("add", 2, 3)) == 5


# Commands


def test_a_pool_grows_and_shrinks_as_it_is_told(project):
    project.plan(pool="prefork", concurrency=1)
    kept = project.pids()["w@h#1"]

    tell(project.folder, "w@h", "pool_grow", n=2)
    assert eventually(lambda: set(project.pids()) == {"w@h", "w@h#1", "w@h#2", "w@h#3"})
    tell(project.folder, "w@h", "pool_shrink")
    assert eventually(lambda: set(project.pids()) == {"w@h", "w@h#1", "w@h#2"})
    tell(project.folder, "w@h", "pool_shrink", n=5)

    assert project.logged("Told to pool_shrink n=5, which changes nothing: it has 2, and at least one must stay")
    assert project.pids()["w@h#1"] == kept
    assert project.facts()["concurrency"] == 2


def test_the_idle_child_goes_when_a_pool_shrinks(project):
    project.plan(pool="prefork", concurrency=2)
    held = project.hold()
    runner = project.runner(held)

    tell(project.folder, "w@h", "pool_shrink")

    assert eventually(lambda: set(project.pids()) == {"w@h", runner})
    project.open_gate()
    assert project.outcome(held)["attempt"] == 1


@pytest.mark.parametrize("pool", ["solo", "prefork", "threads", "asyncio"])
def test_a_queue_is_served_from_when_a_worker_is_told_until_it_is_told_otherwise(project, pool):
    project.plan(pool=pool)
    waiting = project.send("add", 2, 3, queue="low")

    tell(project.folder, "w@h", "add_consumer", queue="low")
    first = project.result(waiting)
    tell(project.folder, "w@h", "cancel_consumer", queue="celery")

    assert first == 5
    assert eventually(lambda: project.facts()["queues"] == ["low"])
    assert eventually(lambda: all(facts["queues"] == ["low"] for facts in living(project.folder)))
    assert project.result(project.send("add", 3, 4, queue="low")) == 7
    assert project.states(project.send("add", 1, 1)) == []


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_children_are_renewed_after_their_running_task(project, pool):
    project.plan(pool=pool, concurrency=2)
    held = project.hold()
    tell(project.folder, "w@h", "pool_restart")

    def started():
        return {facts["name"]: facts["started"] for facts in living(project.folder)}

    before, runner = started(), project.runner(held)
    idle = next(name for name in before if name not in {"w@h", runner})
    assert eventually(lambda: started().get(idle, before[idle]) > before[idle])
    assert started()[runner] == before[runner], "a running task is waited for"
    project.open_gate()

    assert eventually(lambda: started().get(runner, before[runner]) > before[runner])
    assert project.outcome(held)["attempt"] == 1


def test_bounds_may_be_given_to_a_pool_that_had_none(project):
    project.plan(pool="prefork", concurrency=3)

    tell(project.folder, "w@h", "autoscale", max=2, min=1)

    assert eventually(lambda: len(living(project.folder)) == 3)
    assert project.facts()["autoscale"] == [2, 1]


def test_a_worker_ends_when_it_is_told_to(project):
    processes = [project.plan(pool="prefork", concurrency=1)]

    tell(project.folder, "w@h", "shutdown")

    assert processes[0].wait(20) == 0
    assert list(project.folder.workers.iterdir()) == []


def test_a_command_that_makes_no_sense_changes_nothing_and_is_told_in_the_log(project):
    project.plan()

    tell(project.folder, "w@h", "pool_grow")
    tell(project.folder, "w@h", "dance")
    with project.folder.inbox("w@h").open("ab") as inbox:
        inbox.write(b"shutdown!\n")

    assert project.logged("Told to pool_grow, which changes nothing: a worker with -P solo has no processes")
    assert project.logged("Told to dance, which changes nothing: Invalid value 'dance'")
    assert project.logged("Told to do something unreadable='shutdown!', which changes nothing")
    assert project.result(project.send("add", 2, 3)) == 5


# Ways to end


@pytest.mark.parametrize("pool", ["solo", "prefork", "threads", "asyncio"])
def test_a_warm_end_waits_for_what_runs(project, pool):
    process = project.plan(pool=pool)
    held = project.hold()

    process.send_signal(signal.SIGTERM)
    assert project.logged("Ending after the running task")
    project.open_gate()

    assert process.wait(20) == 0
    assert life(project.folder, held) == [("STARTED", 1), ("SUCCESS", 1)]
    assert list(project.folder.workers.iterdir()) == []


@pytest.mark.parametrize("pool", ["solo", "prefork", "threads", "asyncio"])
def test_a_cold_end_gives_out_again_what_ran_and_counts_no_start(project, pool):
    process = project.plan(pool=pool)
    held = project.hold()

    process.send_signal(signal.SIGQUIT)

    assert process.wait(20) == 128 + signal.SIGQUIT
    project.open_gate()
    assert project.plan(burst=True).wait(20) == 0
    assert life(project.folder, held) == [("STARTED", 1), ("RELEASED", 0), ("STARTED", 1), ("SUCCESS", 1)]


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_before_a_cold_end_tasks_get_the_seconds_of_the_soft_one(tmp_path, pool):
    project = Project(tmp_path, TASKS + "\napp.conf.update(worker_soft_shutdown_timeout=0.5)\n")
    process = project.plan(pool=pool)
    held = project.hold()

    asked = time.monotonic()
    process.send_signal(signal.SIGQUIT)

    assert project.logged("Ending in 0.5 s at the latest, whatever still runs then")
    assert process.wait(20) >= 128
    assert 0.5 <= time.monotonic() - asked < 5
    assert project.states(held) == ["STARTED"]
    project.close()


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_task_that_ends_within_the_soft_end_makes_it_a_warm_one(tmp_path, pool):
    project = Project(tmp_path, TASKS + "\napp.conf.update(worker_soft_shutdown_timeout=15)\n")
    process = project.plan(pool=pool)
    held = project.hold()

    process.send_signal(signal.SIGQUIT)
    assert project.logged("Ending in 15 s at the latest")
    project.open_gate()

    assert process.wait(10) == 0
    assert project.states(held) == ["STARTED", "SUCCESS"]
    project.close()


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_sigterm_may_be_given_the_meaning_of_sigquit(project, pool):
    process = project.plan(pool=pool, environment={"REMAP_SIGTERM": "SIGQUIT"})
    project.hold()

    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == 128 + signal.SIGTERM


@pytest.mark.parametrize("pool", ["solo", "prefork", "threads", "asyncio"])
def test_a_hangup_starts_the_worker_again_under_its_number_and_name(project, pool):
    process = project.plan(pool=pool)
    before = project.facts()["started"]

    process.send_signal(signal.SIGHUP)

    assert eventually(lambda: project.facts().get("started", before) > before), project.log()
    assert project.facts()["pid"] == process.pid
    assert project.result(project.send("add", 2, 3)) == 5


@pytest.mark.parametrize("pool", ["solo", "prefork", "threads"])
def test_a_worker_says_what_its_threads_are_doing(project, pool):
    process = project.plan(pool=pool)
    held = project.hold()

    process.send_signal(signal.SIGUSR1)

    assert project.logged("in hold")
    assert project.logged("Thread MainThread:")
    assert project.states(held) == ["STARTED"], "it goes on"


# Many at once


def test_a_thousand_naps_of_a_second_take_less_than_two(project):
    sent = [project.send("nap", 1) for _ in range(1000)]

    assert project.plan(pool="asyncio", concurrency=1000, burst=True).wait(30) == 0

    lines = [line for line in all_states(project.folder) if line["task_id"] in set(sent)]
    assert [line["status"] for line in lines].count("SUCCESS") == 1000
    assert epoch(lines[-1]["at"]) - epoch(lines[0]["at"]) <= 2


def test_all_tasks_of_an_event_loop_that_died_have_been_started(project):
    process = project.plan(pool="asyncio", concurrency=10)
    held = [project.send("hold_async", str(project.path / f"gate{number}")) for number in range(3)]
    waiting = project.send("hold", str(project.path / "gate3"))
    assert eventually(lambda: all((project.path / f"gate{number}.begun").exists() for number in range(4)))

    process.kill()
    process.wait()
    for number in range(4):
        project.open_gate(f"gate{number}")
    assert project.plan(burst=True).wait(20) == 0

    lost = [("STARTED", 1), ("LOST", 1), ("STARTED", 2), ("SUCCESS", 2)]
    assert [life(project.folder, task_id) for task_id in [*held, waiting]] == [lost] * 4


@pytest.mark.parametrize("pool", ["solo", "prefork", "threads", "asyncio"])
def test_coroutines_and_functions_run_in_every_pool(project, pool):
    sent = [project.send("nap", 0), project.send("add", 2, 3)]

    assert project.plan(pool=pool, concurrency=2 if pool != "solo" else 1, burst=True).wait(20) == 0

    assert [project.outcome(task_id)["status"] for task_id in sent] == ["SUCCESS", "SUCCESS"]


def test_the_threads_of_a_pool_run_tasks_at_the_same_time_each_under_its_own_name(project):
    project.plan(pool="threads", concurrency=2)
    held = [project.hold(f"gate{number}") for number in range(2)]

    assert {project.runner(task_id) for task_id in held} == {"w@h#1", "w@h#2"}
    assert set(project.pids().values()) == {project.started[0].pid}
    for number in range(2):
        project.open_gate(f"gate{number}")
    assert [project.outcome(task_id)["status"] for task_id in held] == ["SUCCESS"] * 2


def test_two_loops_of_naps_overlap_in_two_processes(project):
    project.plan(pool="prefork", concurrency=2)
    held = [project.hold(f"gate{number}") for number in range(2)]

    assert {project.runner(task_id) for task_id in held} == {"w@h#1", "w@h#2"}


# A clean start


def test_a_child_starts_with_no_descriptor_and_no_thread_of_its_parents(project):
    project.plan(pool="prefork", concurrency=3)
    busy = {project.runner(project.hold(f"gate{number}")) for number in range(2)}
    idle = next(iter({"w@h#1", "w@h#2", "w@h#3"} - busy))
    before = project.pids()[idle]
    os.kill(before, signal.SIGKILL)  # its successor is forked from a parent that has the most open
    assert eventually(lambda: project.pids().get(idle, before) != before)

    descriptors, threads = project.result(project.send("surroundings"))

    inside = {path.removeprefix(f"{project.folder.path}/") for path in descriptors.values()}
    ends = Counter(path for path in descriptors.values() if path.startswith("pipe:"))
    pipes = [path for path, count in ends.items() if count == 1]  # both ends of its watcher's are its own
    assert "workers/w@h.json" not in inside
    assert f"workers/{idle}.json" in inside
    assert len(pipes) == 2, "one to tell its parent that it ends, one to hear that its parent does"
    assert {name for name in threads if not name.startswith("Thread-")} == {"MainThread", "pmtq-overdue"}


# Signals of a worker


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("solo", ["worker_process_init w@h", "worker_ready w@h", "worker_process_shutdown w@h"]),
        ("threads", ["worker_process_init w@h", "worker_ready w@h", "worker_process_shutdown w@h"]),
        ("prefork", ["worker_process_init w@h#1", "worker_process_shutdown w@h#1", "worker_ready w@h"]),
    ],
)
def test_receivers_are_told_of_a_workers_life(project, pool, expected):
    process = project.plan(pool=pool)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0

    told = (project.path / "signals").read_text().splitlines()

    frame = ["celeryd_init w@h", "celeryd_after_setup w@h", "worker_init w@h", "worker_shutting_down w@h"]
    assert sorted(told) == sorted([*frame, *expected, "worker_shutdown w@h"])
    assert (told[:3], told[-1]) == (frame[:3], "worker_shutdown w@h")


def test_what_a_pool_cannot_do_is_told_at_its_start(project):
    project.plan(pool="asyncio", max_tasks_per_child=5, autoscale=[3, 1])

    assert project.logged("max_tasks_per_child changes nothing with -P asyncio; it is for -P prefork")
    assert project.logged("autoscale changes nothing with -P asyncio; it is for -P prefork or threads")


@pytest.mark.parametrize("option", ["--time-limit=9", "--max-tasks-per-child=9", "--autoscale=3,1"])
def test_what_only_children_can_do_makes_it_a_pool_of_processes(project, option):
    project.start("-m", "pmtq", "worker", "-A", "tasks", "-n", "w@h", option)

    assert eventually(lambda: len(living(project.folder)) == 2), project.log()
    assert project.facts()["pool"] == "prefork"
