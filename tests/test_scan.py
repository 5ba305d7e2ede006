"""What people type into a queue file, and what is made of it."""

import json

import pytest

from pmtq.jsonable import MAX_NESTING
from pmtq.records import MAX_RECORD_BYTES, TaskRecord, decode_task
from pmtq.scan import Fault, Item, Scanner, is_complete, oversize, with_task_id

GOOD = b'{"task_id":"g","function":"f","sent":"2026-11-20T15:04:05.123Z"}\n'
GOOD_RECORD = TaskRecord(task_id="g", function="f", sent="2026-11-20T15:04:05.123Z")


def read(text: str | bytes) -> TaskRecord | Fault:
    """Return what the scanner makes of a text that holds one thing."""
    (item,) = Scanner().scan(text if isinstance(text, bytes) else text.encode(), 0)
    return item.record


def test_records_are_found_with_the_places_they_stand_at():
    second = b'{"task_id":"h","function":"f","params":[1]}\n'

    items = Scanner().scan(GOOD + second, 100)

    middle = 100 + len(GOOD)
    assert items == [
        Item(100, middle, GOOD_RECORD),
        Item(middle, middle + len(second), TaskRecord(task_id="h", function="f", params=[1])),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"task_id":"g","function":"f","params":[1]}\n',
        '  {"task_id":"g","function":"f","params":[1]}\t\r\n',
        '\ufeff{"task_id":"g","function":"f","params":[1]}\n',
        '\ufeff  {"task_id" : "g", "function" : "f", "params" : [ 1 ]}\n',
        '--{"task_id":"g","function":"f","params":[1]}--\n',
        '--{\n"task_id":"g",\n"function":"f",\n"params":[1]\n}--\n',
        '--{\r\n  "task_id":"g",\r\n\r\n  "function":"f", "params":[1]\r\n}--\r\n',
        '--{ "task_id":"g",\n"function":"f", "params":[1]}--\n',
        '\ufeff--{\n"task_id":"g","function":"f","params":[1]\n}--\n',
        '--{\n"task_id":"g","function":"f","params":\n[1]\n}--   \n',
    ],
)
def test_the_ways_a_person_may_write_one_record(text):
    assert read(text) == TaskRecord(task_id="g", function="f", params=[1])


def test_the_tutorials_record_over_several_lines_is_read():
    text = """--{
    "task_id": "45bc8d0ae7c9f8e810e8d",
    "function": "Image.resize",
    "params": {"file": "/tmp/ukz4e82wk.jpg", "width": 800, "height": 300, "x": 27, "y": 33}
}--
"""
    params = {"file": "/tmp/ukz4e82wk.jpg", "width": 800, "height": 300, "x": 27, "y": 33}

    assert read(text) == TaskRecord(task_id="45bc8d0ae7c9f8e810e8d", function="Image.resize", params=params)


@pytest.mark.parametrize(
    ("text", "reason", "line", "column", "remedy"),
    [
        ('{"function":“f”}\n', "found a typographic quote (“)", 0, 13, 'Use the plain quote "'),
        ("{'function':'f'}\n", "found a single quote (')", 0, 2, 'JSON text stands between double quotes "'),
        ('{"function":"f",}\n', "found a comma with nothing behind it", 0, 16, "Take the last comma away"),
        ('{"function":"f","params":[1,]}\n', "found a comma with nothing behind it", 0, 28, "Take the last comma away"),
        (
            '{"function":"f"} {"function":"g"}\n',
            "a second value begins on the same line",
            0,
            18,
            "Put each record on a line of its own",
        ),
        (
            '{"function":"f","function":"g"}\n',
            "the key 'function' stands twice in one object",
            0,
            1,
            "Keep one of the two",
        ),
        ('  {"function":NaN}\n', "NaN is not a JSON number", 0, 1, "Use null, or text"),
        (
            '{"function":"f","params":3}\n',
            "Expected `object | array | null`, got `int` - at `$.params`",
            0,
            1,
            'A record needs at least {"function": "…"}; params is an object or an array',
        ),
        (
            '{"task_id":"1"}\n',
            "Object missing required field `function`",
            0,
            1,
            'A record needs at least {"function": "…"}; params is an object or an array',
        ),
        (
            '{"function":"f","eta":"tomorrow"}\n',
            "Invalid isoformat string: 'tomorrow'",
            0,
            1,
            "Write times as 2026-11-20T15:04:05Z",
        ),
        (
            '--{\n"function":"f",\n"params":[1,]\n}--\n',
            "found a comma with nothing behind it",
            2,
            12,
            "Take the last comma away",
        ),
    ],
)
def test_a_slip_is_named_with_its_place_and_what_to_do(text, reason, line, column, remedy):
    fault = read(text)

    assert isinstance(fault, Fault)
    expected = Fault(fault.task_id, reason, line, column, text.rstrip("\n"), remedy)
    assert fault == expected


