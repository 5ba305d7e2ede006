"""Whatever the function does, there is an outcome, and it can be written down."""

import json
import math
import sys

import pytest

from pmtq.claim import Claim
from pmtq.places import Place
from pmtq.records import MAX_RECORD_BYTES, StateRecord, TaskRecord, decode_state
from pmtq.states import FAILURE, STARTED, SUCCESS
from pmtq.worker.execute import execute


def run(function, params=None, args=None):
    record = TaskRecord(task_id="a", function="f", params=params, args=args)
    claim = Claim(record, StateRecord("a", STARTED, None, 2, "w1"), Place(0, 0, 0, "a"))
    outcome, line, ended = execute(claim, function, 0.0)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= MAX_RECORD_BYTES
    assert decode_state(line) == outcome
    assert ended > 0
    return outcome


def test_a_returned_value_is_a_success(monkeypatch):
    outcome = run(lambda x, y: x + y, {"y": 3}, [2])

    expected = StateRecord("a", SUCCESS, 5, 2, "w1", outcome.at, outcome.runtime)
    assert outcome == expected
    assert outcome.at.endswith("Z")
    assert outcome.runtime > 0


def test_a_tuple_comes_back_as_an_array():
    record = TaskRecord(task_id="a", function="f")
    claim = Claim(record, StateRecord("a", STARTED, None, 1, "w1"), Place(0, 0, 0, "a"))

    _, line, _ = execute(claim, lambda: (1, (2,)), 0.0)

    assert json.loads(line)["result"] == [1, [2]]


def test_an_exception_is_a_failure_with_its_type_message_and_traceback():
    def fail():
        raise ValueError("no such file")

    outcome = run(fail)

    assert (outcome.status, outcome.result, outcome.attempt) == (FAILURE, None, 2)
    assert outcome.error == {"type": "ValueError", "message": "no such file"}
    assert outcome.traceback.startswith("Traceback (most recent call last):")
    assert outcome.traceback.endswith("ValueError: no such file\n")


@pytest.mark.parametrize(
    ("error", "args"),
    [
        (KeyError("x"), ["x"]),
        (OSError(2, "gone"), [2, "gone"]),
        (ValueError(), []),
        (ValueError(1, [2]), [1, [2]]),
    ],
    ids=repr,
)
def test_the_arguments_of_an_exception_are_kept_where_the_message_does_not_rebuild_it(error, args):
    def fail():
        raise error

    assert run(fail).error["args"] == args


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


class Rude(Exception):
    def __repr__(self):
        raise RuntimeError


class Endless(Exception):
    def __str__(self):
        return str(self)


def deep(levels):
    return deep(levels - 1) if levels else 1 / 0


def raising(error):
    def fail():
        raise error

    return fail


def chained():
    try:
        raise ValueError("\ud800")
    except ValueError as error:
        raise KeyError("\udfff") from error


def circle():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "function",
    [
        raising(Mute()),
        raising(Rude(object())),
        raising(Endless()),
        raising(ValueError(Mute(), Rude())),
        raising(ValueError("\ud800")),
        raising(ValueError(1, "\ud800")),
        raising(ValueError(["\ud800"])),
        raising(ValueError({"\ud800": 1}, 2)),
        raising(ValueError(10**5000)),
        raising(ValueError(10**5000, 1)),
        raising(ValueError("x" * 3_000_000)),
        raising(ValueError("x" * 3_000_000, 1)),
        raising(ValueError(math.nan, 1)),
        raising(ExceptionGroup("several", [ValueError("\ud800"), Mute()])),
        raising(StopIteration(3)),
        raising(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")),
        chained,
        lambda: deep(100),
        lambda: deep(100_000),
        lambda: "\ud800",
        lambda: ["\ud800"],
        lambda: {"\ud800": 1},
        lambda: 10**5000,
        lambda: [10**5000],
        lambda: math.nan,
        lambda: {1, 2},
        lambda: b"bytes",
        object,
        lambda: {1: 2},
        lambda: "x" * 3_000_000,
        lambda: ["x" * 3_000_000],
        circle,
        lambda missing: None,
        lambda: (n for n in ()),
        raising(type("Odd", (Exception,), {"__module__": "\ud800"})()),
        raising(type("Tall", (Exception,), {"args": property(lambda self: 1 / 0)})()),
    ],
    ids=[f"case{number}" for number in range(36)],
)
def test_whatever_happens_there_is_a_failure_that_can_be_written_down(function):
    outcome = run(function)

    assert outcome.status == FAILURE
    assert outcome.error["type"]
    assert outcome.error["message"] or outcome.error.get("args") is not None or outcome.error["type"]
    assert outcome.traceback


def test_a_result_that_json_cannot_hold_is_a_failure_that_says_which_part():
    outcome = run(lambda: {"rows": [1, {2}]})

    assert outcome.error == {
        "type": "pmtq.exceptions.NotSerializable",
        "message": "the result['rows'][1] is a set ({2}), which JSON cannot hold",
    }


def test_a_result_that_is_too_long_is_a_failure_that_says_so():
    outcome = run(lambda: "x" * MAX_RECORD_BYTES)

    assert outcome.error["type"] == "pmtq.exceptions.NotSerializable"
    assert "bytes, and the limit is 1,048,576. Return the path of a file instead" in outcome.error["message"]


def test_arguments_that_do_not_fit_are_a_failure():
    outcome = run(lambda x: x, {"z": 1})

    assert outcome.error["type"] == "TypeError"
    assert "unexpected keyword argument 'z'" in outcome.error["message"]


def test_an_interrupt_from_the_keyboard_is_let_through():
    with pytest.raises(KeyboardInterrupt):
        run(raising(KeyboardInterrupt()))


def test_a_task_that_tries_to_end_the_process_has_failed():
    outcome = run(lambda: sys.exit(3))

    assert (outcome.status, outcome.error["type"]) == (FAILURE, "SystemExit")
