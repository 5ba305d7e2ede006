"""What receivers are told of a call that is posted."""

import pytest

from pmtq import signals
from pmtq.exceptions import NotSerializable
from tests.support import read_lines


def queued(folder):
    return read_lines(folder.queue())


@pytest.fixture
def published():
    """What receivers hear when a call is posted: for each call the signal, the task's name, and the rest."""
    heard = []
    connected = {}
    for name in ("before_task_publish", "after_task_publish"):

        def receive(sender, signal=None, name=name, **about):
            heard.append((name, sender, about))

        connected[name] = receive
        getattr(signals, name).connect(receive, weak=False)
    yield heard
    for name, receive in connected.items():
        getattr(signals, name).disconnect(receive)


def test_receivers_hear_of_a_call_before_and_after_its_record_stands_in_the_queue(add, published):
    result = add.apply_async(
        [1], {"y": 2}, queue="low", priority=3, shadow="sh", time_limit=9, headers={"tenant": "blue"}
    )

    headers = {
        "id": result.id,
        "task": "tasks.add",
        "shadow": "sh",
        "group": None,
        "root_id": result.id,
        "parent_id": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [9.0, None],
        "argsrepr": "(1,)",
        "kwargsrepr": "{'y': 2}",
        "ignore_result": False,
        "tenant": "blue",
    }
    about = {"body": ([1], {"y": 2}, {}), "exchange": "", "routing_key": "low", "headers": headers}
    assert published == [
        (
            "before_task_publish",
            "tasks.add",
            {**about, "properties": {"priority": 3}, "declare": [], "retry_policy": None},
        ),
        ("after_task_publish", "tasks.add", about),
    ]


def test_headers_that_a_receiver_adds_go_along_with_the_call(add, folder):
    def receive(headers=None, **_):
        headers["tenant"] = "blue"
        headers["mine"] = headers.pop("given") + 1

    signals.before_task_publish.connect(receive)
    add.apply_async([1], headers={"given": 4})
    add.app.send_tasks([("tasks.add", [1], {}, {"headers": {"given": 5}})])
    signals.before_task_publish.disconnect(receive)

    assert [line["headers"] for line in queued(folder)] == [
        {"tenant": "blue", "mine": 5},
        {"tenant": "blue", "mine": 6},
    ]


def test_headers_of_a_receiver_that_json_cannot_hold_are_refused_by_name(add, folder):
    def receive(headers=None, **_):
        headers["when"] = {1}

    signals.before_task_publish.connect(receive)
    with pytest.raises(NotSerializable, match=r"argument 'headers'\['when'\] of tasks.add is a set"):
        add.delay(1)
    signals.before_task_publish.disconnect(receive)

    assert queued(folder) == []


def test_receivers_hear_of_every_call_of_many(app, published):
    results = app.send_tasks([("a",), ("b", [1])])

    assert [(name, sender, about["headers"]["id"]) for name, sender, about in published] == [
        ("before_task_publish", "a", results[0].id),
        ("before_task_publish", "b", results[1].id),
        ("after_task_publish", "a", results[0].id),
        ("after_task_publish", "b", results[1].id),
    ]
