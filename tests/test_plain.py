"""Records that ask for nothing but to be run: told from the others, and as good as any."""

import msgspec
import pytest

from pmtq.plain import decode_plain
from pmtq.records import TaskRecord, decode_task, encode

PLAIN = encode(TaskRecord(task_id="p", function="f", params=[1], sent="s"))


def test_a_plain_record_has_every_field_and_way_of_any_other():
    (plain,), whole = decode_plain([PLAIN]), decode_task(PLAIN)

    names = TaskRecord.__struct_fields__
    assert {name: getattr(plain, name) for name in names} == {name: getattr(whole, name) for name in names}
    assert encode(plain) == PLAIN
    assert plain.arguments() == ([1], {})
    assert plain.changed({"params": [2]}) == whole.changed({"params": [2]})


def test_a_field_that_a_plain_record_has_not_got_cannot_be_set_on_all_of_them_by_mistake():
    (plain,) = decode_plain([PLAIN])

    with pytest.raises(AttributeError):
        plain.eta = "2027-01-15T08:00:00Z"


def test_a_key_of_a_later_version_is_passed_over():
    assert decode_plain([PLAIN[:-1] + b',"colour":"blue"}']) == [decode_task(PLAIN)]


@pytest.mark.parametrize(
    "line", [b"{", b"", b"[1]", b"\xff", b"[" * 100_000, b'{"task_id":7,"function":"f","sent":"s"}']
)
def test_what_is_no_record_is_not_plain(line):
    assert decode_plain([PLAIN, line]) is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("eta", "2027-01-15T08:00:00Z"), ("expires", "2027-01-15T08:00:00Z"), ("unique_key", "k"), ("moved", True),
        ("time_limit", 1.0), ("soft_time_limit", 1.0), ("ignore_result", True), ("ignore_result", False), ("v", 2),
        ("after", "a"), ("after", []), ("after_failure", ["a"]), ("each", "map"),
    ],
)  # fmt: skip
def test_a_record_that_asks_for_anything_but_to_be_run_in_its_turn_is_not_plain(option, value):
    asking = encode(TaskRecord(task_id="b", function="f", sent="s", **{option: value}))

    assert decode_plain([PLAIN, asking]) is None


@pytest.mark.parametrize("left_out", ["task_id", "sent"])
def test_a_record_that_no_client_has_written_is_not_plain(left_out):
    fields = {"task_id": "a", "function": "f", "sent": "s"}

    assert decode_plain([PLAIN, encode(TaskRecord(**(fields | {left_out: ""})))]) is None
    assert decode_plain([PLAIN, msgspec.json.encode(fields | {left_out: ""})]) is None


def test_a_record_is_plain_with_all_that_only_its_reader_cares_for():
    record = TaskRecord(
        task_id="a", function="f", params=[1], sent="s", priority=9, shadow="sh", headers={"h": 1}, parent_id="p"
    )

    assert decode_plain([encode(record), PLAIN]) == [record, decode_task(PLAIN)]
