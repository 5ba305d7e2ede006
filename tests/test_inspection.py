"""What waits and why, who lives, and what runs where, read off the files."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pmtq.broker import Broker
from pmtq.folder import Folder
from pmtq.inspection import Backlog, Owed, Running, View, Worker
from pmtq.journal import Journal
from pmtq.moving import move
from pmtq.presence import Presence
from pmtq.records import StateRecord, TaskRecord, encode_lines, timestamp
from tests.support import NOW, post_by_hand

SENT = timestamp(NOW - 10)
SINCE = timestamp(NOW - 3)


@pytest.fixture
def post(folder: Folder) -> Callable[..., None]:
    """A function that publishes one record of ``tasks.add``."""

    def publish(task_id: str, queue: str = "celery", **fields: Any) -> None:
        record = {"task_id": task_id, "function": "tasks.add", "params": [2, 3], "sent": SENT} | fields
        Broker(folder).publish(TaskRecord(**record), queue)

    return publish


@pytest.fixture
def states(folder: Folder) -> Callable[..., None]:
    """A function that appends state lines."""
    return lambda *lines: Journal(folder.results).append(encode_lines(list(lines)))


@pytest.fixture
def lives(folder: Folder) -> Iterator[Callable[..., Presence]]:
    """A function that makes a worker look alive, with a file as the supervisor writes it."""
    presences = []

    def live(name: str = "w@h", functions: tuple[str, ...] = ("tasks.add",), **facts: Any) -> Presence:
        facts = {"name": name, "queues": ["celery"], "functions": list(functions), "pool": "solo"} | facts
        presences.append(Presence(folder, name, facts))
        return presences[-1]

    yield live
    for presence in presences:
        presence.leave()


def why(folder: Folder, task_id: str) -> tuple[str, str]:
    owed = View(folder, NOW).find(task_id)
    assert owed
    return owed.state, owed.why


def started(task_id: str, worker: str = "w@h") -> StateRecord:
    return StateRecord(task_id, "STARTED", attempt=1, worker=worker, at=SINCE)


def test_a_folder_that_nobody_made_yet_is_empty(folder):
    view = View(folder, NOW)

    assert (view.workers, view.running(), view.find("x")) == ([], [], None)
    assert view.backlog("celery", 5) == Backlog(queue="celery", first=[], owed=0, held=0)
    assert not folder.path.exists()


def test_what_waits_is_told_in_the_order_of_the_file_without_what_is_done_with(folder, post, states):
    for task_id in ("a", "b", "c"):
        post(task_id)
    states(started("a"), StateRecord("a", "SUCCESS", 5))

    waiting = {"function": "tasks.add", "args": [2, 3], "queue": "celery", "sent": SENT, "why": "no worker is running"}
    assert View(folder, NOW).backlog("celery", 9) == Backlog(
        queue="celery", first=[Owed(task_id="b", **waiting), Owed(task_id="c", **waiting)], owed=2, held=0
    )


def test_only_so_many_are_shown_and_all_are_counted(folder, post):
    for number in range(7):
        post(f"t{number}")

    backlog = View(folder, NOW).backlog("celery", 2)

    assert ([owed.task_id for owed in backlog.first], backlog.owed) == (["t0", "t1"], 7)


def test_memory_does_not_follow_the_backlog(folder, post):
    post("first")
    Journal(folder.queue()).append(folder.queue().read_bytes() * 50_000)  # 5 MB

    tracemalloc.start()
    backlog = View(folder, NOW).backlog("celery", 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert backlog.owed == 50_001
    assert peak < 3_000_000


def test_keyword_and_positional_arguments_are_told_apart(folder, post):
    post("both", params={"y": 3}, args=[2])

    owed = View(folder, NOW).find("both")

    assert owed
    assert (owed.args, owed.kwargs) == ([2], {"y": 3})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"eta": timestamp(NOW + 60)}, f"it is not to run before {timestamp(NOW + 60)}"),
        ({"expires": timestamp(NOW - 1)}, f"it expired at {timestamp(NOW - 1)}; the next worker ends it"),
        ({"v": 99}, "a later version of pmtq wrote it (format 99); this one leaves it alone"),
        ({"function": "tasks.ad"}, "no running worker knows tasks.ad; did you mean tasks.add?"),
        ({"function": "Image.resize"}, "no running worker knows Image.resize"),
        ({"queue": "slow"}, "no running worker serves the queue slow"),
    ],
)
def test_the_reason_why_a_task_waits_is_named(folder, post, lives, fields, reason):
    lives()
    post("t", **fields)

    assert why(folder, "t") == ("PENDING", reason)


def test_a_task_that_nothing_keeps_from_running_is_about_to_start(folder, post, lives):
    lives()
    post("t")

    assert why(folder, "t") == ("PENDING", "it is about to start")


def test_a_task_waits_because_every_worker_that_knows_it_is_busy(folder, post, states, lives):
    lives("w@h")
    lives("idle@h", functions=("other",))
    post("first")
    post("second")
    states(started("first"))

    assert why(folder, "second") == ("PENDING", "every worker that knows it is busy")


def test_the_parent_of_a_pool_does_not_count_as_a_worker_that_is_free(folder, post, states, lives):
    lives("w@h", pool="prefork")
    lives("w@h#1", pool="prefork", parent="w@h")
    post("first")
    post("second")
    states(started("first", "w@h#1"))

    assert why(folder, "second") == ("PENDING", "every worker that knows it is busy")


def test_a_task_that_runs_names_who_runs_it(folder, post, states, lives):
    lives()
    post("t")
    post("next")
    states(started("t"), started("next"))

    assert why(folder, "t") == ("STARTED", f"w@h runs it since {SINCE}")
    assert why(folder, "next") == ("STARTED", "w@h has claimed it and runs t first")


def test_a_task_of_a_dead_worker_is_to_be_given_out_again(folder, post, states):
    post("t")
    states(started("t"))

    assert why(folder, "t") == ("STARTED", "its worker w@h died; the next worker gives it out again")
    assert View(folder, NOW).backlog("celery", 0).held == 0


def test_a_task_that_is_to_be_tried_again_says_when(folder, post, states):
    post("t")
    states(StateRecord("t", "RETRY", attempt=1, eta=timestamp(NOW + 5)))

    assert why(folder, "t") == ("RETRY", f"tries again at {timestamp(NOW + 5)}")


def test_a_line_that_is_no_record_says_what_is_wrong_with_it(folder):
    post_by_hand(folder, '{"function":"tasks.add"}\n{"function":”tasks.add”}\n')

    first, second = View(folder, NOW).backlog("celery", 9).first

    assert (first.function, second.function, second.state) == ("tasks.add", "", "REJECTED")
    assert second.why == ('line 2 is no task record: found a typographic quote (”) at column 13. Use the plain quote "')


def test_a_last_line_without_its_newline_is_shown_too(folder):
    post_by_hand(folder, '{"function":"tasks.add","params":[1,2]}')

    (owed,) = View(folder, NOW).backlog("celery", 9).first

    assert (owed.task_id, owed.function, owed.args) == ("", "tasks.add", [1, 2])


def test_a_block_that_is_not_closed_yet_is_shown_as_unfinished(folder):
    post_by_hand(folder, '--{\n"function": "tasks.add"\n')

    (owed,) = View(folder, NOW).backlog("celery", 9).first

    assert owed.why == "line 1 is no task record: the record is not finished at column 1. Write its end"


def test_the_living_are_listed_with_their_facts_and_the_dead_are_not(folder, lives):
    lives("a@h", pid=os.getpid(), started=SENT, concurrency=2)
    folder.worker("dead@h").write_text('{"name": "dead@h"}')

    assert View(folder, NOW).workers == [
        Worker(
            name="a@h",
            pid=os.getpid(),
            started=SENT,
            queues=["celery"],
            functions=["tasks.add"],
            pool="solo",
            concurrency=2,
        )
    ]


def test_a_worker_whose_file_is_of_another_shape_is_known_by_name(folder, lives):
    lives("odd@h", queues="celery")

    assert View(folder, NOW).workers == [Worker(name="odd@h")]


def test_what_runs_is_told_with_its_arguments(folder, post, states, lives):
    lives()
    post("t")
    states(started("t"), started("gone"))

    held = {"worker": "w@h", "since": SINCE, "attempt": 1}
    assert View(folder, NOW).running() == [
        Running(task_id="t", function="tasks.add", args=[2, 3], queue="celery", begun=True, **held),
        Running(task_id="gone", begun=False, **held),
    ]


def test_a_torn_line_among_the_results_is_passed_over(folder, post, states):
    post("t")
    Journal(folder.results).append(b'{"task_id":"t","sta\n')
    states(StateRecord("t", "SUCCESS", 5))

    assert View(folder, NOW).find("t") is None


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        ("pause queue celery", f"the queue celery is paused since {SINCE}: pmtq resume -Q celery"),
        ("pause task tasks.add", f"the task tasks.add is paused since {SINCE}: pmtq resume -T tasks.add"),
        ("revoke t", "it was called off; the next worker ends it"),
    ],
)
def test_what_a_person_holds_back_is_told_with_the_way_to_let_it_go(folder, post, states, lives, control, reason):
    lives()
    post("t")
    states(StateRecord(control=control, result=True, at=SINCE))

    assert why(folder, "t") == ("PENDING", reason)


@pytest.mark.parametrize(("control", "option"), [("queue celery", "-Q celery"), ("task tasks.add", "-T tasks.add")])
def test_a_pause_that_somebody_typed_without_its_time_is_told_without_one(folder, post, states, lives, control, option):
    lives()
    post("t")
    states(StateRecord(control=f"pause {control}", result=True))

    assert why(folder, "t") == ("PENDING", f"the {control} is paused: pmtq resume {option}")


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (1, "task a0 has not ended yet"),
        (2, "task a0 and 1 more have not ended yet"),
        (1_002, "task a0 and 1,001 more have not ended yet"),
    ],
)
def test_what_a_task_waits_for_is_told_by_one_name_and_a_number(folder, post, lives, count, reason):
    lives()
    post("t", after=[f"a{number}" for number in range(count)])

    assert why(folder, "t") == ("PENDING", reason)


@pytest.mark.parametrize(("count", "more"), [(1, ""), (2, ", or another one"), (3, ", or one of 2 others")])
def test_what_runs_after_a_failure_is_told_by_whose(folder, post, lives, count, more):
    lives()
    post("t", after_failure=[f"a{number}" for number in range(count)])

    assert why(folder, "t") == ("PENDING", f"it runs only if task a0 fails{more}")


def test_a_rate_limit_is_told_with_the_time_of_the_next_start(folder, post, states, lives):
    lives()
    post("t")
    taken = StateRecord("before", "STARTED", attempt=1, worker="w@h", at=SINCE, pace=["tasks.add"])
    states(taken, StateRecord(control="rate_limit tasks.add", result="10/m"))

    assert why(folder, "t") == (
        "PENDING",
        f"the rate limit 10/m lets the next tasks.add start at {timestamp(NOW + 3)}",
    )


def test_a_call_that_is_owed_already_is_told_with_the_first_one(folder, post, lives):
    lives()
    post("a", unique_key="k")
    post("b", unique_key="k")

    assert why(folder, "a") == ("PENDING", "it is about to start")
    assert why(folder, "b") == ("PENDING", "the same call is owed already, as task a; the next worker ends this one")


def test_a_queue_is_told_with_all_its_priorities_in_the_order_in_which_they_run(folder, post):
    for task_id, priority in (("a", 0), ("b", 3), ("c", 9), ("d", 3)):
        post(task_id, queue="low", priority=priority)
    post("e")
    view = View(folder, NOW)

    first = [(owed.task_id, owed.queue, owed.priority) for owed in view.backlog("low", 9).first]

    assert first == [("c", "low", 9), ("b", "low", 3), ("d", "low", 3), ("a", "low", 0)]
    assert (view.queues(), view.backlog("low", 1).owed) == (["celery", "low"], 4)


def test_a_moved_task_is_told_once_and_where_it_waits_now(folder, post):
    for task_id in ("a", "b", "c"):
        post(task_id)
    move(folder, "c", None, 9)
    move(folder, "b", "low", 2)
    view = View(folder, NOW)

    told = [
        (owed.task_id, queue, owed.priority) for queue in ("celery", "low") for owed in view.backlog(queue, 9).first
    ]

    assert told == [("c", "celery", 9), ("a", "celery", 0), ("b", "low", 2)]
    assert view.find("b").queue == "low"
