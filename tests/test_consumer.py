"""The loop of one worker process."""

import errno
import itertools
import os
import threading
import time

import pytest

from pmtq import execute, signals
from pmtq.clock import moved_clock
from pmtq.presence import Presence
from pmtq.records import encode
from pmtq.states import FAILURE, LOST, RELEASED, REVOKED, STARTED, SUCCESS
from pmtq.watch import Watch
from pmtq.worker import consumer as module
from pmtq.worker.board import Board
from pmtq.worker.consumer import Consumer, files_of
from tests.support import NOW, all_states, die, eventually, is_empty, life, post_by_hand, read_lines, success


def test_a_call_comes_back_with_its_value(app, add, work):
    result = add.delay(2, 3)

    work(app)

    assert (result.get(timeout=5), result.state) == (5, SUCCESS)


def test_a_waiting_client_is_answered_by_a_worker_that_runs(app, add, work_until):
    got = []
    client = threading.Thread(target=lambda: got.append(add.delay(2, 3).get(timeout=20)))
    client.start()

    work_until(app, lambda: got)
    client.join()

    assert got == [5]


def test_tasks_run_in_the_order_they_were_posted(app, work):
    ran = []
    app.task(name="note")(ran.append)
    for number in range(500):
        app.send_task("note", [number])

    work(app)

    assert ran == list(range(500))


def test_every_outcome_is_settled_before_the_worker_ends(app, add, work, folder):
    results = [add.delay(number, 1) for number in range(2000)]

    work(app)

    assert [result.get(timeout=0) for result in results] == list(range(1, 2001))
    assert list(folder.workers.iterdir()) == []


def test_a_failing_task_is_the_tasks_failure_and_the_next_one_runs(app, add, work):
    @app.task(name="fail")
    def fail():
        raise ValueError("no such file")

    first, second = fail.delay(), add.delay(2, 3)

    work(app)

    assert (first.state, second.get(timeout=0)) == (FAILURE, 5)
    with pytest.raises(ValueError, match="no such file"):
        first.get(timeout=0)


@pytest.mark.parametrize(
    "value", ["\ud800", {1, 2}, 10**5000, "x" * 2_000_000], ids=["surrogate", "set", "huge", "long"]
)
def test_a_result_that_cannot_be_written_down_fails_its_task_and_no_other(app, add, work, value):
    first = app.task(name="odd")(lambda: value).delay()
    second = add.delay(2, 3)

    work(app)

    assert (first.state, second.get(timeout=0)) == (FAILURE, 5)


def test_results_too_long_for_the_notes_are_settled_all_the_same(app, work):
    task = app.task(name="long")(lambda number: str(number) * 300_000)
    results = [task.delay(number) for number in range(5)]

    work(app)

    assert [result.get(timeout=0) for result in results] == [str(number) * 300_000 for number in range(5)]


def test_an_expired_task_is_revoked_and_the_client_is_told(app, add, work):
    from pmtq.exceptions import TaskRevokedError

    result = add.apply_async([1], expires="2020-01-01")

    work(app)

    assert result.state == REVOKED
    with pytest.raises(TaskRevokedError, match=r"it expired at 2020-01-01T00:00:00\.000Z"):
        result.get(timeout=0)


def test_a_task_with_a_countdown_runs_when_it_is_due(app, add, work_until):
    result = add.apply_async([2, 3], countdown=0.2)

    work_until(app, result.ready)

    assert result.get(timeout=0) == 5


def test_with_burst_a_task_whose_time_has_not_come_is_left(app, add, work, folder):
    result = add.apply_async([2, 3], eta="2099-01-01")

    work(app)

    assert result.state == "PENDING"
    assert len(read_lines(folder.queue())) == 1


def test_a_worker_serves_the_queues_it_was_given(app, add, work):
    one, two, three = (add.apply_async([1], queue=queue) for queue in ("a", "b", "c"))

    work(app, queues=("a", "b"))

    assert [result.state for result in (one, two, three)] == [SUCCESS, SUCCESS, "PENDING"]


def test_a_line_from_the_shell_runs(app, work_until, folder):
    def ended():
        return [line for line in all_states(folder) if line["status"] == SUCCESS]

    def post_then_look():
        if not folder.queue().exists():
            post_by_hand(folder, '{"function":"tasks.add","params":[2,3]}\n')
        return ended()

    work_until(app, post_then_look)

    assert [line["result"] for line in ended()] == [5]


