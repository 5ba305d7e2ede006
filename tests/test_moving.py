"""Having a waiting task run earlier, later or elsewhere, exactly once."""

import os

import pytest

from pmtq import disk
from pmtq.broker import Broker
from pmtq.folder import Folder
from pmtq.follower import Follower
from pmtq.moving import NotMovedError, move
from pmtq.records import StateRecord, TaskRecord, timestamp
from pmtq.revoking import Revoking
from tests.support import NOW, life, post_by_hand, read_lines

SENT = timestamp(NOW - 10)


@pytest.fixture
def post(folder: Folder):
    """A function that publishes records of ``tasks.add`` under these ids."""

    def publish(*ids, queue="celery", **fields):
        for task_id in ids:
            Broker(folder).publish(TaskRecord(task_id=task_id, function="tasks.add", sent=SENT, **fields), queue)

    return publish


def renew(worker, now=NOW):
    """Have the worker start the results and all queue files afresh, as it does when the results have grown long."""
    claimer = worker.claimer
    with claimer._results.hold():
        claimer._catch_up()
        claimer._seal(now, renew=True)


def starts(folder, task_id):
    return [status for status, _ in life(folder, task_id)].count("STARTED")


def test_a_task_that_is_moved_to_the_front_runs_next_and_once(folder, post, hand):
    post("a", "b", "c")

    assert move(folder, "c", None, 9) == "p9"
    assert hand().run_all() == ["c", "a", "b"]
    assert (starts(folder, "c"), folder.queue("p9").read_text().count('"c"')) == (1, 1)


def test_a_copy_is_on_the_disk_before_a_line_says_that_it_is_the_one_that_counts(folder, post, monkeypatch):
    post("a")
    effects = []
    monkeypatch.setattr(disk, "fsync", lambda descriptor: effects.append(disk._path(descriptor).name))
    append = disk.append
    monkeypatch.setattr(
        disk,
        "append",
        lambda descriptor, data, path, before: (
            effects.append(f"+{path.name}"),
            append(descriptor, data, path, before),
        ),
    )

    move(folder, "a", "low", None)

    assert effects == [
        "+queue.low.jsonl",
        "queue.low.jsonl",
        folder.path.name,
        folder.path.parent.name,
        "+results.jsonl",
    ]


def test_a_copy_says_all_that_its_record_says(folder, hand):
    post_by_hand(folder, '--{\n "task_id": "t",\n "function": "tasks.add", "colour": "red"\n}--\n')

    move(folder, "t", None, 5)

    assert read_lines(folder.queue("p5")) == [
        {"task_id": "t", "function": "tasks.add", "colour": "red", "priority": 5, "moved": True}
    ]
    assert hand().run_all() == ["t"]


def test_a_record_that_came_without_an_id_is_moved_under_the_one_it_was_given(folder, hand):
    post_by_hand(folder, '{"function":"tasks.add"}\n{"function":"tasks.add"}\n')
    _, second = [one.task_id for one in Follower(folder).owed("celery")]

    move(folder, second, None, 9)

    ran = hand().run_all()
    assert (ran[0], len(ran), len(set(ran))) == (second, 2, 2)


def test_a_task_moves_down_behind_those_that_were_posted_later(folder, post, hand):
    post("a", "b", priority=7)
    post("c", priority=3)
    worker = hand()
    worker.claim(0)  # it has seen the first record where it stood

    move(folder, "a", None, 1)

    assert worker.run_all() == ["b", "c", "a"]
    assert starts(folder, "a") == 1


def test_a_task_moves_to_another_queue_and_only_its_worker_runs_it(folder, post, hand):
    post("a", "b")
    here, there = hand("here"), hand("there", queues=["low"])

    move(folder, "a", "low", None)

    assert (here.run_all(), there.run_all(), here.run_all()) == (["b"], ["a"], [])


