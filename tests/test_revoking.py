"""Calling tasks off: those that wait, and those that run, without harm to others."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pmtq import PMTQ
from pmtq.broker import Broker
from pmtq.exceptions import ImproperlyConfigured
from pmtq.follower import Follower
from pmtq.journal import CHUNK
from pmtq.presence import Presence
from pmtq.records import StateRecord, TaskRecord, encode, timestamp
from pmtq.revoking import Fate, Revoking, signal_number
from tests.support import NOW, all_states, eventually, life, post_by_hand, read_lines, success

CALLED_OFF = {"type": "pmtq.exceptions.TaskRevokedError", "message": "revoked"}
CHILD = """
import os, signal, sys, time
from pathlib import Path
from pmtq.folder import Folder
from pmtq.presence import Presence
from pmtq.worker.consumer import Consumer
from pmtq import PMTQ

path, handled = sys.argv[1:]
app = PMTQ("tasks", broker=f"file://{path}")

@app.task(name="tasks.hang")
def hang():
    Path(path, "hangs").touch()
    while True:
        time.sleep(0.01)

@app.task(name="tasks.stubborn")
def stubborn():
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    hang()

@app.task(name="tasks.answers")
def answers():
    class Told(Exception): ...
    def tell(*_):
        raise Told
    signal.signal(signal.SIGUSR1, tell)
    hang()

@app.task(name="tasks.add")
def add(x=0, y=0):
    return x + y

facts = {"name": "w@h#1", "pid": os.getpid(), "pool": "prefork", "parent": "w@h", "queues": ["celery"]}
here = Presence(app.folder, "w@h#1", facts)
consumer = Consumer(app.folder, here, ["celery"], app.tasks)
consumer._expected = dict.fromkeys(app.tasks, 0.0)   # one batch holds all

def quit_(*_):
    consumer.abandon()
    os._exit(131)

