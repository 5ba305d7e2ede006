"""What holds a task back although a worker is free, by the rules alone and in real claimers."""

import math
import tracemalloc

import pytest

from pmtq.broker import Broker
from pmtq.claim import Terms
from pmtq.claimer import Claimer
from pmtq.gates import Gates
from pmtq.ledger import Ledger
from pmtq.records import StateRecord, TaskRecord, timestamp
from tests.support import NOW, all_states, life

YEAR = 365 * 86400.0
SENT = timestamp(NOW - 10)
AT = timestamp(NOW)


@pytest.fixture
def post(folder):
    """A function that publishes calls under these ids."""

    def publish(*ids, function="tasks.add", queue="celery", **fields):
        records = [TaskRecord(task_id=task_id, function=function, sent=SENT, **fields) for task_id in ids]
        Broker(folder).publish_all((record, queue, False) for record in records)

    return publish


@pytest.fixture
def paced(folder, hand):
    """A function that makes a worker whose code lets ``tasks.add`` start once in so many seconds."""

    def make(name, interval):
        worker = hand(name)
        worker.claimer = Claimer(folder, worker.presence, ["celery"], {"tasks.add": Terms(interval=interval)})
        return worker

    return make


def gates(*lines, intervals=()):
    ledger = Ledger()
    ledger.apply(lines)
    return Gates(ledger, dict(intervals))


def record(task_id="t", **fields):
    return TaskRecord(task_id=task_id, function="tasks.add", sent=SENT, **fields)


def control(what, value=True):
    return StateRecord(control=what, result=value)


def took(task_id, at, *pace):
    return StateRecord(task_id, "STARTED", attempt=1, worker="w", at=timestamp(at), pace=list(pace))


def renew(worker):
    """Have the worker start the results and all queue files afresh."""
    with worker.claimer._results.hold():
        worker.claimer._catch_up()
        worker.claimer._seal(NOW, renew=True)


# By themselves


def test_where_nothing_is_set_no_gate_is_closed():
    assert gates().closed(record(), "celery", NOW) == ""


@pytest.mark.parametrize("what", ["pause queue low", "pause task tasks.add"])
def test_a_pause_is_a_gate_that_time_does_not_open(what):
    one = gates(control(what))

    assert (one.closed(record(), "low", NOW), one.opens(what)) == (what, math.inf)


@pytest.mark.parametrize("what", ["pause queue other", "pause task tasks.ad", "revoke t", "rate_limit other"])
def test_what_is_said_of_another_closes_nothing(what):
    assert gates(control(what)).closed(record(), "low", NOW) == ""


def test_what_was_taken_back_closes_nothing():
    assert gates(control("pause queue low"), control("pause queue low", None)).closed(record(), "low", NOW) == ""


def test_a_rate_is_a_gate_that_opens_when_the_last_start_is_long_enough_ago():
    one = gates(took("a", NOW, "tasks.add"), intervals={"tasks.add": 6.0}.items())

    assert one.closed(record(), "celery", NOW + 5.99) == "rate tasks.add"
    assert one.opens("rate tasks.add") == NOW + 6
    assert one.closed(record(), "celery", NOW + 6) == ""


@pytest.mark.parametrize(("rate", "opens"), [("10/m", NOW + 6), ("1/h", NOW + 3600), (2, NOW + 0.5), (0, NOW)])
def test_a_rate_that_a_person_sets_overrides_the_code(rate, opens):
    one = gates(
        took("a", NOW, "tasks.add"), control("rate_limit tasks.add", rate), intervals={"tasks.add": 60.0}.items()
    )

    assert one.opens("rate tasks.add") == opens


def test_only_starts_that_others_must_keep_a_distance_from_say_so():
    one = gates(intervals={"tasks.add": 6.0}.items())

    assert one.pace(record()) == ["tasks.add"]
    assert one.pace(record(unique_key="k", throttle=3.0)) == ["tasks.add", "k"]
    assert gates().pace(record(unique_key="k")) is None