def test_a_line_without_a_last_newline_runs_a_moment_later(app, work_until, folder):
    post_by_hand(folder, '{"task_id":"a","function":"tasks.add","params":[2,3]}')

    work_until(app, app.AsyncResult("a").ready)

    assert app.AsyncResult("a").get(timeout=0) == 5


def test_an_idle_worker_clears_the_queue(app, add, work_until, folder):
    result = add.delay(2, 3)

    work_until(app, lambda: result.ready() and is_empty(folder.queue()))

    assert result.get(timeout=0) == 5


def test_when_it_is_stopped_it_ends_the_running_task_and_gives_back_the_others(app, folder):
    here = Presence(folder, "w1", {})
    ran = []

    @app.task(name="stop")
    def stop(number):
        ran.append(number)
        if len(ran) == 3:
            consumer.stop()

    consumer = Consumer(folder, here, ["celery"], app.tasks)
    consumer._expected["stop"] = 0.0
    results = [stop.delay(number) for number in range(6)]

    consumer.run()

    assert ran == [0, 1, 2]
    assert [result.state for result in results] == [SUCCESS] * 3 + ["PENDING"] * 3
    assert life(folder, results[5].id) == [(STARTED, 1), (RELEASED, 0)]


def test_nothing_waits_behind_a_task_that_takes_longer_than_expected(app, work, folder):
    """Its batch is given back, and another worker runs it meanwhile."""
    go_on = threading.Event()
    ran = []

    @app.task(name="slow")
    def slow():
        ran.append("slow")
        assert go_on.wait(20)

    quick = app.task(name="quick")(lambda: ran.append("quick"))
    here = Presence(folder, "w1", {})
    consumer = Consumer(folder, here, ["celery"], app.tasks)
    consumer._expected.update({"slow": 0.0, "quick": 0.0})
    results = [quick.delay(), slow.delay(), quick.delay(), quick.delay()]
    thread = threading.Thread(target=consumer.run, kwargs={"burst": True})
    thread.start()

    released = eventually(lambda: life(folder, results[3].id)[-1:] == [(RELEASED, 0)])
    first = results[0].state
    work(app, "w2")
    others = [result.state for result in results]
    go_on.set()
    thread.join()

    assert released
    assert first == SUCCESS, "what had ended is posted without waiting for the slow one"
    assert others == [SUCCESS, STARTED, SUCCESS, SUCCESS]
    assert (results[1].get(timeout=0), sorted(ran)) == (None, ["quick", "quick", "quick", "slow"])


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_outcomes_are_kept_while_the_disk_is_full_and_posted_when_there_is_space(app, work_until, folder, monkeypatch):
    monkeypatch.setattr(module, "SLOW_POLL", 0.01)
    ran = []

    @app.task(name="fill")
    def fill(number):
        ran.append(number)
        monkeypatch.setattr(os, "write", refused)
        return number

    refusals = 0
    real = os.write

    def refused(descriptor, data):
        nonlocal refusals
        refusals += 1
        if refusals < 5:
            full()
        monkeypatch.setattr(os, "write", real)
        return real(descriptor, data)

    results = [fill.delay(number) for number in range(3)]

    work_until(app, lambda: all(result.ready() for result in results))

    assert ran == [0, 1, 2]
    assert [result.get(timeout=0) for result in results] == [0, 1, 2]
    assert refusals >= 5


def test_what_a_full_disk_kept_from_being_ended_is_ended_and_told_of_once_when_there_is_space(
    app, add, work, monkeypatch
):
    monkeypatch.setattr(module, "SLOW_POLL", 0.0)
    told = []

    @signals.task_revoked.connect
    def hear(sender, request, **_):
        told.append(request.id)

    refusals = 0
    real = os.write

    def refused_thrice(descriptor, data):
        nonlocal refusals
        if b"REVOKED" in data and refusals < 3:
            refusals += 1
            full()
        return real(descriptor, data)

    result = add.apply_async([1], expires="2020-01-01")
    monkeypatch.setattr(os, "write", refused_thrice)

    work(app)

    signals.task_revoked.disconnect(hear)
    assert (refusals, result.state, told) == (3, REVOKED, [result.id])


def test_tasks_that_could_not_be_given_back_because_the_disk_is_full_are_not_forgotten(app, add, folder, monkeypatch):
    monkeypatch.setattr(module, "SLOW_POLL", 0.0)
    here = Presence(folder, "w1", {})
    consumer = Consumer(folder, here, ["celery"], app.tasks)
    consumer._expected["tasks.add"] = 0.0
    results = [add.delay(number) for number in range(3)]
    consumer._fill_batch()
    assert len(consumer._batch) == 3
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with consumer._mutex:
            consumer._give_back()

    consumer.run(burst=True)

    assert [result.state for result in results] == [SUCCESS] * 3


