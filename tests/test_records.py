"""The two kinds of lines, and what goes into them."""

import json
import math
from datetime import UTC, datetime

import pytest

from pmtq.exceptions import NotSerializable
from pmtq.jsonable import MAX_NESTING, require_json
from pmtq.records import (
    StateRecord,
    TaskRecord,
    decode_state,
    decode_task,
    encode,
    encode_lines,
    epoch,
    timestamp,
)


def test_a_task_line_begins_with_its_id_and_leaves_out_what_is_not_said():
    record = TaskRecord(task_id="45bc", function="Image.resize", params={"width": 800}, sent="2026-11-20T15:04:05.123Z")

    line = encode(record)

    assert line == (
        b'{"task_id":"45bc","function":"Image.resize","params":{"width":800},"sent":"2026-11-20T15:04:05.123Z"}'
    )
    assert decode_task(line) == record


def test_a_state_line_begins_with_its_id_and_is_read_back_whole():
    state = StateRecord(
        "45bc", "FAILURE", None, 2, "w@h", "2026-11-20T15:04:05.123Z", 0.5, error={"type": "ValueError"}
    )

    line = encode_lines([state])

    assert line.startswith(b'{"task_id":"45bc","status":"FAILURE",')
    assert line.endswith(b"}\n")
    assert decode_state(line) == state


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (TaskRecord(function="f"), ((), {})),
        (TaskRecord(function="f", params=[1, 2]), ([1, 2], {})),
        (TaskRecord(function="f", params={"x": 1}), ((), {"x": 1})),
        (TaskRecord(function="f", params={"x": 1}, args=[2]), ([2], {"x": 1})),
        (TaskRecord(function="f", args=[2]), ([2], {})),
        (TaskRecord(function="f", params=[]), ((), {})),
        (TaskRecord(function="f", params={}), ((), {})),
    ],
)
def test_an_object_is_keyword_arguments_and_an_array_positional_ones(record, expected):
    assert record.arguments() == expected


def test_keys_of_another_version_do_not_hinder_reading():
    line = b'{"task_id":"1","function":"f","colour":"red","v":2}'

    assert decode_task(line) == TaskRecord(task_id="1", function="f", v=2)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_800_000_000.0, "2027-01-15T08:00:00.000Z"),
        (1_800_000_000.25, "2027-01-15T08:00:00.250Z"),
        (1_800_000_000.9999, "2027-01-15T08:00:00.999Z"),
    ],
)
def test_a_time_is_text_in_utc_with_milliseconds(at, text):
    assert timestamp(at) == text
    assert epoch(text) == pytest.approx(at, abs=0.001)


def test_a_time_without_an_offset_counts_as_utc():
    expected = datetime(2026, 11, 20, 15, 4, 5, tzinfo=UTC).timestamp()

    assert epoch("2026-11-20T15:04:05") == expected
    assert epoch("2026-11-20T17:04:05+02:00") == expected
    assert epoch("2026-11-20") == datetime(2026, 11, 20, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("text", ["tomorrow", "", "15:04", "2026-13-01"])
def test_text_that_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"isoformat|month"):
        epoch(text)


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "é", [1, [2]], (1, 2), {"a": {"b": None}}, [], {}])
def test_what_json_can_hold_passes(value):
    require_json(value, "argument 1")


def nested(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "argument 'x' is nan, which JSON cannot hold"),
        (math.inf, "argument 'x' is inf, which JSON cannot hold"),
        (b"ab", "argument 'x' is a bytes (b'ab'), which JSON cannot hold"),
        (
            {"rows": [1, {"when": datetime(2026, 5, 4, 9, tzinfo=UTC)}]},
            "argument 'x'['rows'][1]['when'] is a datetime (2026-05-04 09:00:00+00:00), which JSON cannot hold",
        ),
        ([{1: 2}], "argument 'x'[0] has the key 1; in JSON every key is text"),
        ({1, 2}, "argument 'x' is a set ({1, 2}), which JSON cannot hold"),
        (
            bytearray(100),
            f"argument 'x' is a bytearray ({str(bytearray(100))[:80]}…), which JSON cannot hold",
        ),
    ],
)
def test_what_json_cannot_hold_is_refused_by_name_and_value(value, message):
    with pytest.raises(NotSerializable) as caught:
        require_json(value, "argument 'x'")

    assert str(caught.value) == message


