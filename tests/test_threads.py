"""A pool of threads."""

import os
import threading

import pytest

from pmtq.presence import living
from pmtq.states import LOST, STARTED, SUCCESS
from pmtq.watch import Watch
from pmtq.worker.consumer import files_of
from pmtq.worker.plan import Plan
from pmtq.worker.threads import ThreadChild
from tests.support import eventually, life


@pytest.fixture
def start(folder, app):
    """A function that starts a thread of a pool; at the end all are ended."""
    plan = Plan(folder, ["celery"], lambda: app.tasks, pool="threads", concurrency=2)
    watch = Watch(folder.path, files_of(folder, ["celery"]))
    made = []

    def start(number):
        made.append(ThreadChild(plan, "w@h", number, watch, lambda: None, set()))
        return made[-1]

    yield start
    for child in made:
        child.end_gently()
        child.close()
    watch.close()


def test_each_thread_has_a_name_of_its_own_and_they_share_one_watch(start, folder, add):
    children = [start(1), start(2)]

    assert [child.name for child in children] == ["w@h#1", "w@h#2"]
    assert [(facts["name"], facts["parent"], facts["pid"]) for facts in living(folder)] == [
        ("w@h#1", "w@h", os.getpid()),
        ("w@h#2", "w@h", os.getpid()),
    ]
    assert add.delay(2, 3).get(timeout=20) == 5
    assert children[0].consumer._shared_watch is children[1].consumer._shared_watch


def test_a_thread_that_is_told_to_end_leaves_its_name(start, folder):
    child = start(1)
    alive = child.status()

    child.end_gently()

    assert eventually(lambda: child.status() is not None)
    assert (alive, child.status(), living(folder)) == (None, 0, [])


def test_a_thread_that_dies_says_so_and_its_task_is_given_out_again(start, folder, app, caplog):
    died = []

    @app.task(name="interrupt")
    def interrupt():
        if not died:
            died.append(threading.current_thread().name)
            raise KeyboardInterrupt

    result = interrupt.delay()
    first = start(1)
    assert eventually(lambda: first.status() == 1)
    start(1)

    assert eventually(result.ready)
    assert life(folder, result.id) == [(STARTED, 1), (LOST, 1), (STARTED, 2), (SUCCESS, 2)]
    assert died == ["w@h#1"]
    assert "w@h#1 has died" in caplog.text