signal.signal(signal.SIGQUIT, quit_)
consumer.run()
"""


@pytest.fixture
def post(folder):
    """A function that publishes calls under these ids."""

    def publish(*ids, function="tasks.add", queue="celery", **fields):
        for task_id in ids:
            Broker(folder).publish(TaskRecord(task_id=task_id, function=function, sent=timestamp(NOW), **fields), queue)

    return publish


@pytest.fixture
def child(folder):
    """A function that starts a process of a pool, whose batch holds all that waits, and returns it when it hangs."""
    started = []

    def start():
        process = subprocess.Popen([sys.executable, "-c", CHILD, str(folder.path), ""], stdin=subprocess.DEVNULL)
        started.append(process)
        assert eventually(Path(folder.path, "hangs").exists)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def lives(folder, name="w@h", **facts):
    return Presence(folder, name, {"name": name, "pid": os.getpid()} | facts)


def test_a_task_that_waits_is_called_off_at_once_and_never_run(folder, post, hand):
    post("a", "b")

    assert Revoking(folder).revoke(["a"]) == [Fate("a", "called off")]
    (line,) = all_states(folder)
    assert (line["status"], line["error"], line["record"]["function"]) == ("REVOKED", CALLED_OFF, "tasks.add")
    assert hand().run_all() == ["b"]


@pytest.mark.parametrize("moment", [NOW, NOW + 61])
def test_a_task_that_waits_for_its_time_is_called_off(folder, post, hand, moment):
    post("later", eta=timestamp(NOW + 60))
    worker = hand()
    worker.claim()

    Revoking(folder).revoke(["later"])

    assert worker.run_all(moment) == []


def test_a_task_that_waits_for_its_next_try_is_called_off(folder, post, hand):
    post("a")
    worker = hand()
    worker.claim()
    retry = StateRecord("a", "RETRY", None, 1, worker.name, timestamp(NOW), eta=timestamp(NOW + 9), retries=1)
    worker.claimer.exchange([retry], NOW)

    assert Revoking(folder).revoke(["a"]) == [Fate("a", "called off")]
    assert worker.run_all(NOW + 10) == []


def test_a_task_that_is_sent_after_it_was_called_off_is_not_run(folder, post, hand):
    assert Revoking(folder).revoke(["soon"]) == [Fate("soon", "called off")]
    post("soon")

    assert hand().run_all() == []
    assert life(folder, "soon") == [("REVOKED", 0)]


def test_a_task_that_runs_goes_on_and_is_not_started_again(folder, post, hand):
    post("a")
    worker, heir = hand("w1"), hand("w2")
    worker.claim()

    assert Revoking(folder).revoke(["a"]) == [Fate("a", "w1 runs it to its end, and it is not started again", "w1")]
    worker.die()
    assert heir.run_all(NOW + 1) == []
    assert life(folder, "a") == [("STARTED", 1), ("LOST", 1), ("REVOKED", 0)]
    assert Follower(folder).look().controls == {}


def test_a_task_that_runs_to_its_end_has_its_result(folder, post, hand):
    post("a")
    worker = hand("w1")
    (claim,) = worker.claim()

    Revoking(folder).revoke(["a"])
    Revoking(folder).revoke(["a"])
    worker.settle(claim)

    assert life(folder, "a") == [("STARTED", 1), ("SUCCESS", 1)]
    assert [line["control"] for line in read_lines(folder.results) if "control" in line] == ["revoke a"]


def test_a_task_that_has_ended_stays_as_it_is(folder, post, hand):
    post("a")
    hand().run_all()

    assert Revoking(folder).revoke(["a"]) == [Fate("a", "had ended before")]
    assert Revoking(folder).terminate("a") == Fate("a", "had ended before")
    assert life(folder, "a") == [("STARTED", 1), ("SUCCESS", 1)]


def test_what_a_dead_worker_has_ended_and_not_posted_is_not_called_off(folder, post, hand):
    post("a")
    dead = hand("w1")
    (claim,) = dead.claim()
    dead.presence.notes.add(encode(success(claim)) + b"\n")
    dead.die()

    (fate,) = Revoking(folder).revoke(["a"])

    assert fate.worker == "w1"
    assert hand("w2").run_all(NOW + 1) == []
    assert life(folder, "a") == [("STARTED", 1), ("SUCCESS", 1)]


def test_a_revocation_outlives_that_the_results_start_afresh(folder, post, hand):
    post("a", "b", "runs", priority=3)
    worker = hand("w1")
    worker.claim()
    Revoking(folder).revoke(["a", "b"])
    with worker.claimer._results.hold():
        worker.claimer._catch_up()
        worker.claimer._seal(NOW, renew=True)
    worker.die()

    heir = hand("w2")
    assert heir.run_all(NOW + 1) == ["runs"]
    assert life(folder, "b") == [("REVOKED", 0)]


def test_when_what_a_dead_worker_ran_is_called_off_the_next_of_its_batch_has_not_begun(folder, post, hand):
    post("ran", "next", "last")
    known = {"tasks.add": False}  # such a task is started once at most
    dead = hand("dead@h", known)
    dead.claim(3)
    dead.die()

    fates = Revoking(folder).revoke(["ran"])

    assert fates == [Fate("ran", "called off")]
    assert hand("heir@h", known).run_all() == ["next", "last"]
    assert life(folder, "next") == [("STARTED", 1), ("RELEASED", 0), ("STARTED", 1), ("SUCCESS", 1)]


def test_when_another_task_of_a_dead_worker_is_called_off_the_one_it_ran_is_lost_all_the_same(folder, post, hand):
    post("ran", "next", "last")
    dead = hand("dead@h")
    dead.claim(3)
    dead.die()

    Revoking(folder).revoke(["next"])

    assert hand("heir@h").run_all() == ["ran", "last"]
    assert life(folder, "ran") == [("STARTED", 1), ("LOST", 1), ("STARTED", 2), ("SUCCESS", 2)]
    assert life(folder, "last") == [("STARTED", 1), ("RELEASED", 0), ("STARTED", 1), ("SUCCESS", 1)]


def test_all_that_was_sent_as_a_group_is_called_off(folder, post, hand):
    post("a", "b", group_id="g", priority=4)
    post("c", group_id="other")
    post("d")

    fates = Revoking(folder).revoke_those(lambda record: record.group_id == "g")

    assert fates == [Fate("a", "called off"), Fate("b", "called off")]
    assert hand().run_all() == ["c", "d"]


def test_nobody_is_called_off_where_nobody_is_meant_however_long_the_queue_is(folder, hand):
    post_by_hand(folder, b'{"task_id":"a","function":"tasks.add","params":["%s"]}\n' % (b"x" * 4 * CHUNK))

    assert Revoking(folder).revoke_those(lambda record: record.group_id == "g") == []
    assert hand().run_all() == ["a"]


def test_those_of_a_group_that_run_are_ended_by_the_signal_that_is_wished(folder, post, child):
    post("stubborn", function="tasks.stubborn", group_id="g")
    process = child()

    (fate,) = Revoking(folder).revoke_those(lambda record: record.group_id == "g", terminate=True, signal="SIGKILL")

    assert (fate.task_id, process.wait(5)) == ("stubborn", -signal.SIGKILL)


def test_a_purge_takes_the_queues_it_is_told_with_all_their_priorities(folder, post, hand):
    post("a", "b", queue="low")
    post("c", queue="low", priority=9)
    post("d")

    assert Revoking(folder).purge(["low"]) == 3
    assert hand(queues=["celery", "low"]).run_all() == ["d"]


def test_what_waits_for_a_purged_task_hears_of_its_end_also_after_the_results_started_afresh(folder, post, hand):
    post("first", followers=["next"])
    post("next", queue="low", after="first")
    worker = hand("w1")

    assert Revoking(folder).purge(["celery"]) == 1
    assert worker.run_all() == []
    with worker.claimer._results.hold():
        worker.claimer._catch_up()
        worker.claimer._seal(NOW, renew=True)

    assert hand("w2", queues=["low"]).run_all(NOW + 1) == []
    assert life(folder, "next") == [("FAILURE", 0)]


@pytest.mark.parametrize("call_off", [lambda all_: all_.revoke(["first"]), lambda all_: all_.purge(["celery"])])
def test_those_hear_of_its_end_that_wait_for_what_a_task_was_to_go_on_as(folder, post, hand, call_off):
    post("first")
    worker = hand("w1")
    worker.claim()
    again = StateRecord("first", "RETRY", None, 1, worker.name, timestamp(NOW), eta=timestamp(NOW + 9), retries=1)
    again.changes = {"params": [2], "followers": ["next"]}
    worker.claimer.exchange([again], NOW)

    call_off(Revoking(folder))

    assert (all_states(folder)[-1]["status"], all_states(folder)[-1]["followers"]) == ("REVOKED", ["next"])


def test_a_task_that_hangs_is_ended_with_its_process_and_the_others_run(folder, post, child, hand):
    post("hangs", function="tasks.hang")
    post("b", "c")
    process = child()

    fate = Revoking(folder).terminate("hangs")

    assert fate == Fate("hangs", f"called off, and process {process.pid} that ran it was ended", "w@h#1")
    assert process.wait(5) == 131
    assert sorted(hand("heir").run_all(NOW + 1)) == ["b", "c"]
    assert [status for status, _ in life(folder, "hangs")] == ["STARTED", "REVOKED"]
    assert {line["status"] for line in all_states(folder)} == {"STARTED", "RELEASED", "REVOKED", "SUCCESS"}


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_a_process_that_does_not_listen_is_killed(folder, post, child, hand, number, monkeypatch):
    monkeypatch.setattr("pmtq.revoking.LAST_WORDS", 0.1)
    post("stubborn", function="tasks.stubborn")
    post("b", "c")
    process = child()

    assert not Revoking(folder).terminate("stubborn", number).is_refused
    assert process.wait(5) == -signal.SIGKILL
    assert sorted(hand("heir").run_all(NOW + 1)) == ["b", "c"]
    assert "LOST" not in {line["status"] for line in all_states(folder)}


def test_a_signal_that_the_task_answers_ends_the_task_and_not_the_process(folder, post, child):
    post("answers", function="tasks.answers")
    process = child()

    assert not Revoking(folder).terminate("answers", "usr1").is_refused
    post("next")
    assert eventually(lambda: ("SUCCESS", 1) in life(folder, "next"))
    assert process.poll() is None
    assert life(folder, "answers")[:2] == [("STARTED", 1), ("REVOKED", 1)]


def test_no_other_task_pays_for_the_one_that_waits_for_its_turn(folder, post, child, monkeypatch):
    """It stands behind one that hangs, in the same batch: its worker gives it back, and then it is called off."""
    post("hangs", function="tasks.hang")
    post("behind")
    process = child()

    assert Revoking(folder).terminate("behind") == Fate("behind", "called off")
    assert process.poll() is None
    assert life(folder, "hangs") == [("STARTED", 1)]
    assert ("SUCCESS", 1) not in life(folder, "behind")


def test_a_task_that_is_never_its_workers_turn_is_left_alone(folder, post, hand, monkeypatch):
    monkeypatch.setattr("pmtq.revoking.PATIENCE", 0.1)
    post("first", "second")
    worker = hand("w@h#1")
    worker.presence.leave()
    worker.presence = lives(folder, "w@h#1", pool="prefork", parent="w@h", pid=2**22 + 1)  # no process has this number
    worker.claimer._presence = worker.presence
    worker.claim(2)

    fate = Revoking(folder).terminate("second")

    assert fate == Fate("second", "waits for its turn at w@h#1, and is not started again", "w@h#1", is_refused=True)
    assert life(folder, "second") == [("STARTED", 1)]


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"pool": "solo"}, "its worker w@h has the pool solo, and would end with it. "),
        ({"pool": "threads", "parent": "p@h"}, "its worker w@h has the pool threads, and would end with it. "),
        ({"pool": "prefork", "parent": "p@h", "host": "far"}, "its worker w@h is on far. Do it there"),
    ],
)
def test_a_task_that_cannot_be_ended_alone_is_called_off_and_runs_on(folder, post, hand, facts, why):
    post("a")
    worker = hand("w@h")
    worker.presence.leave()
    worker.presence = worker.claimer._presence = lives(folder, **facts)
    (claim,) = worker.claim()

    fate = Revoking(folder).terminate("a")
    worker.settle(claim)

    assert (fate.task_id, fate.worker, fate.is_refused) == ("a", "w@h", True)
    assert fate.what.startswith(f"called off, but it runs on: {why}")
    assert life(folder, "a") == [("STARTED", 1), ("REVOKED", 1)]
    with PMTQ(broker=f"file://{folder.path}") as app:
        assert app.AsyncResult("a").state == "REVOKED"
    worker.presence.leave()


@pytest.mark.parametrize(("wanted", "number"), [("SIGTERM", 15), ("kill", 9), (9, 9), ("15", 15), ("Usr1", 10)])
def test_a_signal_may_be_named_in_many_ways(wanted, number):
    assert signal_number(wanted) == number


@pytest.mark.parametrize("wanted", ["SIGNAL", "", 999, "-1"])
def test_what_is_no_signal_is_refused(wanted):
    with pytest.raises(
        ImproperlyConfigured, match=r"is no signal of this system. Nothing was called off. Take SIGTERM"
    ):
        signal_number(wanted)
