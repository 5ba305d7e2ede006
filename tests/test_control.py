"""Steering what runs in a folder, from any program: ``app.control``, and ``app.control.inspect()``."""

import json
import os
import signal
import subprocess
import sys

import pytest

from pmtq import PMTQ
from pmtq.control import COMMANDS, WITHOUT_EFFECT, Control
from pmtq.exceptions import ImproperlyConfigured
from pmtq.follower import Follower
from pmtq.inbox import Inbox
from pmtq.moving import NotMovedError
from pmtq.presence import Presence
from pmtq.records import StateRecord, timestamp
from tests.support import NOW, eventually, life, read_lines

FACTS = {"queues": ["celery"], "functions": ["tasks.add"], "pool": "prefork", "concurrency": 2, "host": "elsewhere"}


@pytest.fixture
def lives(folder):
    """A function that makes a worker look alive."""
    presences = []

    def live(name="w@h", **facts):
        presences.append(Presence(folder, name, {"name": name, "pid": 7, **FACTS, **facts}))
        return presences[-1]

    yield live
    for presence in presences:
        presence.leave()


def controls(folder):
    """Return what people have set, and to what."""
    return {name: line.result for name, line in Follower(folder).look().controls.items()}


def renew(worker):
    with worker.claimer._results.hold():
        worker.claimer._catch_up()
        worker.claimer._seal(NOW, renew=True)


# What holds for tasks


def test_a_revoked_task_is_revoked_at_once_and_every_worker_says_so(app, add, lives):
    lives("a@h")
    lives("b@h")
    result = add.apply_async([1], task_id="t")

    assert app.control.revoke("t") == [{name: {"ok": "tasks t flagged as revoked"}} for name in ("a@h", "b@h")]
    assert result.state == "REVOKED"


def test_many_tasks_are_revoked_in_one_call_and_without_a_worker(app, add):
    results = [add.delay(1), add.delay(2)]

    assert app.control.revoke([one.id for one in results]) == []
    assert [one.state for one in results] == ["REVOKED", "REVOKED"]


def test_a_result_revokes_its_task(app, add):
    result = add.delay(1)

    result.revoke()

    assert result.state == "REVOKED"


def test_a_worker_that_cannot_end_a_task_says_so(app, add, hand, lives, folder):
    add.apply_async([1], task_id="t")
    worker = hand("w@h")
    worker.presence.leave()
    worker.presence = worker.claimer._presence = lives(pool="solo", host="")
    worker.claim()

    (reply,) = app.control.terminate("t")

    assert reply["w@h"]["error"].startswith("t called off, but it runs on: its worker w@h has the pool solo")


def test_what_was_sent_with_some_headers_is_called_off_together(app, add):
    one = add.apply_async([1], headers={"tenant": 7, "more": 1})
    other = add.apply_async([1], headers={"tenant": 8})

    assert [fate.task_id for fate in app.control.revoke_by_headers({"tenant": 7})] == [one.id]
    assert (one.state, other.state) == ("REVOKED", "PENDING")


def test_all_of_a_group_is_called_off(app, add):
    one = add.apply_async([1], group_id="g")
    other = add.delay(1)

    assert [fate.task_id for fate in app.control.revoke_group("g")] == [one.id]
    assert (one.state, other.state) == ("REVOKED", "PENDING")


def test_a_purge_says_how_many_it_called_off(app, add):
    results = [add.delay(1), add.apply_async([1], queue="low"), add.apply_async([1], priority=3)]

    assert (app.control.purge(["low"]), app.control.discard_all(), app.control.purge()) == (1, 2, 0)
    assert {one.state for one in results} == {"REVOKED"}


@pytest.mark.parametrize("rate", ["10/m", 3, 0])
def test_a_rate_limit_is_kept_until_it_is_taken_back(app, folder, hand, rate):
    app.control.rate_limit("tasks.add", rate)
    renew(hand())

    assert controls(folder) == {"rate_limit tasks.add": rate}
    app.control.rate_limit("tasks.add", None)
    assert controls(folder) == {}


