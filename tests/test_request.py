"""What a running task can know about its own call."""

import os
import socket

import pytest

from pmtq.claim import Claim
from pmtq.records import StateRecord, TaskRecord
from pmtq.request import Request, called_directly, nothing_running, own_claim, running
from pmtq.states import STARTED


def claimed(record, **started):
    return Claim(record, StateRecord("a", STARTED, None, **{"attempt": 1, "worker": "w1@host", **started}), queue="low")


FULL = TaskRecord(
    task_id="a",
    function="shop.ship",
    args=[1],
    params={"to": "Oslo"},
    sent="2027-01-15T08:00:00.000Z",
    eta="2027-01-15T08:00:01.000Z",
    expires="2027-01-15T09:00:00.000Z",
    priority=3,
    time_limit=10.0,
    soft_time_limit=5.0,
    ignore_result=True,
    shadow="sh",
    headers={"tenant": "blue", "retries": "mine"},
    parent_id="p",
    root_id="r",
    group_id="g",
)

NAMES = (
    "id", "correlation_id", "task", "args", "kwargs", "retries", "attempt", "redelivered", "is_eager", "eta", "expires",
    "sent", "hostname", "queue", "delivery_info", "called_directly", "time_limit", "soft_time_limit", "timelimit",
    "headers", "ignore_result", "shadow", "origin", "parent_id", "root_id", "group", "children", "chain", "chord",
    "callbacks", "errbacks", "reply_to", "replaced_task_nesting",
)  # fmt: skip


def test_a_request_tells_all_that_the_record_says():
    request = Request(claimed(FULL, retries=2, attempt=3))

    assert {name: getattr(request, name) for name in NAMES} == {
        "id": "a",
        "correlation_id": "a",
        "task": "shop.ship",
        "args": [1],
        "kwargs": {"to": "Oslo"},
        "retries": 2,
        "attempt": 3,
        "redelivered": False,
        "is_eager": False,
        "eta": "2027-01-15T08:00:01.000Z",
        "expires": "2027-01-15T09:00:00.000Z",
        "sent": "2027-01-15T08:00:00.000Z",
        "hostname": "w1@host",
        "queue": "low",
        "delivery_info": {"exchange": "", "routing_key": "low", "priority": 3, "redelivered": False},
        "called_directly": False,
        "time_limit": 10.0,
        "soft_time_limit": 5.0,
        "timelimit": (10.0, 5.0),
        "headers": {"tenant": "blue", "retries": "mine"},
        "ignore_result": True,
        "shadow": "sh",
        "origin": None,
        "parent_id": "p",
        "root_id": "r",
        "group": "g",
        "children": [],
        "chain": None,
        "chord": None,
        "callbacks": None,
        "errbacks": None,
        "reply_to": None,
        "replaced_task_nesting": 0,
    }


def test_of_a_record_typed_by_hand_a_request_tells_what_there_is():
    request = Request(claimed(TaskRecord(task_id="a", function="f")))

    told = {name: getattr(request, name) for name in NAMES}
    assert [name for name in NAMES if told[name] is None] == [
        "eta", "expires", "sent", "time_limit", "soft_time_limit", "shadow", "origin", "parent_id", "group", "chain",
        "chord", "callbacks", "errbacks", "reply_to",
    ]  # fmt: skip
    assert (told["args"], told["kwargs"], told["headers"], told["root_id"]) == ([], {}, {}, "a")


def test_outside_of_a_task_a_request_is_empty():
    request = Request(None)

    told = {name: getattr(request, name) for name in NAMES}
    assert told["called_directly"] is True
    assert told["hostname"] == f"{os.getpid()}@{socket.gethostname()}"
    assert (told["id"], told["args"], told["kwargs"], told["retries"], told["headers"]) == (None, [], {}, 0, {})


def test_a_header_is_a_part_of_the_request():
    request = Request(claimed(FULL))

    assert (request.tenant, request.get("tenant"), request.get("absent"), request.get("absent", 3)) == (
        "blue", "blue", None, 3
    )  # fmt: skip
    assert request.retries == 0
    with pytest.raises(AttributeError) as caught:
        request.absent  # noqa: B018
    assert str(caught.value) == (
        "a request has no part and no header called 'absent'; it has the headers ['retries', 'tenant']"
    )


def test_tries_made_before_it_was_posted_count():
    assert Request(claimed(TaskRecord(task_id="a", function="f", retries=2), retries=1)).retries == 3


@pytest.mark.parametrize(("attempt", "retries", "expected"), [(1, 0, False), (2, 1, False), (2, 0, True), (4, 2, True)])
def test_a_start_more_than_tries_is_a_second_delivery(attempt, retries, expected):
    request = Request(claimed(TaskRecord(task_id="a", function="f", retries=5), attempt=attempt, retries=retries))

    assert (request.redelivered, request.delivery_info["redelivered"]) == (expected, expected)


def test_what_a_request_hands_out_is_a_copy():
    claim = claimed(TaskRecord(task_id="a", function="f", params={"x": 1}, headers={"h": 1}))
    request = Request(claim)

    request.kwargs.clear()
    request.headers.clear()
    request.children.append("b")

    assert (request.kwargs, request.headers, request.children) == ({"x": 1}, {"h": 1}, [])


def test_what_is_called_directly_has_no_claim_but_something_runs():
    claim = claimed(FULL)
    token = running.set(claim)
    try:
        assert own_claim() is claim
        with called_directly("task"):
            assert (own_claim(), running.get()) == (None, claim)
        with called_directly("task"), nothing_running():
            assert (own_claim(), running.get()) == (None, None)
        assert own_claim() is claim
    finally:
        running.reset(token)


def test_a_request_is_shown_with_what_tells_calls_apart():
    assert repr(Request(claimed(FULL, retries=2))) == "<Request: shop.ship a retries=2>"
    assert repr(Request(None)) == "<Request: none>"