def test_a_batch_given_back_at_the_moment_the_running_task_ends_is_not_run_as_well(app, add, folder, monkeypatch):
    here = Presence(folder, "w1", {})
    consumer = Consumer(folder, here, ["celery"], app.tasks)
    consumer._expected["tasks.add"] = 0.0
    for number in range(3):
        add.delay(number)
    consumer._fill_batch()
    running = consumer._batch.popleft()
    real = consumer._claimer.exchange

    def exchange_while_it_ends(*args):
        claims = real(*args)
        outcome = success(running)
        consumer._lines.append(encode(outcome) + b"\n")
        consumer._outcomes.append(outcome)  # what the other thread does without the mutex
        return claims

    monkeypatch.setattr(consumer._claimer, "exchange", exchange_while_it_ends)
    with consumer._mutex:
        consumer._give_back()

    assert [line["status"] for line in all_states(folder)] == [STARTED] * 3 + [RELEASED] * 2
    assert list(consumer._batch) == []


@pytest.mark.parametrize("name", ["replace", "fsync", "pread"])
def test_a_worker_outlives_a_disk_that_refuses_now_and_then(app, add, work_until, folder, monkeypatch, name):
    """Clearing and reading are tried again; no refusal of the disk ends the worker."""
    monkeypatch.setattr(module, "SLOW_POLL", 0.01)
    monkeypatch.setattr(module, "TIDY_SECONDS", 0.05)
    real = getattr(os, name)
    refusals = 0

    def moody(*args, **kwargs):
        nonlocal refusals
        if threading.current_thread() is not threading.main_thread() and refusals < 3:
            refusals += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*args, **kwargs)

    first, second = add.delay(1, 1), []

    def post_when_the_disk_is_moody():
        if not second and first.ready():
            monkeypatch.setattr(os, name, moody)
            second.append(add.delay(2, 2))
        return second and second[0].ready() and refusals and is_empty(folder.queue())

    work_until(app, post_when_the_disk_is_moody)
    monkeypatch.undo()

    assert (first.get(timeout=0), second[0].get(timeout=0)) == (2, 4)


def test_a_deaf_worker_finds_new_tasks_by_looking(app, add, work_until, monkeypatch):
    from watchdog.observers import Observer

    def refuse(*_, **__):
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(Observer, "schedule", refuse)
    results = []

    def post_then_look():
        if not results:
            results.append(add.delay(2, 3))
        return results[0].ready()

    work_until(app, post_then_look)

    assert results[0].get(timeout=0) == 5


def test_a_worker_whose_name_file_was_removed_takes_the_name_again(app, add, work_until, folder):
    results = []

    def remove_then_post():
        if not results and folder.worker("w1").exists():
            folder.worker("w1").unlink()
            results.append(add.delay(2, 3))
        return results and results[0].ready() and folder.worker("w1").exists()

    work_until(app, remove_then_post, "w1")

    assert results[0].get(timeout=0) == 5


def test_what_a_dead_worker_held_is_run_by_one_that_was_idle(app, add, hand, work_until, folder):
    dead = hand("w-dead")
    result = add.delay(2, 3)
    dead.claim()
    died = []

    def die_then_look():
        if not died:
            died.append(dead.die())
        return result.ready()

    work_until(app, die_then_look)

    assert life(folder, result.id) == [(STARTED, 1), (LOST, 1), (STARTED, 2), (SUCCESS, 2)]


def test_the_worker_logs_one_line_for_each_task(app, add, work, caplog):
    import logging

    result = add.delay(2, 3)
    with caplog.at_level(logging.INFO, "pmtq.worker"):
        work(app)

    (line,) = [record.getMessage() for record in caplog.records if result.id in record.getMessage()]
    assert line.startswith(f"tasks.add {result.id} SUCCESS in 0.")
    assert line.endswith(" s: 5")


def test_a_result_is_what_it_was_when_its_task_returned(app, work):
    shared = []

    @app.task(name="grow")
    def grow():
        shared.append(len(shared))
        return shared

    results = [grow.delay() for _ in range(100)]

    work(app)

    assert [len(result.get(timeout=5)) for result in results] == list(range(1, 101))