def test_a_rate_limit_that_is_none_is_refused_and_nothing_is_written(app, folder):
    with pytest.raises(ImproperlyConfigured, match="rate limit '10/x' is none, and was not set"):
        app.control.rate_limit("tasks.add", "10/x")

    assert not folder.results.exists()


def test_a_worker_that_does_not_know_the_task_says_so(app, lives):
    lives("a@h")
    lives("b@h", functions=[])

    assert app.control.rate_limit("tasks.add", "10/m") == [
        {"a@h": {"ok": "the rate limit of tasks.add is 10/m in all workers together"}},
        {
            "b@h": {
                "error": "this worker knows no task tasks.add; the rate limit of tasks.add is 10/m in all workers together"
            }
        },
    ]


def test_time_limits_are_kept_until_they_are_taken_back(app, folder, hand):
    app.control.time_limit("tasks.add", soft=1, hard=2.5)
    renew(hand())

    assert controls(folder) == {"time_limit tasks.add": [2.5, 1]}
    app.control.time_limit("tasks.add")
    assert controls(folder) == {}


@pytest.mark.parametrize("limit", [0, -1, "1", True, float("inf"), float("nan")])
def test_a_time_limit_that_is_none_is_refused(app, limit):
    with pytest.raises(ImproperlyConfigured, match=r"the time limit .* is none, and was not set"):
        app.control.time_limit("tasks.add", hard=limit)


def test_what_is_set_already_is_not_written_again(app, folder):
    app.control.pause(queue="low")
    app.control.pause(queue="low")
    app.control.resume(queue="other")

    assert [line["control"] for line in read_lines(folder.results)] == ["pause queue low"]


def test_what_is_paused_is_told(app):
    app.control.pause(queue="low")
    app.control.pause(task="tasks.add")
    app.control.rate_limit("tasks.add", "1/s")

    assert app.control.paused() == ["queue low", "task tasks.add"]


@pytest.mark.parametrize("options", [{}, {"queue": "a", "task": "b"}])
def test_a_pause_is_of_a_queue_or_of_a_task(app, options):
    with pytest.raises(ImproperlyConfigured, match=r"name one of the two\. Nothing was changed"):
        app.control.pause(**options)


def test_an_idle_worker_begins_at_once_when_a_pause_ends(app, add, work_until):
    app.control.pause(queue="celery")
    result = add.delay(1, 2)
    resumed = []

    def seen():
        if not resumed:
            resumed.append(app.control.resume(queue="celery"))
        return result.ready()

    work_until(app, seen)

    assert result.get(timeout=1) == 3


def test_a_task_is_moved_to_the_front(app, add, hand):
    ids = [add.delay(1).id for _ in range(3)]

    assert app.control.move(ids[2], front=True) == ("celery", 9)
    assert hand().run_all() == [ids[2], ids[0], ids[1]]


@pytest.mark.parametrize("where", [{}, {"front": True, "priority": 3}, {"priority": 10}, {"priority": -1}])
def test_a_move_must_say_where_to(app, add, where):
    with pytest.raises(NotMovedError, match="task t was not moved"):
        app.control.move("t", **where)


def test_a_dead_task_runs_again_with_other_arguments_under_a_new_id(app, add, work):
    failed = add.apply_async([1, "x"], priority=2, headers={"tenant": 7})
    work(app)

    again = app.control.requeue(failed.id, args=[1, 2])
    (line,) = read_lines(app.folder.queue("p2"))[-1:]
    work(app)

    assert (again.get(timeout=1), failed.state) == (3, "FAILURE")
    assert (line["params"], line["headers"]) == ([1, 2], {"tenant": 7, "requeued_from": failed.id})
    assert app.control.dead()[0].requeued_as == again.id


def test_a_dead_task_of_an_app_without_its_code_runs_again(app, add, work, folder):
    failed = add.delay(1, "x")
    work(app)

    with PMTQ(broker=f"file://{folder.path}") as other:
        again = other.control.requeue(failed.id, args=[2], kwargs={"y": 5})
    work(app)

    assert app.AsyncResult(again.id).get(timeout=1) == 7