@pytest.mark.parametrize(
    "text",
    [
        "hello\n",
        "[1,2]\n",
        "null\n",
        '"function"\n',
        '{"function":"f"\n',
        '{"function":"f\n',
        '{"function":"f"}}\n',
        '{"function":7}\n',
        b"\xff\xfe{\x00}\x00\n",
        b'{"function":"\xff"}\n',
        b"\x00\x00\x00\n",
        '{"function":"f","params":' + "[" * 2000 + "]" * 2000 + "}\n",
        '{"function":"f","params":[' + "[" * MAX_NESTING + "]" * MAX_NESTING + "]}\n",
        '{"function":"f","params":["' + "x" * MAX_RECORD_BYTES + '"]}\n',
        '{"function":"f","params":[' + "1" * 5000 + "]}\n",
        '{"function":"f","params":[1e999]}\n',
        '{"function":"f","params":[Infinity]}\n',
        '{"function":"f","params":["\\ud800"]}\n',
        '{"task_id":"\\ud800","function":"f"}\n',
        '{"function":"\\udfff"}\n',
        '{"function":"f","params":{"a":1,"a":2}}\n',
        '{"function":"f","task_id":5}\n',
        '{"function":"f","eta":7}\n',
        '{"function":"f","expires":"2026-99-99"}\n',
        "}--\n",
        "\ufffd\u202e\n",
        '{"function":"f"}\x0b{"function":"g"}\n',
    ],
    ids=lambda text: repr(text[:40]),
)
def test_what_is_no_record_is_a_fault_that_says_why_and_never_an_exception(text):
    items = Scanner().scan(GOOD + (text if isinstance(text, bytes) else text.encode()) + GOOD, 0)

    assert [item.record for item in items[::2]] == [GOOD_RECORD, GOOD_RECORD]
    fault = items[1].record
    assert isinstance(fault, Fault)
    assert fault.reason


@pytest.mark.parametrize("text", [b"\n", b"\r\n", b"  \t \n", b"\xef\xbb\xbf\n", b"\n\n\n"])
def test_empty_lines_are_nothing(text):
    scanner = Scanner()

    assert [item.record for item in scanner.scan(text + GOOD + text, 0)] == [GOOD_RECORD]
    assert scanner.consumed == 2 * len(text) + len(GOOD)


def test_a_record_typed_without_id_has_the_same_one_each_time_it_is_read():
    line = b'{"function":"f","params":[1]}\n'

    first, again = Scanner().scan(line + line, 0), Scanner().scan(line + line, 0)

    assert first == again
    assert first[0].record.task_id.startswith("by-hand-")


def test_the_same_line_typed_twice_is_two_tasks():
    one, two = Scanner().scan(b'{"function":"f"}\n' * 2, 0)

    assert one.record.task_id != two.record.task_id


def test_equal_lines_are_told_apart_across_pieces_too():
    line = b'{"function":"f"}\n'
    whole = Scanner().scan(line * 2, 0)
    scanner = Scanner()

    pieces = scanner.scan(line, 0) + scanner.scan(line, len(line))

    assert pieces == whole


def test_a_line_typed_again_into_a_cleared_queue_is_a_new_task():
    line = b'{"function":"f"}\n'

    (before,), (after,) = Scanner(0).scan(line, 0), Scanner(1).scan(line, 0)

    assert before.record.task_id != after.record.task_id


def test_a_block_without_its_end_waits_for_it():
    scanner = Scanner()
    begun = b'--{\n"function":"f",\n'

    assert scanner.scan(GOOD + begun, 0) == [Item(0, len(GOOD), GOOD_RECORD)]
    assert scanner.consumed == len(GOOD)

    (item,) = scanner.scan(begun + b'"task_id":"b"\n}--\n', len(GOOD))
    assert item.record == TaskRecord(task_id="b", function="f")