def test_a_task_that_is_moved_there_and_back_runs_where_it_stood_first(folder, post, hand):
    post("a", "b")
    here, there = hand("here"), hand("there", queues=["low"])
    move(folder, "a", "low", 4)
    here.claim(0)

    move(folder, "a", "celery", 0)

    assert len(read_lines(folder.queue())) == 2
    assert (there.run_all(), sorted(here.run_all())) == ([], ["a", "b"])


def test_a_task_that_was_moved_down_can_be_moved_to_the_front(folder, post, hand):
    post("a", "b", "c", priority=5)
    move(folder, "c", None, 2)

    move(folder, "c", None, 9)

    assert hand().run_all() == ["c", "a", "b"]


def test_a_moved_task_keeps_its_time(folder, post, hand):
    post("a", eta=timestamp(NOW + 60))
    worker = hand()
    worker.claim()

    move(folder, "a", None, 9)

    assert (worker.run_all(NOW + 59), worker.run_all(NOW + 60)) == ([], ["a"])
    assert worker.run_all(NOW + 120) == []


def test_a_task_that_waits_for_its_next_try_is_moved_and_tried_once(folder, post, hand):
    post("a", "b")
    worker = hand()
    (claim,) = worker.claim()
    retry = StateRecord("a", "RETRY", None, 1, worker.name, timestamp(NOW), eta=timestamp(NOW + 9), retries=1)
    worker.claimer.exchange([retry], NOW)

    move(folder, "a", None, 9)

    assert (worker.run_all(), worker.run_all(NOW + 10), worker.run_all(NOW + 20)) == (["b"], ["a"], [])
    assert claim.record.task_id == "a"


def test_a_moved_task_whose_worker_died_is_given_to_the_next_once(folder, post, hand):
    post("a", "b")
    dead, heir = hand("dead"), hand("heir")
    move(folder, "b", None, 9)
    assert [claim.record.task_id for claim in dead.claim()] == ["b"]
    heir.claim(0)
    dead.die()

    assert sorted(heir.run_all(NOW + 1)) == ["a", "b"]
    assert life(folder, "b") == [("STARTED", 1), ("LOST", 1), ("STARTED", 2), ("SUCCESS", 2)]


@pytest.mark.parametrize("queue", [None, "low"])
@pytest.mark.parametrize("priority", [1, 9])
@pytest.mark.parametrize("first", ["mover", "other"])
def test_of_many_workers_one_runs_a_moved_task_whatever_is_sealed_meanwhile(
    folder, post, hand, caplog, queue, priority, first
):
    post(*"abcdefgh", priority=5)
    one, two = hand("one", queues=["celery", "low"]), hand("two", queues=["celery", "low"])
    mover, other = (one, two) if first == "mover" else (two, one)
    mover.claim(0)
    move(folder, "f", queue, priority)
    renew(other)
    ran = [claim.record.task_id for claim in mover.claim(1)]
    mover.settle(*[])
    renew(other)
    for worker in (other, mover, other):
        ran += [claim.record.task_id for claim in worker.claim(1)]
        renew(mover)
    for worker in (one, two):
        worker.die()

    rest = hand("three", queues=["low", "celery"])
    rest.run_all(NOW + 1)
    renew(rest)
    rest.run_all(NOW + 2)

    assert len(ran) == 4
    for task_id in "abcdefgh":
        assert [status for status, _ in life(folder, task_id)].count("SUCCESS") == 1
    assert "has ended before" not in caplog.text


@pytest.mark.parametrize("queues", [["celery"], ["low"], ["celery", "low"]])
def test_a_moved_task_that_has_ended_stays_ended_when_the_results_start_afresh(folder, post, hand, queues, caplog):
    """The other line of it stands far behind, where the one who seals has not come to."""
    post("first")
    post(*(f"t{number}" for number in range(2000)))
    move(folder, "t1500", "low", None)
    move(folder, "t1600", None, 9)
    runner, sealer = hand("runner", queues=["low", "celery"]), hand("sealer", queues=queues)
    sealer.claim(0)
    for _ in range(2):
        runner.settle(*runner.claim(1))
    Revoking(folder).revoke(["t1700"])
    renew(sealer)

    rest = hand("rest", queues=["celery", "low"])
    while claims := rest.claim(500):
        rest.settle(*claims)

    for task_id in ("t1500", "t1600"):
        assert starts(folder, task_id) == 1
    assert starts(folder, "t1700") == 0
    assert "has ended before" not in caplog.text