def test_arguments_that_do_not_fit_are_refused_and_the_task_is_not_marked(app, add, work):
    failed = add.delay(1, "x")
    work(app)

    with pytest.raises(TypeError, match="Nothing was queued"):
        app.control.requeue(failed.id, args=[1, 2, 3])

    assert app.control.dead()[0].requeued_as == ""


def test_all_that_failed_is_requeued_once(app, add, work):
    other = app.task(name="tasks.other")(lambda: 1 / 0)
    failed = [add.delay(1, "x"), add.delay(2, "x")]
    other.delay()
    app.control.revoke(add.delay(1, 1).id)
    work(app)

    again = app.control.requeue_all("tasks.add")

    assert [one.requeued_as for one in app.control.dead(function="tasks.add", states={"FAILURE"})] == [
        again[1].id,
        again[0].id,
    ]
    assert (len(failed), len(again), app.control.requeue_all("tasks.add")) == (2, 2, [])


def test_a_requeued_task_goes_to_the_queue_it_stood_in(app, add, work, folder):
    failed = add.apply_async([1, "x"], queue="low")
    add.apply_async([1], queue="low", countdown=60)  # keeps the file from being cleared
    work(app, queues=("low",))

    app.control.requeue(failed.id)

    assert read_lines(folder.queue("low"))[-1]["headers"] == {"requeued_from": failed.id}


# What holds for workers


@pytest.mark.parametrize(
    ("command", "arguments", "line"),
    [
        ("pool_grow", [], {"command": "pool_grow", "n": 1}),
        ("pool_shrink", [2], {"command": "pool_shrink", "n": 2}),
        ("pool_restart", [], {"command": "pool_restart"}),
        ("autoscale", [4, 1], {"command": "autoscale", "max": 4, "min": 1}),
        ("add_consumer", ["low"], {"command": "add_consumer", "queue": "low"}),
        ("cancel_consumer", ["low"], {"command": "cancel_consumer", "queue": "low"}),
        ("shutdown", [], {"command": "shutdown"}),
    ],
)
def test_what_a_worker_is_told_stands_in_its_inbox(app, folder, lives, command, arguments, line):
    lives("a@h")
    lives("b@h")
    lives("b@h#1", parent="b@h")
    inboxes = {name: Inbox(folder, name) for name in ("a@h", "b@h", "b@h#1")}

    replies = getattr(app.control, command)(*arguments, destination=["b@h"])

    assert [list(reply) for reply in replies] == [["b@h"]]
    assert replies[0]["b@h"]["ok"].startswith("told: ")
    assert {name: inbox.commands() for name, inbox in inboxes.items()} == {"a@h": [], "b@h": [line], "b@h#1": []}


def test_shutdown_ends_a_worker_of_this_machine_by_a_signal(app, folder, processes):
    worker = processes.start("w1")
    app.send_task("tasks.log", ["begun"]).get(timeout=20)

    assert app.control.shutdown() == [{"w1": {"ok": f"process {worker.pid} ends after the tasks it runs"}}]
    assert worker.wait(20) == 0
    assert app.control.ping() == []


def test_a_worker_that_has_ended_by_itself_keeps_no_other_from_being_ended(app, lives, monkeypatch):
    told = []

    def kill(pid, number):
        if pid == 7:
            raise ProcessLookupError
        told.append((pid, number))

    monkeypatch.setattr("pmtq.control.os.kill", kill)
    lives("a@h", host="")
    lives("b@h", host="", pid=8)

    assert app.control.shutdown() == [
        {"a@h": {"ok": "it has just ended"}},
        {"b@h": {"ok": "process 8 ends after the tasks it runs"}},
    ]
    assert told == [(8, signal.SIGTERM)]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("pool_grow", [0]), ("pool_shrink", [-1]), ("pool_grow", ["2"]), ("autoscale", [1, 2]), ("autoscale", [1, -1])],
)
def test_a_number_that_cannot_be_is_told_nobody(app, lives, folder, command, arguments):
    lives()

    with pytest.raises(ImproperlyConfigured, match=r"cannot be\. No worker was told\. Give a whole number from"):
        getattr(app.control, command)(*arguments)

    assert not folder.inbox("w@h").exists()


