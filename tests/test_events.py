"""What is appended to a folder, as events: each one once, under Celery's name, also when files are begun afresh."""

from __future__ import annotations

import time

import pytest

from pmtq.events import Following
from pmtq.journal import Journal
from pmtq.presence import Presence
from pmtq.records import StateRecord, encode_lines, timestamp
from tests.support import post_by_hand


@pytest.fixture
def following(folder):
    """Somebody who listens from now on."""
    folder.make()
    return Following(folder, time.time())


def news(following: Following) -> list[tuple[str, str, str]]:
    return [(event.type, event.uuid, event.name) for event in following.news(time.time()) if event.uuid]


def say(folder, *states: StateRecord) -> None:
    Journal(folder.results).append(encode_lines(list(states)))


def test_the_life_of_a_task_is_told_in_celerys_words(app, add, work, following):
    task_id = add.delay(2, 3).id
    (sent,) = following.news(time.time())
    work(app)
    received, started, succeeded = (event for event in following.news(time.time()) if event.uuid)
    assert (received.type, started.type, received.hostname) == ("task-received", "task-started", "worker1@test")
    assert (sent.type, sent.uuid, sent.name, sent.args, sent.kwargs, sent.queue) == (
        "task-sent", task_id, "tasks.add", [2, 3], {}, "celery"
    )  # fmt: skip
    assert (succeeded.type, succeeded.result, succeeded.hostname, succeeded.attempt) == (
        "task-succeeded", 5, "worker1@test", 1
    )  # fmt: skip
    assert news(following) == []


@pytest.mark.parametrize(
    ("status", "events"),
    [
        ("STARTED", ["task-received", "task-started"]),
        ("SUCCESS", ["task-succeeded"]),
        ("FAILURE", ["task-failed"]),
        ("RETRY", ["task-retried"]),
        ("REVOKED", ["task-revoked"]),
        ("REJECTED", ["task-rejected"]),
        ("LOST", ["task-lost"]),
        ("PROGRESS", ["task-progress"]),
    ],
)
def test_each_state_has_its_event(folder, following, status, events):
    post_by_hand(folder, '{"task_id":"t","function":"tasks.add"}\n')
    say(folder, StateRecord("t", status))

    assert news(following) == [("task-sent", "t", "tasks.add"), *((event, "t", "tasks.add") for event in events)]


def test_what_was_there_before_is_no_event_but_its_names_are_known(folder, app, add):
    task_id = add.delay(2, 3).id
    say(folder, StateRecord("done", "SUCCESS"))
    following = Following(folder, time.time())
    say(folder, StateRecord(task_id, "SUCCESS"))

    assert news(following) == [("task-succeeded", task_id, "tasks.add")]


def test_a_failure_and_a_retry_say_why(folder, following):
    error = {"type": "ValueError", "message": "no"}
    say(folder, StateRecord("t", "RETRY", error=error, eta="2100-01-01T00:00:00Z", traceback="Traceback"))

    (retried,) = following.news(time.time())

    assert (retried.exception, retried.eta, retried.traceback) == (
        "ValueError: no",
        "2100-01-01T00:00:00Z",
        "Traceback",
    )


def test_tasks_of_a_queue_that_is_new_are_told(folder, app, following):
    app.send_task("a", task_id="t", queue="low")

    assert [(event.uuid, event.queue) for event in following.news(time.time())] == [("t", "low")]
    assert following.files() == {"results.jsonl", "queue.jsonl", "queue.low.jsonl"}


def test_a_file_that_was_cleared_away_is_read_to_its_end_and_what_is_carried_over_is_told_once(folder, add, following):
    add.apply_async((1, 1), task_id="waits")
    assert news(following) == [("task-sent", "waits", "tasks.add")]
    carried = folder.queue().read_bytes()
    add.apply_async((3, 3), task_id="last")
    folder.sealed.mkdir()
    folder.queue().rename(folder.sealed / "queue.0.jsonl")
    folder.queue().write_bytes(carried)
    add.apply_async((4, 4), task_id="new")
    say(folder, StateRecord("last", "SUCCESS", at=timestamp(time.time())))

    assert news(following) == [
        ("task-sent", "last", "tasks.add"),
        ("task-sent", "new", "tasks.add"),
        ("task-succeeded", "last", "tasks.add"),
    ]


def test_lines_that_new_results_begin_with_are_told_once(folder, following):
    at = timestamp(time.time())
    old = StateRecord("old", "STARTED", None, 1, "w", timestamp(time.time() - 1000))
    runs, ends = StateRecord("runs", "STARTED", None, 1, "w", at), StateRecord("ends", "SUCCESS", None, 1, "w", at)
    say(folder, runs)
    assert len(news(following)) == 2
    say(folder, ends)
    folder.results.rename(folder.path / "aside.jsonl")
    say(folder, old, runs, StateRecord("runs", "SUCCESS", None, 1, "w", at))

    assert news(following) == [("task-succeeded", "ends", ""), ("task-succeeded", "runs", "")]


def test_workers_come_and_go(folder, following):
    presence = Presence(folder, "w@h", {"name": "w@h"})
    child = Presence(folder, "w@h#1", {"name": "w@h#1", "parent": "w@h"})

    came = [(event.type, event.hostname) for event in following.news(time.time() + 1)]
    child.leave()
    presence.leave()
    went = [(event.type, event.hostname) for event in following.news(time.time() + 2)]

    assert (came, went) == ([("worker-online", "w@h")], [("worker-offline", "w@h")])


def test_a_line_that_is_being_written_is_told_when_it_is_whole(folder):
    folder.make()
    folder.results.write_bytes(b'{"task_id":"t","sta')
    following = Following(folder, time.time())
    with folder.results.open("ab") as file:
        file.write(b'tus":"SUCCESS"}\n')

    assert news(following) == [("task-succeeded", "t", "")]