def test_an_outcome_too_large_to_be_noted_is_posted_before_the_next_task_begins(app, folder):
    seen = []
    app.task(name="large")(lambda: "x" * 300_000)
    app.task(name="look")(lambda: seen.append([line["status"] for line in all_states(folder)]))
    here = Presence(folder, "w1", {})
    consumer = Consumer(folder, here, ["celery"], app.tasks)
    consumer._expected.update({"large": 0.0, "look": 0.0})
    app.send_task("large")
    app.send_task("look")

    consumer.run(burst=True)

    assert seen == [[STARTED, STARTED, SUCCESS]]


def test_what_a_stopping_worker_cannot_give_back_on_a_full_disk_counts_no_start(app, folder, hand, monkeypatch):
    ran = []
    app.task(name="f", acks_late=False)(ran.append)
    for number in range(3):
        app.send_task("f", [number], task_id=str(number))
    here = Presence(folder, "w1", {})
    consumer = Consumer(folder, here, ["celery"], app.tasks)
    consumer._expected["f"] = 0.0
    consumer._fill_batch()
    monkeypatch.setattr(module, "SLOW_POLL", 0.0)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        consumer._finish(burst=False)
    here.after_fork()
    hand("w2", {"f": False}).run_all()

    assert [life(folder, str(number)) for number in range(3)] == [
        [(STARTED, 1), (RELEASED, 0), (STARTED, 1), (SUCCESS, 1)]
    ] * 3


def test_it_takes_no_more_tasks_than_it_may(app, add, folder):
    results = [add.delay(number) for number in range(5)]
    here = Presence(folder, "w1", {})
    consumer = Consumer(folder, here, ["celery"], app.tasks)
    consumer._expected["tasks.add"] = 0.0
    consumer.left = 3

    consumer.run(burst=True)
    here.leave()

    assert [result.state for result in results] == [SUCCESS] * 3 + ["PENDING"] * 2
    assert consumer.left == 0
    assert life(folder, results[3].id) == [], "nothing was taken that had to be given back"


def test_a_task_that_is_given_back_does_not_count(app, add, folder):
    for number in range(3):
        add.delay(number)
    consumer = Consumer(folder, Presence(folder, "w1", {}), ["celery"], app.tasks)
    consumer._expected["tasks.add"] = 0.0
    consumer.left = 3
    consumer._fill_batch()
    with consumer._mutex:
        consumer._give_back()

    assert consumer.left == 3


def test_it_may_be_given_other_queues_while_it_runs(app, add, work_until, folder, monkeypatch):
    made = []
    monkeypatch.setattr("tests.conftest.Consumer", lambda *args: made.append(Consumer(*args)) or made[0])
    first, second = add.delay(1, 1), add.apply_async([2, 2], queue="low")

    def serve_the_other():
        if first.ready() and not second.ready():
            made[0].serve(["low"])
        return second.ready()

    work_until(app, serve_the_other)
    later = add.delay(3, 3)

    assert (second.get(timeout=0), later.state) == (4, "PENDING")


def test_it_shows_whether_it_is_busy(app, folder):
    seen = []
    board = Board()
    app.task(name="look")(lambda: seen.append(board.busy))
    app.send_task("look")
    here = Presence(folder, "w1", {})

    Consumer(folder, here, ["celery"], app.tasks, board).run(burst=True)
    here.leave()

    assert (seen, board.busy) == ([True], False)


def test_consumers_may_share_a_watch_which_stays_open(app, add, folder):
    watch = Watch(folder.path, files_of(folder, ["celery"]))
    result = add.delay(2, 3)
    here = Presence(folder, "w1", {})

    Consumer(folder, here, ["celery"], app.tasks, None, watch).run(burst=True)
    here.leave()

    assert result.get(timeout=0) == 5
    assert watch.wait(watch.seen(), 0), "it begins to listen"
    watch.close()


def test_the_files_of_a_queue_are_one_for_each_priority(folder):
    names = files_of(folder, ["celery", "low"])

    assert {"queue.jsonl", "queue.p9.jsonl", "queue.low.jsonl", "queue.low.p1.jsonl"} <= names
    assert len(names) == 20


@pytest.fixture
def heard():
    """What receivers of the signals of a queue were told."""
    told = []
    heard_of = [signals.task_received, signals.task_revoked, signals.task_unknown, signals.task_rejected]

    def hear(sender, signal, **named):
        told.append((signal.name, sender, named))

    for one in heard_of:
        one.connect(hear)
    yield told
    for one in heard_of:
        one.disconnect(hear)


def test_receivers_are_told_of_a_task_that_was_received(app, add, work, heard):
    result = add.delay(2, 3)

    work(app)

    ((name, sender, named),) = heard
    assert (name, type(sender), named["request"].id) == ("task_received", Consumer, result.id)