def test_a_pool_cannot_load_modules_again(app):
    with pytest.raises(ImproperlyConfigured, match="a pool cannot load modules again"):
        app.control.pool_restart(reload=True)


def test_a_destination_that_is_not_there_is_an_error_that_names_who_is(app, lives):
    lives("a@h")

    with pytest.raises(ImproperlyConfigured) as caught:
        app.control.ping(destination=["b@h"])

    assert str(caught.value) == "no worker called 'b@h' is running. Nobody was asked or told. Running: a@h"


@pytest.mark.parametrize(
    ("command", "arguments"), [("revoke", ["t"]), ("rate_limit", ["t", 1]), ("time_limit", ["t", 1])]
)
def test_what_holds_for_all_cannot_be_set_for_one(app, folder, command, arguments):
    with pytest.raises(ImproperlyConfigured, match=r"holds for all workers of the folder.* Leave the destination out"):
        getattr(app.control, command)(*arguments, destination=["a@h"])

    assert not folder.results.exists()


@pytest.mark.parametrize("command", WITHOUT_EFFECT)
def test_what_changes_nothing_says_why(app, lives, command):
    lives()

    assert getattr(app.control, command)() == [{"w@h": {"ok": f"nothing to do: {WITHOUT_EFFECT[command]}"}}]


def test_commands_may_be_given_by_name(app, lives, folder):
    lives()

    assert app.control.broadcast("ping") == [{"w@h": {"ok": "pong"}}]
    app.control.broadcast("rate_limit", {"task_name": "tasks.add", "rate_limit": 5})
    assert controls(folder) == {"rate_limit tasks.add": 5}
    with pytest.raises(ImproperlyConfigured) as caught:
        app.control.broadcast("rate_limits")
    assert str(caught.value) == "there is no command 'rate_limits'. Nothing was changed. Did you mean 'rate_limit'?"
    assert all(callable(getattr(Control, command)) for command in COMMANDS)


# Inspect


def test_where_no_worker_is_nobody_answers(app):
    inspect = app.control.inspect()

    assert {getattr(inspect, name)() for name in ("active", "ping", "registered", "revoked")} == {None}


def test_what_runs_and_what_has_its_turn_next_is_told_in_celerys_shape(app, add, hand, lives):
    add.apply_async([1, 2], task_id="a")
    add.apply_async([1], {"y": 3}, task_id="b", priority=4)
    parent = lives("w@h")
    worker = hand("w@h#1")
    worker.presence.leave()
    worker.presence = worker.claimer._presence = lives("w@h#1", parent="w@h", pid=8)
    worker.claim(2)
    where = {"exchange": "", "routing_key": "celery", "redelivered": False}
    request = {"name": "tasks.add", "type": "tasks.add", "hostname": "w@h", "acknowledged": False, "worker_pid": 8}

    inspect = app.control.inspect()

    b = {
        "id": "b",
        "args": [1],
        "kwargs": {"y": 3},
        "time_start": NOW,
        "delivery_info": {**where, "priority": 4},
    } | request
    a = {
        "id": "a",
        "args": [1, 2],
        "kwargs": {},
        "time_start": None,
        "delivery_info": {**where, "priority": 0},
    } | request
    assert inspect.active() == {"w@h": [b]}
    assert inspect.reserved() == {"w@h": [a]}
    assert inspect.query_task("a", ["b", "nobody"]) == {"w@h": {"a": ["reserved", a], "b": ["active", b]}}
    assert json.dumps(inspect.active())
    assert parent.name == "w@h"