def test_the_refusal_carries_the_place_and_the_value_as_attributes():
    with pytest.raises(NotSerializable) as caught:
        require_json({"a": [math.nan]}, "the result")

    assert (caught.value.where, math.isnan(caught.value.value), caught.value.why) == (
        "the result['a'][0]",
        True,
        "is nan, which JSON cannot hold",
    )


def test_nesting_ends_at_the_limit():
    require_json(nested(MAX_NESTING + 1), "argument 1")

    with pytest.raises(NotSerializable, match=f"is nested deeper than {MAX_NESTING} levels"):
        require_json(nested(MAX_NESTING + 3), "argument 1")


def test_a_list_that_holds_itself_is_refused_and_not_followed_for_ever():
    circle = []
    circle.append(circle)

    with pytest.raises(NotSerializable, match="is nested deeper than"):
        require_json(circle, "argument 1")


def test_a_value_whose_text_cannot_be_made_is_refused_all_the_same():
    class Shy:
        def __str__(self):
            raise RuntimeError

    with pytest.raises(NotSerializable, match=r"is a Shy \(its str\(\) raises RuntimeError\)"):
        require_json(Shy(), "argument 1")


def test_lines_are_plain_json_for_every_other_program():
    record = TaskRecord(task_id="1", function="f", params=["é", 1.5, None, True, {"k": []}])

    assert json.loads(encode(record)) == {"task_id": "1", "function": "f", "params": ["é", 1.5, None, True, {"k": []}]}


FULL_TASK = TaskRecord(
    task_id="a", function="f", params={"y": 2}, args=[1], sent="s", eta="2027-01-15", expires="2027-01-16", priority=9, retries=1,
    time_limit=2.5, soft_time_limit=1.5, ignore_result=False, shadow="sh", headers={"h": [1]}, parent_id="p", root_id="r",
    group_id="g", unique_key="k", debounce=1.0, throttle=2.0, moved=True, v=2,
    after=["x", ["y"]], after_failure=["z"], immutable=True, replaced=True, followers=["n"], countdown=3.0, each="map",
)  # fmt: skip
FULL_STATE = StateRecord(
    "a", "RETRY", [1], 3, "w", "at", 0.5, "eta", {"type": "E"}, "tb", 2, 1, {"params": [2]}, ["c"], ["f"], FULL_TASK,
    "low", ["n"], ["m"], kept=True,
)  # fmt: skip


@pytest.mark.parametrize(("record", "decode"), [(FULL_TASK, decode_task), (FULL_STATE, decode_state)])
def test_every_field_of_a_record_is_read_back(record, decode):
    defaults = type(record)(function="") if isinstance(record, TaskRecord) else StateRecord()
    own = {"control", "sealed", "size"}  # lines of other kinds than a task's
    assert [name for name in record.__struct_fields__ if getattr(record, name) == getattr(defaults, name)] == [
        name for name in record.__struct_fields__ if name in own
    ]
    assert decode(encode(record)) == record


def test_a_changed_record_has_what_was_changed_and_the_rest_as_it_was():
    changed = FULL_TASK.changed({"params": [7], "args": None, "headers": {"i": 1}})

    differing = {name for name in FULL_TASK.__struct_fields__ if getattr(changed, name) != getattr(FULL_TASK, name)}
    assert differing == {"params", "args", "headers"}
    assert (changed.params, changed.args, changed.headers) == ([7], None, {"i": 1})
    assert (FULL_TASK.params, FULL_TASK.headers) == ({"y": 2}, {"h": [1]})


def test_changing_a_record_bends_no_value():
    values = [10**30, 1.5, 1.0, "é", None, True, {"k": []}, "2027-01-15T08:00:00Z"]

    changed = TaskRecord(function="f", params=values).changed({"shadow": "s"})

    assert [(type(value), value) for value in changed.params] == [(type(value), value) for value in values]