@pytest.mark.parametrize(
    ("task_id", "queue", "priority", "message"),
    [
        ("done", None, 9, "task done has ended. Nothing was moved. See how: pmtq result done"),
        (
            "runs",
            None,
            9,
            "task runs is held by w1, which runs it. Nothing was moved. To call it off: pmtq revoke runs",
        ),
        (
            "waits",
            "celery",
            0,
            "task waits waits in celery already. Nothing was moved. Name another queue or priority: pmtq move ID --queue low --priority 3",
        ),
    ],
)
def test_a_task_that_cannot_be_moved_says_why(folder, post, hand, task_id, queue, priority, message):
    post("done", "runs", "waits")
    worker = hand("w1")
    worker.settle(*worker.claim())
    worker.claim()
    before = folder.results.read_bytes()

    with pytest.raises(NotMovedError) as caught:
        move(folder, task_id, queue, priority)

    assert (str(caught.value), folder.results.read_bytes()) == (message, before)
    assert [path.name for path in folder.path.glob("queue*.jsonl")] == ["queue.jsonl"]


def test_a_task_that_nobody_knows_cannot_be_moved(folder):
    with pytest.raises(NotMovedError, match=f"task x is not known in {folder.path}. Nothing was moved"):
        move(folder, "x", None, 9)


def test_a_move_survives_that_the_results_start_afresh(folder, post, hand):
    post("a", "b", priority=5)
    move(folder, "a", None, 1)
    renew(hand("sealer"))

    assert hand().run_all() == ["b", "a"]


def test_moving_needs_no_worker_and_leaves_no_descriptor_open(folder, post):
    post("a")
    before = len(os.listdir("/proc/self/fd"))

    move(folder, "a", None, 9)

    assert len(os.listdir("/proc/self/fd")) <= before + 1


@pytest.fixture
def far(folder, post):
    """A task that stands far behind 1,900 others, and was moved to the front; it is not to run before a minute is over."""
    post(*(f"t{number}" for number in range(1900)))
    post("far", eta=timestamp(NOW + 60))
    move(folder, "far", None, 9)
    return "far"


@pytest.mark.parametrize("look_again", [False, True])
def test_a_moved_task_that_was_called_off_stays_so(folder, far, hand, look_again):
    """The worker has come to the copy and remembers it for later, and has not come to the line it was moved from."""
    worker = hand()
    worker.settle(*worker.claim())
    Revoking(folder).revoke([far])
    if look_again:
        worker.settle(*worker.claim(now=NOW + 61))
    renew(worker)

    worker = hand("next")
    while claims := worker.claim(1000, NOW + 62):
        worker.settle(*claims, now=NOW + 62)

    assert life(folder, far) == [("REVOKED", 0)]


def test_a_moved_task_that_was_called_off_while_it_ran_is_not_started_again(folder, far, hand):
    worker = hand()
    worker.claim(now=NOW + 61)
    Revoking(folder).revoke([far])
    worker.claimer.exchange([StateRecord(far, "RELEASED", None, 0, worker.name, timestamp(NOW + 61))], NOW + 61)
    worker.settle(*worker.claim(now=NOW + 61))
    renew(worker)

    worker = hand("next")
    while claims := worker.claim(1000, NOW + 62):
        worker.settle(*claims, now=NOW + 62)

    assert life(folder, far) == [("STARTED", 1), ("RELEASED", 0), ("REVOKED", 0)]


def test_what_a_person_has_moved_is_forgotten_with_the_task(folder, post, hand):
    post("a", "b")
    move(folder, "a", "low", None)
    worker = hand(queues=["celery", "low"])
    assert Follower(folder).look().controls.keys() == {"moved a"}

    worker.run_all()

    assert Follower(folder).look().controls == {}