def test_a_record_counts_in_the_file_that_a_person_moved_it_to():
    one = gates(control("moved t", "low.p3"))

    assert one.closed(record(), "celery", NOW) == "moved t celery"
    assert one.opens("moved t celery") == math.inf
    assert one.closed(record(priority=3), "low", NOW) == ""


# In real claimers


def test_a_rate_holds_over_three_workers_together(paced, post):
    post(*(f"t{number}" for number in range(100)))
    workers = [paced(name, 6.0) for name in ("one", "two", "three")]

    starts = []
    for tenth in range(600):
        now = NOW + tenth / 10
        for worker in workers:
            claims = worker.claim(5, now)
            worker.settle(*claims, now=now)
            starts += [round(now - NOW, 1)] * len(claims)

    assert starts == [0.0, 6.0, 12.0, 18.0, 24.0, 30.0, 36.0, 42.0, 48.0, 54.0]


def test_a_rate_holds_for_a_worker_that_starts_later_and_when_the_results_start_afresh(paced, post):
    post("a", "b")
    first = paced("first", 6.0)
    first.settle(*first.claim())
    renew(first)
    second = paced("second", 6.0)

    assert (second.claim(now=NOW + 5.9), len(second.claim(now=NOW + 6))) == ([], 1)


@pytest.mark.parametrize("heir", ["one", "two"])
def test_when_the_clock_was_a_year_ahead_and_is_set_right_a_rate_counts_from_the_next_start(paced, post, heir):
    post("a", "b", "c")
    workers = {name: paced(name, 6.0) for name in ("one", "two")}
    workers["one"].settle(*workers["one"].claim(5, NOW + YEAR), now=NOW + YEAR)

    assert [len(workers[heir].claim(5, NOW + second)) for second in (0, 5.9, 6)] == [1, 0, 1]


def test_when_the_clock_is_set_back_a_little_a_rate_lets_nothing_start_too_early(paced, post):
    post("a", "b")
    worker = paced("one", 6.0)
    worker.settle(*worker.claim())

    assert [len(worker.claim(5, NOW + second)) for second in (-5.9, 5.9, 6)] == [0, 0, 1]


def test_a_rate_that_is_used_up_holds_back_no_other_task(paced, post, folder, hand):
    post("a", "b")
    post("c", function="tasks.other")
    worker = paced("one", 6.0)
    worker.claimer._admission._terms["tasks.other"] = Terms()

    assert worker.run_all() == ["a", "c"]


def test_a_worker_sleeps_until_the_rate_lets_the_next_one_start(paced, post):
    post("a", "b")
    worker = paced("one", 6.0)
    worker.run_all()

    assert worker.claimer.next_due() == NOW + 6


def test_a_paused_queue_waits_and_the_others_go_on(app, post, hand):
    post("a", "b", queue="low")
    post("urgent", queue="low", priority=9)
    post("c")
    worker = hand(queues=["celery", "low"])
    app.control.pause(queue="low")

    assert worker.run_all() == ["c"]
    app.control.resume(queue="low")
    assert worker.run_all() == ["urgent", "a", "b"]


def test_a_paused_task_waits_in_all_queues_and_the_others_go_on(app, post, hand):
    post("a")
    post("b", queue="low")
    post("c", function="tasks.other")
    worker = hand(known={"tasks.add": True, "tasks.other": True}, queues=["celery", "low"])
    app.control.pause(task="tasks.add")

    assert worker.run_all() == ["c"]
    app.control.resume(task="tasks.add")
    assert sorted(worker.run_all()) == ["a", "b"]


def test_a_pause_outlives_workers_and_the_results_that_it_stands_in(app, post, hand):
    post("a")
    app.control.pause(queue="celery")
    first = hand("first")
    renew(first)
    first.die()

    assert hand("second").run_all(NOW + 1) == []
    assert app.control.paused() == ["queue celery"]


def test_what_is_sent_to_a_paused_queue_waits_as_well(app, post, hand):
    worker = hand()
    app.control.pause(queue="celery")
    worker.claim()
    post("a")

    assert worker.run_all() == []


