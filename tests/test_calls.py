"""A call becomes a record."""

import logging

import pytest

from pmtq.calls import adopt, changes_of, new_record
from pmtq.claim import Claim
from pmtq.exceptions import NotSerializable
from pmtq.records import StateRecord, TaskRecord
from tests.support import NOW

AT = "2027-01-15T08:00:00.000Z"


def test_a_new_record_holds_the_call_and_when_it_was_made():
    record = new_record("shop.ship", (1,), {"to": "Oslo"}, NOW)

    assert record == TaskRecord(task_id=record.task_id, function="shop.ship", args=[1], params={"to": "Oslo"}, sent=AT)
    assert len(record.task_id) == 22


def test_a_task_that_is_posted_by_a_running_one_names_it_and_the_first_of_the_line():
    root = Claim(TaskRecord(task_id="r", function="f"), StateRecord("r"))
    child, grandchild = TaskRecord(task_id="c", function="f"), TaskRecord(task_id="g", function="f")

    adopt(child, root)
    adopt(grandchild, Claim(child, StateRecord("c")))

    assert (root.children, child.parent_id, child.root_id) == (["c"], "r", "r")
    assert (grandchild.parent_id, grandchild.root_id) == ("c", "r")


def test_a_parent_that_the_call_names_itself_stays():
    record = TaskRecord(task_id="c", function="f", parent_id="mine", root_id="too")

    adopt(record, Claim(TaskRecord(task_id="r", function="f"), StateRecord("r")))

    assert (record.parent_id, record.root_id) == ("mine", "too")


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (None, None, {}),
        ([2], None, {"params": {"y": 1}, "args": [2]}),
        (None, {"y": 2}, {"params": {"y": 2}, "args": [1]}),
        ([2], {}, {"params": [2], "args": None}),
        ([], {"y": 2}, {"params": {"y": 2}, "args": None}),
        ([], {}, {"params": None, "args": None}),
    ],
)
def test_a_try_may_have_other_arguments_than_the_one_before(args, kwargs, expected):
    assert changes_of([1], {"y": 1}, args, kwargs, {}, NOW) == expected


def test_a_try_may_have_other_options_than_the_one_before():
    options = {
        "expires": 60,
        "headers": {"a": 1},
        "time_limit": 5,
        "soft_time_limit": 4,
        "shadow": "s",
        "ignore_result": True,
    }

    assert changes_of([], {}, None, None, options, NOW) == {
        "expires": "2027-01-15T08:01:00.000Z",
        "headers": {"a": 1},
        "time_limit": 5.0,
        "soft_time_limit": 4.0,
        "shadow": "s",
        "ignore_result": True,
    }


@pytest.mark.parametrize("option", ["task_id", "queue", "priority", "unique_key", "routing_key", "nonsense"])
def test_what_a_try_cannot_change_is_said_and_left(option, caplog):
    with caplog.at_level(logging.WARNING):
        assert changes_of([], {}, None, None, {option: "x"}, NOW) == {}

    assert [record.getMessage() for record in caplog.records] == [
        f"retry() cannot change {option}: the record stays where it stands, as it is"
    ]


def test_arguments_of_a_try_that_json_cannot_hold_are_refused():
    with pytest.raises(NotSerializable):
        changes_of([], {}, [{1}], None, {}, NOW)