@pytest.mark.parametrize("after", [GOOD, b'--{\n"function":"f","task_id":"b"\n}--\n'])
def test_a_block_whose_end_was_forgotten_does_not_swallow_its_neighbour(after):
    broken = b'--{\n"function":"f",\n'

    fault, neighbour = Scanner().scan(broken + after, 0)

    assert (fault.start, fault.end, neighbour.start) == (0, len(broken), len(broken))
    assert fault.record.reason == "a record that begins with --{ never ends"
    assert fault.record.remedy == "Close it with a line }--"
    assert isinstance(neighbour.record, TaskRecord)


def test_a_block_that_never_ends_is_given_up_at_the_size_limit():
    text = b"--{\n" + b"x" * 1000 * 1024 + b"\n" + b"y" * 100 * 1024 + b"\n" + GOOD

    first, *_, last = Scanner().scan(text, 0)

    assert isinstance(first.record, Fault)
    assert last.record == GOOD_RECORD


def test_a_record_is_the_same_when_it_is_read_again_from_its_place():
    text = b'--{\n"function":"f","params":{"a":1}\n}--\n' + GOOD
    scanner = Scanner()
    items = scanner.scan(text, 0)

    again = [scanner.read_again(text[item.start : item.end], item.record.task_id) for item in items]

    assert again == [item.record for item in items]


def test_a_line_too_long_to_load_is_described_by_its_size():
    fault = oversize(3_000_000, "abcd")

    assert (fault.task_id, fault.reason) == ("by-hand-abcd", "the record has 3,000,000 bytes; the limit is 1,048,576")
    assert fault.remedy == "Put the data into a file and send its path"


@pytest.mark.parametrize("source", [GOOD, GOOD.rstrip(b"\n")])
def test_a_record_with_an_id_is_carried_over_byte_for_byte(source):
    assert with_task_id(source, "g") == GOOD


@pytest.mark.parametrize(
    "source",
    [
        b'{"function":"f","colour":"red","params":[1.0,null]}\n',
        b'--{\n"function":"f",\n"colour":"red","params":[1.0,null]\n}--\n',
        b'\xef\xbb\xbf{"function":"f","colour":"red","params":[1.0,null]}\r\n',
    ],
)
def test_a_record_without_id_is_carried_over_on_one_line_with_the_id_it_got_and_every_key(source):
    line = with_task_id(source, "by-hand-1")

    assert line.count(b"\n") == 1
    assert json.loads(line) == {"task_id": "by-hand-1", "function": "f", "colour": "red", "params": [1.0, None]}
    assert line.startswith(b'{"task_id":')


def test_a_block_with_an_id_of_its_own_is_carried_over_whole():
    line = with_task_id(b'--{\n"task_id":"mine","function":"f"\n}--\n', "mine")

    assert decode_task(line) == TaskRecord(task_id="mine", function="f")


def test_a_fault_is_carried_over_as_it_is():
    assert with_task_id(b"hello\n", "by-hand-1") == b"hello\n"


@pytest.mark.parametrize(
    ("source", "whole"),
    [
        (b'{"function":"f"}', True),
        (b'{"function":"f"', False),
        (b'--{"function":"f"}--', True),
        (b'--{"function":"f"', False),
        (b"hello", False),
        (b'{"function":"\xff"}', False),
        (b"1" * 5000, False),
        (b"", False),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else str(value),
)
def test_a_whole_record_is_told_from_the_beginning_of_one(source, whole):
    assert is_complete(source) is whole


def test_a_time_that_is_none_is_found_however_its_key_is_written():
    line = b'{"task_id":"x","function":"f","sent":"2026-11-20T15:04:05.123Z","\\u0065xpires":"nonsense"}\n'

    (item,) = Scanner().scan(line, 0)

    assert isinstance(item.record, Fault)


def test_line_ends_that_an_editor_changes_make_no_other_record_of_a_line():
    texts = (b'{"function":"f"}\n', b'{"function":"f"}\r\n', b'\xef\xbb\xbf{"function":"f"} \n')

    ids = {item.record.task_id for text in texts for item in Scanner().scan(text, 0)}

    assert len(ids) == 1


def test_a_record_with_an_empty_id_is_carried_over_under_the_one_that_it_has_got():
    assert with_task_id(b'{"function":"f","task_id":"","x":1}\n', "by-hand-1") == (
        b'{"task_id":"by-hand-1","function":"f","x":1}\n'
    )
