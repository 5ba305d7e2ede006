"""A worker's walk through one queue file."""

import os

import pytest

from pmtq.journal import CHUNK, Journal
from pmtq.reader import QueueReader
from pmtq.records import MAX_RECORD_BYTES
from pmtq.scan import Fault


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.jsonl"


@pytest.fixture
def reader(path):
    path.touch()
    reader = QueueReader(Journal(path))
    reader.rewind(0)
    return reader


def line(name, **more):
    extra = "".join(f',"{key}":"{value}"' for key, value in more.items())
    return f'{{"task_id":"{name}","function":"f","sent":"2026-11-20T15:04:05.123Z"{extra}}}\n'.encode()


def add(path, data):
    with path.open("ab") as file:
        file.write(data)


def ids(reader):
    return [item.record.task_id for item in reader]


def test_each_record_is_handed_out_once_in_file_order(reader, path):
    add(path, line("a") + line("b"))
    first = ids(reader)
    add(path, line("c"))

    assert (first, ids(reader), ids(reader)) == (["a", "b"], ["c"], [])


def test_a_missing_file_has_no_records_and_is_read_once_it_is_there(tmp_path):
    reader = QueueReader(Journal(tmp_path / "queue.jsonl"))
    reader.rewind(0)
    before = (ids(reader), reader.unread(), reader.is_another_file())

    add(tmp_path / "queue.jsonl", line("a"))

    assert before == ([], 0, False)
    assert reader.is_another_file()
    reader.rewind(0)
    assert ids(reader) == ["a"]


def test_half_a_line_waits_for_its_other_half(reader, path):
    add(path, line("a") + line("b")[:10])
    first = ids(reader)
    add(path, line("b")[10:])

    assert (first, ids(reader)) == (["a"], ["b"])


def test_the_position_is_behind_what_was_handed_out_not_behind_what_was_decoded(reader, path):
    add(path, line("a") + line("b"))
    walk = iter(reader)

    next(walk)

    assert reader.position() == len(line("a"))
    assert reader.unread() == len(line("b"))


