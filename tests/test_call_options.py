"""The options of a call: what they mean in its record, and which are refused."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from pmtq.call_options import WITHOUT_EFFECT, fill_in
from pmtq.exceptions import ImproperlyConfigured, NotSerializable
from pmtq.records import TaskRecord, decode_task, encode
from tests.support import NOW


def filled(**options):
    record = TaskRecord(task_id="a", function="shop.ship")
    fill_in(record, options, NOW)
    assert decode_task(encode(record)) == record
    return record


def test_every_option_that_matters_stands_in_the_record():
    as_it_is = {
        "priority": 9,
        "retries": 2,
        "ignore_result": False,
        "shadow": "sh",
        "headers": {"tenant": "blue"},
        "parent_id": "p",
        "root_id": "r",
        "group_id": "g",
        "unique_key": "k",
        "debounce": 1.5,
        "throttle": 2.5,
    }
    record = filled(
        task_id="mine",
        countdown=10,
        expires=timedelta(minutes=1),
        time_limit=timedelta(minutes=2),
        soft_time_limit=60,
        **as_it_is,
    )

    assert record == TaskRecord(
        task_id="mine",
        function="shop.ship",
        eta="2027-01-15T08:00:10.000Z",
        expires="2027-01-15T08:01:00.000Z",
        time_limit=120.0,
        soft_time_limit=60.0,
        **as_it_is,
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