def test_what_waits_for_its_time_is_told_of_the_worker_that_could_run_it(app, add, lives):
    lives("a@h", queues=["low"])
    lives("b@h")
    lives("c@h")
    result = add.apply_async([1], eta="2999-01-01T00:00:00Z")
    add.delay(1)

    inspect = app.control.inspect()

    answers = inspect.scheduled()
    assert {name: [one["request"]["id"] for one in told] for name, told in answers.items()} == {
        "a@h": [],
        "b@h": [result.id],
        "c@h": [],
    }
    assert (answers["b@h"][0]["eta"], answers["b@h"][0]["priority"]) == ("2999-01-01T00:00:00.000Z", 0)
    assert inspect.query_task(result.id)["b@h"][result.id][0] == "scheduled"


def test_what_a_worker_knows_and_serves_is_told(app, lives):
    lives("w@h", functions=["tasks.add", "tasks.far"], queues=["celery", "low"])
    app.tasks["tasks.add"].rate_limit = "10/m"

    inspect = app.control.inspect(["w@h"])

    assert inspect.registered("rate_limit") == {"w@h": ["tasks.add [rate_limit=10/m]", "tasks.far"]}
    assert [queue["name"] for queue in inspect.active_queues()["w@h"]] == ["celery", "low"]
    assert inspect.ping() == {"w@h": {"ok": "pong"}}
    assert inspect.conf()["w@h"]["broker_url"] == app.conf.broker_url


def test_revoked_tasks_are_told_those_too_that_still_run(app, add, hand, lives):
    lives()
    add.apply_async([1], task_id="runs")
    hand("w1").claim()
    app.control.revoke(["runs", "waits"])

    assert app.control.inspect(destination="w@h").revoked() == {"w@h": ["waits", "runs"]}


def test_statistics_count_how_tasks_ended_at_each_worker(app, folder, lives):
    lives("w@h", started=timestamp(NOW))
    lives("w@h#1", parent="w@h", pid=8)
    for number, status in enumerate(("SUCCESS", "SUCCESS", "FAILURE")):
        app.backend.store(StateRecord(f"t{number}", status, None, 1, "w@h#1", timestamp(NOW)))

    stats = app.control.inspect().stats()["w@h"]

    assert (stats["total"], stats["pid"]) == ({"SUCCESS": 2, "FAILURE": 1}, 7)
    assert stats["pool"] == {"implementation": "prefork", "max-concurrency": 2, "processes": [8]}
    assert "folder: " + str(folder.path) in app.control.inspect().report()["w@h"]["ok"]


def test_a_callback_gets_each_answer(app, lives):
    lives("a@h")
    lives("b@h")
    told = []

    app.control.inspect(callback=told.append).ping()

    assert told == [{"a@h": {"ok": "pong"}}, {"b@h": {"ok": "pong"}}]


def test_a_task_that_hangs_in_a_real_pool_is_ended_and_the_pool_goes_on(tmp_path, folder):
    (tmp_path / "tasks.py").write_text(
        "import time\nfrom pathlib import Path\nfrom pmtq import PMTQ\napp = PMTQ('tasks')\n"
        "@app.task\ndef hang(path):\n    Path(path).touch()\n    time.sleep(60)\n"
        "@app.task\ndef add(x, y):\n    return x + y\n"
    )
    command = [sys.executable, "-m", "pmtq", "worker", "-A", "tasks", "-P", "prefork", "-b", f"file://{folder.path}"]
    worker = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with PMTQ(broker=f"file://{folder.path}") as app:
            hangs = app.send_task("tasks.hang", [str(tmp_path / "begun")])
            after = app.send_task("tasks.add", [1, 2])
            assert eventually((tmp_path / "begun").exists)

            (reply,) = app.control.revoke(hangs.id, terminate=True)

            assert list(reply.values()) == [{"ok": f"tasks {hangs.id} flagged as revoked"}]
            assert (hangs.state, after.get(timeout=10)) == ("REVOKED", 3)
            assert life(folder, hangs.id) == [("STARTED", 1), ("REVOKED", 1)]
            assert worker.poll() is None
    finally:
        os.kill(worker.pid, signal.SIGTERM)
        worker.wait(20)