def test_a_file_longer_than_a_piece_is_read_whole(reader, path):
    names = [f"t{number}" for number in range(3 * CHUNK // len(line("t000")))]
    add(path, b"".join(map(line, names)))

    assert ids(reader) == names


def test_a_block_across_the_end_of_a_piece_is_read_whole(reader, path):
    filler = line("a", note="x" * (CHUNK - len(line("a", note="")) - 10))
    block = b'--{\n"task_id":"b",\n"function":"f"\n}--\n'
    add(path, filler + block + line("c"))

    assert ids(reader) == ["a", "b", "c"]


def test_a_line_longer_than_a_piece_is_read_whole(reader, path):
    long = line("long", note="x" * (CHUNK + 1000))
    add(path, line("a") + long + line("b"))

    assert ids(reader) == ["a", "long", "b"]


@pytest.mark.parametrize("size", [MAX_RECORD_BYTES + 1, 3 * MAX_RECORD_BYTES, 5 * MAX_RECORD_BYTES])
def test_a_line_over_the_limit_is_a_fault_and_its_neighbours_are_read(reader, path, size):
    add(path, line("a") + b'{"function":"f","params":["' + b"x" * size + b'"]}\n' + line("b"))

    first, fault, last = list(reader)

    assert (first.record.task_id, last.record.task_id) == ("a", "b")
    assert isinstance(fault.record, Fault)
    assert "the limit is 1,048,576" in fault.record.reason
    assert (fault.start, fault.end) == (len(line("a")), last.start)
    assert fault.end - fault.start == size + len(b'{"function":"f","params":[""]}\n')


def test_a_record_of_a_client_over_the_limit_is_a_fault_too(reader, path):
    add(path, line("long", note="x" * (MAX_RECORD_BYTES + 1000)) + line("b"))

    first, second = list(reader)

    assert isinstance(first.record, Fault)
    assert second.record.task_id == "b"


def test_a_line_over_the_limit_that_is_still_being_written_is_waited_for(reader, path):
    add(path, b"x" * 3 * MAX_RECORD_BYTES)

    before = list(reader)
    add(path, b"\n" + line("b"))
    fault, last = list(reader)

    assert before == []
    assert isinstance(fault.record, Fault)
    assert last.record.task_id == "b"


def change(path, how, names="ab"):
    data = b"".join(map(line, names))
    if how == "replaced":
        new = path.with_name("new")
        new.write_bytes(data + line("z"))
        new.rename(path)
    elif how == "truncated":
        os.truncate(path, 0)
    elif how == "shortened":
        os.truncate(path, len(data) - 5)
    elif how == "rewritten in place":
        path.write_bytes(line("x") + line("y"))
    elif how == "removed":
        path.unlink()
    elif how == "a line in the middle deleted":
        path.write_bytes(line(names[1]))


@pytest.mark.parametrize(
    "how", ["replaced", "truncated", "shortened", "rewritten in place", "removed", "a line in the middle deleted"]
)
def test_a_file_that_is_not_the_one_read_so_far_is_noticed(reader, path, how):
    add(path, line("a") + line("b"))
    list(reader)
    assert not reader.is_another_file()

    change(path, how)

    assert reader.is_another_file()


def test_reading_on_in_a_file_that_was_edited_in_place_hands_out_nothing_and_hides_nothing(reader, path):
    """A worker decodes what is there before it takes the lock, under which it looks whether the file is the same."""
    add(path, line("a"))
    ids(reader)
    path.write_bytes(line("put in at the top") + line("a") + line("b"))

    reader.fill()

    assert (ids(reader), reader.is_another_file()) == ([], True)


def test_a_file_that_only_grew_is_the_same_file(reader, path):
    add(path, line("a"))
    list(reader)
    add(path, line("b"))

    assert not reader.is_another_file()


def test_after_the_change_the_new_file_is_read_from_its_top(reader, path):
    add(path, line("a") + line("b"))
    list(reader)
    change(path, "replaced")

    reader.rewind(0)

    assert ids(reader) == ["a", "b", "z"]
    assert not reader.is_another_file()


def test_a_record_is_read_again_from_its_place_under_the_id_it_got(reader, path):
    add(path, line("a") + b'{"function":"f","params":[1]}\n' + line("b"))
    items = list(reader)

    assert [reader.read_again(item.start, item.end, item.record.task_id) for item in items] == [
        item.record for item in items
    ]


def test_lines_are_counted_from_one(reader, path):
    add(path, line("a") * 5000)

    assert reader.line_number(0) == 1
    assert reader.line_number(len(line("a")) * 4321) == 4322


def test_a_whole_record_without_newline_is_ended_once_it_has_stood_still(reader, path):
    add(path, b'{"task_id":"a","function":"f"}')

    reader.finish_last_line()
    after_the_first_look = path.read_bytes()
    reader.finish_last_line()

    assert after_the_first_look == b'{"task_id":"a","function":"f"}'
    assert path.read_bytes() == b'{"task_id":"a","function":"f"}\n'
    assert ids(reader) == ["a"]


def test_a_line_that_grew_since_the_last_look_is_left_alone(reader, path):
    add(path, b'{"task_id":"a","function":"f"}')
    reader.finish_last_line()
    add(path, b"  ")

    reader.finish_last_line()

    assert path.read_bytes() == b'{"task_id":"a","function":"f"}  '


@pytest.mark.parametrize("tail", [b'{"task_id":"a"', b'--{\n"task_id":"a","function":"f"\n', b"hello"])
def test_what_is_not_whole_is_never_ended(reader, path, tail):
    add(path, tail)

    for _ in range(3):
        reader.finish_last_line()

    assert path.read_bytes() == tail


def test_a_block_without_a_last_newline_is_ended_too(reader, path):
    add(path, b'--{\n"task_id":"a","function":"f"\n}--')

    reader.finish_last_line()
    reader.finish_last_line()

    assert ids(reader) == ["a"]
