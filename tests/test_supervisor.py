"""A worker's name, its processes, and its end: real processes, because signals and kernel locks are the promise."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pmtq.exceptions import ImproperlyConfigured, WorkerNameTaken
from pmtq.folder import Folder
from pmtq.presence import find_remains, living
from pmtq.worker import pool
from pmtq.worker.ending import catching, leave
from pmtq.worker.supervisor import Plan, expand_name, take_name
from tests.projects import Project
from tests.support import eventually, life


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.close()


def plan(folder: Folder, **options: Any) -> Plan:
    return Plan(folder=folder, queues=["celery"], load=dict, **options)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("worker1@%h", "worker1@box.example.org"),
        ("w@%n", "w@box"),
        ("w@%d", "w@example.org"),
        ("50%%@%n", "50%@box"),
        ("w", "w@box.example.org"),
    ],
)
def test_a_name_is_put_together_from_the_host(pattern, name):
    assert expand_name(pattern, "box.example.org") == name


@pytest.mark.parametrize("pattern", ["../w@h", "w@h/x", "a b@h", "w@h#1", "@", "w@%d"])
def test_a_name_that_cannot_be_a_file_is_refused(pattern):
    with pytest.raises(ImproperlyConfigured, match="cannot be a worker's name, because it names a file too"):
        expand_name(pattern, "box")


def test_a_worker_without_a_name_takes_the_first_free_one(folder):
    names = [take_name(plan(folder)) for _ in range(2)]
    first, second = (presence.name.partition("@")[0] for presence in names)
    names[0].leave()

    assert (first, second) == ("worker1", "worker2")
    assert take_name(plan(folder)).name.startswith("worker1@")


def test_a_name_that_lives_is_refused_to_whoever_asks_for_it(folder):
    taken = take_name(plan(folder), "w@h")

    with pytest.raises(WorkerNameTaken, match="a worker called 'w@h' is already running here"):
        take_name(plan(folder), "w@h")
    taken.leave()


def test_children_that_keep_dying_are_replaced_ever_more_slowly():
    assert [pool._rest(deaths) for deaths in (1, 3, 4, 5, 6, 99)] == [0, 0, 0.25, 0.5, 1.0, 30.0]


@pytest.mark.parametrize(("status", "words"), [(-9, "was killed by SIGKILL"), (1, "ended with status 1")])
def test_the_way_a_child_ended_is_told_in_words(status, words):
    assert pool._how(status) == words


@pytest.mark.parametrize("options", [(), ("-c", "2")])
def test_a_worker_says_in_its_file_who_it_is(project, options):
    process = project.worker(*options)

    facts = living(project.folder)
    kind, count = ("prefork", 2) if options else ("solo", 1)
    common = {"queues": ["celery"], "functions": ["tasks.add", "tasks.die", "tasks.hold"], "pool": kind}
    assert [fact["name"] for fact in facts] == ["w@h", "w@h#1", "w@h#2"][: count + 1 if options else 1]
    assert facts[0]["pid"] == process.pid
    assert [fact.get("parent") for fact in facts] == [None, "w@h", "w@h"][: len(facts)]
    assert all(common.items() <= fact.items() and fact["concurrency"] == count for fact in facts)


@pytest.mark.parametrize("options", [(), ("-c", "2")])
def test_the_first_signal_ends_the_running_task_and_gives_back_the_rest(project, options):
    process = project.worker(*options)
    held = [project.hold(f"gate{number}") for number in range(2 if options else 1)]
    waiting = project.send("add", 1, 2)

    process.send_signal(signal.SIGTERM)
    assert eventually(lambda: "Ending after the running task" in project.log())
    for number in range(len(held)):
        project.open_gate(f"gate{number}")

    assert process.wait(20) == 0
    assert [life(project.folder, task_id)[-1] for task_id in held] == [("SUCCESS", 1)] * len(held)
    assert [status for status, _ in life(project.folder, waiting)] in ([], ["STARTED", "RELEASED"])
    assert list(project.folder.workers.iterdir()) == []


@pytest.mark.parametrize("options", [(), ("-c", "2")])
def test_the_second_signal_ends_a_worker_at_once_and_its_task_is_given_out_again(project, options):
    process = project.worker(*options)
    held = project.hold()

    process.send_signal(signal.SIGINT)
    assert eventually(lambda: "Ending after the running task" in project.log())
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 128 + signal.SIGINT
    assert "Ended at once" in project.log()
    project.open_gate()
    assert project.start("-m", "pmtq", "worker", "-A", "tasks", "-n", "w@h", "--burst").wait(20) == 0
    assert life(project.folder, held) == [("STARTED", 1), ("RELEASED", 0), ("STARTED", 1), ("SUCCESS", 1)]


@pytest.mark.parametrize("options", [(), ("-c", "2")])
def test_an_idle_worker_ends_at_the_first_signal(project, options):
    process = project.worker(*options)

    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == 0
    assert list(project.folder.workers.iterdir()) == []


def test_the_task_of_a_killed_child_runs_again_at_once(project):
    project.worker("-c", "2")
    held = project.hold()

    killed = time.monotonic()
    os.kill(project.pids()[project.runner(held)], signal.SIGKILL)
    assert eventually(lambda: ("STARTED", 2) in life(project.folder, held))

    assert time.monotonic() - killed < 1.0  # 0.02 s on a quiet machine; `make bench` measures it
    assert eventually(lambda: set(project.pids()) == {"w@h", "w@h#1", "w@h#2"})
    assert "was killed by SIGKILL; another is started" in project.log()


def test_a_task_that_kills_its_child_each_time_fails_after_three_starts_and_the_pool_lives(project):
    project.worker("-c", "2")

    killer = project.send("die")

    assert eventually(lambda: ("FAILURE", 3) in life(project.folder, killer))
    assert project.app.AsyncResult(project.send("add", 2, 3)).get(timeout=20) == 5


def test_the_name_of_a_killed_parent_is_free_at_once_and_its_children_end_after_their_tasks(project):
    process = project.worker("-c", "2")
    held = project.hold()

    process.kill()
    process.wait()

    remains = find_remains(project.folder, "w@h")
    assert remains
    remains.close(bury=False)
    assert eventually(lambda: list(project.pids()) == [project.runner(held)])
    project.open_gate()
    assert eventually(lambda: project.pids() == {})
    assert life(project.folder, held) == [("STARTED", 1), ("SUCCESS", 1)]


def test_a_pool_that_takes_a_dead_workers_name_gives_out_what_that_one_held(project):
    process = project.worker()
    held = project.hold()
    process.kill()
    process.wait()
    project.open_gate()

    project.worker("-c", "2")

    assert eventually(lambda: ("SUCCESS", 2) in life(project.folder, held))


def test_a_pool_in_a_burst_ends_when_nothing_is_left(project):
    sent = [project.send("add", number, 1) for number in range(50)]

    process = project.start("-m", "pmtq", "worker", "-A", "tasks", "-c", "2", "--burst")

    assert process.wait(20) == 0
    assert [life(project.folder, task_id)[-1] for task_id in sent] == [("SUCCESS", 1)] * 50


def test_a_child_that_was_ended_by_hand_is_replaced(project):
    project.worker("-c", "2")
    before = project.pids()

    os.kill(before["w@h#1"], signal.SIGTERM)

    assert eventually(lambda: project.pids().get("w@h#1", before["w@h#1"]) != before["w@h#1"])


SPAWNING = """
from pmtq.cli.finding import Tasks, find_app
from pmtq.worker import supervisor

if __name__ == "__main__":
    app = find_app("tasks")
    plan = supervisor.Plan(app.folder, ["celery"], Tasks("tasks", app), "prefork", 2, burst=True)
    supervisor.work(plan, supervisor.take_name(plan), "spawn")
"""


def test_a_pool_works_where_the_system_cannot_fork(project):
    (project.path / "spawning.py").write_text(SPAWNING)
    sent = project.send("add", 2, 3)

    assert project.start("spawning.py").wait(30) == 0, project.log()

    assert life(project.folder, sent) == [("STARTED", 1), ("SUCCESS", 1)]


def test_a_worker_whose_outcome_could_not_be_posted_leaves_it_for_the_next(folder):
    presence = take_name(plan(folder), "w@h")
    presence.notes.add(b'{"task_id":"t"}\n')

    leave(presence)
    presence.after_fork()  # as if the process had ended

    remains = find_remains(folder, "w@h")
    assert remains
    assert [json.loads(line) for line in remains.lines()] == [{"task_id": "t"}]
    remains.close(bury=False)


def test_signals_are_given_back_when_the_work_is_over():
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with catching(lambda *_: None):
            assert signal.getsignal(signal.SIGTERM) is not mine
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
