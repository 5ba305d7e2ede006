"""A pool of threads."""

import os
import threading

import pytest

from pmtq.presence import living
from pmtq.states import LOST, STARTED, SUCCESS
from pmtq.worker.consumer import files_of
from pmtq.worker.plan import Plan
from pmtq.worker.threads import QUIET_WAITS, SharedWatch, ThreadChild
from tests.support import eventually, life


@pytest.fixture
def start(folder, app):
    """A function that starts a thread of a pool; at the end all are ended."""
    plan = Plan(folder, ["celery"], lambda: app.tasks, pool="threads", concurrency=2)
    watch = SharedWatch(folder.path, files_of(folder, ["celery"]))
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


@pytest.fixture
def watchers(tmp_path):
    """A function that starts threads which look and wait in turn; it returns how often each has looked so far."""
    watch = SharedWatch(tmp_path, frozenset({"queue.jsonl"}))
    watch._poll = 0.01
    looks, threads, over = {}, [], threading.Event()

    def look_and_wait():
        me = threading.get_ident()
        looks[me] = 0
        while not over.is_set():
            seen = watch.seen()
            looks[me] += 1
            if looks[me] == busy_at[0]:
                watch.hand_over()
                over.wait()
            watch.wait(seen, 1)

    busy_at = [0]

    def start(count, busy=0):
        busy_at[0] = busy
        threads.extend(threading.Thread(target=look_and_wait) for _ in range(count))
        for thread in threads:
            thread.start()
        return watch, looks

    yield start
    over.set()
    watch.wake()
    for thread in threads:
        thread.join()
    watch.close()


def test_of_threads_that_were_idle_for_a_while_one_looks_for_all(watchers):
    _, looks = watchers(3)

    assert eventually(lambda: len(looks) == 3 and max(looks.values()) > 100)
    assert [count > QUIET_WAITS + 5 for count in sorted(looks.values())] == [False, False, True]


def test_when_the_thread_that_looks_is_busy_another_one_looks(watchers):
    _, looks = watchers(3, busy=50)

    assert eventually(lambda: list(looks.values()) == [50, 50, 50])


def test_all_threads_are_told_of_a_change_also_those_that_do_not_look(watchers):
    watch, looks = watchers(3)
    assert eventually(lambda: len(looks) == 3 and max(looks.values()) > 50)
    before = dict(looks)

    watch.wake()

    assert eventually(lambda: all(looks[one] > before[one] for one in looks))