def test_receivers_are_told_of_tasks_that_expired_or_are_not_known_and_of_lines_that_are_no_tasks(
    app, add, work, folder, heard
):
    expired = add.apply_async([1], expires="2020-01-01")
    unknown = [app.send_task("tasks.ship") for _ in range(2)]
    post_by_hand(folder, "{no record}\n")

    work(app)

    assert [(name, getattr(sender, "name", "")) for name, sender, _ in heard] == [
        ("task_revoked", "tasks.add"),
        ("task_rejected", ""),
        ("task_unknown", ""),
    ]
    revoked, rejected, missing = (named for _, _, named in heard)
    assert (revoked["request"].id, revoked["terminated"], revoked["signum"], revoked["expired"]) == (
        expired.id, False, None, True
    )  # fmt: skip
    assert "no task record" in str(rejected["exc"])
    assert (missing["name"], missing["id"]) == ("tasks.ship", unknown[0].id), "once for each function"


def test_the_settings_say_how_long_sealed_results_are_kept(app, folder):
    app.conf.result_expires = 60
    consumer = Consumer(folder, Presence(folder, "w1", {}), ["celery"], app.tasks)

    assert consumer._claimer.result_expires == 60


def test_a_worker_that_wakes_for_the_time_of_a_task_has_not_missed_a_notification(app, folder, monkeypatch):
    looked = []
    monkeypatch.setattr(Watch, "found_by_looking", lambda _: looked.append(True))

    @app.task(name="late")
    def late():
        return None

    with moved_clock(NOW) as clock:
        results = [late.apply_async(countdown=seconds) for seconds in (1, 2, 3)]
        monkeypatch.setattr(Watch, "wait", lambda *_: bool(clock.advance(1)))  # nobody writes: the time is over
        here = Presence(folder, "w1", {})
        consumer = Consumer(folder, here, ["celery"], app.tasks)
        consumer.run(still_wanted=lambda: not all(result.ready() for result in results))
        here.leave()

    assert looked == []


def test_a_queue_is_not_cleared_right_after_a_long_task(app, folder, monkeypatch):
    tidied = []
    monkeypatch.setattr(Consumer, "_tidy", lambda _, *, idle: tidied.append(idle))
    times = itertools.count(0.0, 0.4)  # so much later at each look

    class Clock:
        perf_counter, sleep = time.perf_counter, time.sleep

        @staticmethod
        def monotonic():
            return next(times)

    monkeypatch.setattr(module, "time", Clock)

    @app.task(name="long")
    def long():
        next(itertools.islice(times, 100, None))

    result = long.delay()
    here = Presence(folder, "w1", {})
    consumer = Consumer(folder, here, ["celery"], app.tasks)
    rounds = iter(range(3))
    consumer.run(still_wanted=lambda: next(rounds, None) is not None)
    here.leave()

    assert (result.state, tidied[:1]) == (SUCCESS, [False])


def test_what_a_handler_takes_is_no_part_of_the_next_tasks_runtime(app, add, folder, monkeypatch):
    seconds = [0.0]

    class Clock:
        sleep, monotonic = time.sleep, time.monotonic

        @staticmethod
        def perf_counter():
            return seconds[0]

    monkeypatch.setattr(module, "time", Clock)
    monkeypatch.setattr(execute, "perf_counter", Clock.perf_counter)

    class Thorough(app.Task):
        def on_success(self, *_):
            seconds[0] += 10

    @app.task(name="thorough", base=Thorough)
    def thorough():
        seconds[0] += 1

    here = Presence(folder, "w1", {})
    consumer = Consumer(folder, here, ["celery"], app.tasks)
    consumer._expected["thorough"] = 0.0
    for _ in range(2):
        thorough.delay()
    consumer.run(burst=True)
    here.leave()

    assert [line["runtime"] for line in all_states(folder) if line["status"] == SUCCESS] == [1.0, 1.0]


def test_a_task_that_may_start_once_only_has_failed_when_it_is_called_off_at_once(app, folder, hand):
    app.task(name="once", acks_late=False)(lambda: None)
    for name in "abc":
        app.send_task("once", task_id=name)
    here = Presence(folder, "w1", {})
    consumer = Consumer(folder, here, ["celery"], app.tasks)
    consumer._expected["once"] = 0.0
    consumer._fill_batch()
    consumer._running = consumer._batch.popleft()

    consumer.abandon()
    die(here)
    hand("w2", {"once": False}).run_all()

    assert [life(folder, name)[-1][0] for name in "abc"] == [FAILURE, SUCCESS, SUCCESS]