def test_a_paused_queue_is_not_read_into_memory(app, post, hand, folder):
    post(*(f"t{number}" for number in range(100_000)))
    app.control.pause(queue="celery")
    worker = hand()
    worker.claim()

    tracemalloc.start()
    assert worker.claim() == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1_000_000
    assert folder.queue().stat().st_size > 5_000_000


def test_priorities_are_exact_before_a_backlog_of_a_hundred_thousand(post, hand):
    worker = hand()
    post(*(f"t{number}" for number in range(100_000)))
    worker.settle(*worker.claim(1000))
    post("three", priority=3)
    post("nine", "also nine", priority=9)
    post("five", priority=5)

    claims = worker.claim(5)

    assert [claim.record.task_id for claim in claims] == ["nine", "also nine", "five", "three", "t1000"]


def test_the_same_call_runs_once_while_it_is_owed(post, hand, folder):
    post("a", "b", "c", unique_key="k")
    post("d", unique_key="other")

    assert hand().run_all() == ["a", "d"]
    assert life(folder, "c") == [("IGNORED", 0)]
    (line,) = [line for line in all_states(folder) if line["task_id"] == "b"]
    assert line["error"] == {"type": "pmtq.exceptions.Ignore", "message": "the same call is owed already, as task a"}


def test_the_same_call_runs_again_after_the_first_has_ended(post, hand):
    worker = hand()
    post("a", unique_key="k")
    first = worker.run_all()
    post("b", unique_key="k")

    assert (first, worker.run_all()) == (["a"], ["b"])


def test_the_same_call_is_one_call_for_all_workers(post, hand, folder):
    one, two = hand("one"), hand("two")
    post("a", unique_key="k")
    (claim,) = one.claim()
    post("b", unique_key="k")

    assert two.run_all() == []
    assert life(folder, "b") == [("IGNORED", 0)]
    one.settle(claim)


def test_of_calls_within_a_moment_the_last_one_runs(post, hand, folder):
    worker = hand()
    for second, task_id in enumerate("abc"):
        post(task_id, unique_key="k", debounce=5.0, eta=timestamp(NOW + second + 5))
        assert worker.run_all(NOW + second) == []

    assert (worker.run_all(NOW + 6.9), worker.run_all(NOW + 7)) == ([], ["c"])
    assert (life(folder, "a"), life(folder, "b")) == ([("IGNORED", 0)], [("IGNORED", 0)])


def test_what_waits_for_a_call_hears_that_a_later_one_runs_in_its_place(post, hand, folder):
    worker = hand()
    post("a", unique_key="k", debounce=5.0, eta=timestamp(NOW + 5), followers=["next"])
    post("next", queue="elsewhere", after="a")
    post("b", unique_key="k", debounce=5.0, eta=timestamp(NOW + 6))

    assert (worker.run_all(NOW), worker.run_all(NOW + 6)) == ([], ["b"])
    (line,) = [line for line in all_states(folder) if line["task_id"] == "a"]
    assert (line["status"], line["followers"]) == ("IGNORED", ["next"])


def test_a_call_too_soon_after_the_last_start_is_not_run(post, hand, folder):
    worker = hand()
    ran = []
    for second, task_id in enumerate("abcd"):
        post(task_id, unique_key="k", throttle=2.0)
        ran += worker.run_all(NOW + second)

    assert ran == ["a", "c"]
    assert life(folder, "b") == [("IGNORED", 0)]


def test_when_the_clock_was_a_year_ahead_and_is_set_right_no_call_is_thrown_away_for_that(post, hand, folder):
    worker = hand()
    ran = []
    for task_id, seconds in [("a", YEAR), ("b", 0), ("c", 1), ("d", 2)]:
        post(task_id, unique_key="k", throttle=2.0)
        ran += worker.run_all(NOW + seconds)

    assert ran == ["a", "b", "d"]
    assert life(folder, "c") == [("IGNORED", 0)]
