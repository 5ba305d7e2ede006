"""A call becomes a record: what its options mean, and which are refused."""

import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from pmtq.calls import WITHOUT_EFFECT, adopt, changes_of, fill_in, key_of, new_record
from pmtq.claim import Claim
from pmtq.exceptions import ImproperlyConfigured, NotSerializable
from pmtq.records import StateRecord, TaskRecord, decode_task, encode
from tests.support import NOW

AT = "2027-01-15T08:00:00.000Z"


def filled(**options):
    record = TaskRecord(task_id="a", function="shop.ship")
    fill_in(record, options, NOW)
    assert decode_task(encode(record)) == record
    return record


def test_a_new_record_holds_the_call_and_when_it_was_made():
    record = new_record("shop.ship", (1,), {"to": "Oslo"}, NOW)

    assert record == TaskRecord(task_id=record.task_id, function="shop.ship", args=[1], params={"to": "Oslo"}, sent=AT)
    assert len(record.task_id) == 22


def test_every_option_that_matters_stands_in_the_record():
    record = filled(
        task_id="mine",
        countdown=10,
        expires=timedelta(minutes=1),
        priority=9,
        retries=2,
        time_limit=timedelta(minutes=2),
        soft_time_limit=60,
        ignore_result=False,
        shadow="sh",
        headers={"tenant": "blue"},
        parent_id="p",
        root_id="r",
        group_id="g",
        unique_key="k",
        debounce=1.5,
        throttle=2.5,
    )

    assert record == TaskRecord(
        task_id="mine",
        function="shop.ship",
        eta="2027-01-15T08:00:10.000Z",
        expires="2027-01-15T08:01:00.000Z",
        priority=9,
        retries=2,
        time_limit=120.0,
        soft_time_limit=60.0,
        ignore_result=False,
        shadow="sh",
        headers={"tenant": "blue"},
        parent_id="p",
        root_id="r",
        group_id="g",
        unique_key="k",
        debounce=1.5,
        throttle=2.5,
    )


@pytest.mark.parametrize(
    "option", ["countdown", "eta", "expires", "priority", "headers", "shadow", "task_id", "retries"]
)
def test_an_option_that_is_none_is_as_good_as_left_out(option):
    assert filled(**{option: None}) == TaskRecord(task_id="a", function="shop.ship")


def test_a_countdown_goes_before_an_eta():
    assert filled(countdown=5, eta=datetime(2030, 1, 1, tzinfo=UTC)).eta == "2027-01-15T08:00:05.000Z"


@pytest.mark.parametrize("option", sorted(WITHOUT_EFFECT))
def test_an_option_that_means_nothing_in_a_folder_is_accepted(option):
    assert filled(**{option: None}) == TaskRecord(task_id="a", function="shop.ship")
    assert len(WITHOUT_EFFECT[option]) > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"countdwn": 3},
            "a call to shop.ship has no option 'countdwn'. Nothing was queued. Did you mean countdown?",
        ),
        (
            {"colour": "red"},
            "a call to shop.ship has no option 'colour'. Nothing was queued. Arguments of the function go into args=[…] and kwargs={…}.",
        ),
    ],
)
def test_an_unknown_option_is_refused_with_its_nearest_neighbour(options, message):
    with pytest.raises(TypeError) as caught:
        filled(**options)

    assert str(caught.value) == message


@pytest.mark.parametrize("value", [10, -1, "high", 1.5, [], float("nan")])
def test_a_priority_is_a_whole_number_from_0_to_9(value):
    with pytest.raises(ImproperlyConfigured) as caught:
        filled(priority=value)

    assert str(caught.value) == (
        f"priority={value!r} is none. Nothing was queued. Give a whole number from 0 to 9; the highest runs first"
    )


@pytest.mark.parametrize("option", ["time_limit", "soft_time_limit"])
@pytest.mark.parametrize("value", ["soon", -1, float("inf"), float("nan"), []])
def test_a_limit_is_a_time_span(option, value):
    with pytest.raises(ImproperlyConfigured) as caught:
        filled(**{option: value})

    assert str(caught.value) == f"{option}={value!r} is no time span. Nothing was queued. Give seconds"


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("task_id", 5, "Expected `str`, got `int`"),
        ("task_id", UUID(int=5), "Expected `str`, got `uuid`"),
        ("shadow", 5, "Expected `str`, got `int`"),
        ("headers", 5, "Expected `object | null`, got `int`"),
        ("retries", "x", "Expected `int`, got `str`"),
        ("ignore_result", "x", "Expected `bool | null`, got `str`"),
        ("parent_id", 5, "Expected `str`, got `int`"),
        ("unique_key", 5, "Expected `str`, got `int`"),
        ("throttle", "x", "Expected `float`, got `str`"),
    ],
)
def test_an_option_that_no_worker_could_read_is_refused_at_the_call(option, value, why):
    with pytest.raises(ImproperlyConfigured) as caught:
        filled(**{option: value})

    assert str(caught.value) == f"{option}={value!r} is not possible: {why}. Nothing was queued"


def test_headers_that_json_cannot_hold_are_refused_by_name():
    with pytest.raises(NotSerializable, match=r"argument 'headers'\['when'\] of shop\.ship is a datetime"):
        filled(headers={"when": datetime(2027, 1, 1, tzinfo=UTC)})


def test_any_serializer_but_json_is_refused():
    with pytest.raises(ImproperlyConfigured) as caught:
        filled(serializer="pickle")

    assert str(caught.value) == (
        "serializer='pickle' is not possible: a queue file holds JSON, so that anyone can read it. Nothing was queued. "
        "Leave the option out"
    )
    assert filled(serializer="json") == TaskRecord(task_id="a", function="shop.ship")


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


def test_calls_with_the_same_arguments_have_the_same_key():
    keys = {
        key_of("f", {"x": 1, "y": [1, {"a": 1, "b": 2}]}, chosen=True),
        key_of("f", {"y": (1, {"b": 2, "a": 1}), "x": 1}, chosen=True),
    }

    (key,) = keys
    assert key.startswith("f ")
    assert key != key_of("g", {"x": 1, "y": [1, {"a": 1, "b": 2}]}, chosen=True)
    assert key != key_of("f", {"x": 2, "y": [1, {"a": 1, "b": 2}]}, chosen=True)


@pytest.mark.parametrize("chosen", ["x", ["x"], ("x",)])
def test_a_key_may_go_by_some_arguments(chosen):
    keys = {key_of("f", {"x": 1, "y": y}, chosen=chosen) for y in range(5)}

    assert len(keys) == 1
    assert keys != {key_of("f", {"x": 2, "y": 0}, chosen=chosen)}


def test_a_key_may_be_what_a_function_makes_of_the_arguments():
    assert key_of("f", {"x": "A", "y": 1}, chosen=lambda x, **_: x.lower()) == "f a"


def test_a_key_by_an_argument_that_there_is_not_is_refused():
    with pytest.raises(ImproperlyConfigured) as caught:
        key_of("f", {"x": 1, "y": 2}, chosen=["who"])

    assert str(caught.value) == "unique=['who']: f has no argument 'who'. Nothing was queued. Name some of: x, y"


def test_a_key_of_what_json_cannot_hold_is_refused_by_name():
    with pytest.raises(NotSerializable, match=r"argument 'x' of f is a set"):
        key_of("f", {"x": {1}}, chosen=True)
