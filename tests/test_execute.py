"""Whatever the function does, there is an outcome, and it can be written down."""

import json
import math
import sys

import pytest

from pmtq import PMTQ
from pmtq.claim import Claim
from pmtq.exceptions import Ignore, Reject, Retry
from pmtq.execute import execute
from pmtq.records import MAX_RECORD_BYTES, StateRecord, TaskRecord, decode_state
from pmtq.request import running
from pmtq.states import FAILURE, IGNORED, REJECTED, RETRY, STARTED, SUCCESS
from pmtq.trace import Trace


@pytest.fixture(autouse=True)
def _nothing_runs():
    """Let no test leave its claim behind as the one that runs; a worker takes it back after a batch."""
    yield
    running.set(None)


def traced(function) -> Trace:
    return Trace(PMTQ("t").task(function, name="f"))


def run(function, params=None, args=None):
    record = TaskRecord(task_id="a", function="f", params=params, args=args)
    claim = Claim(record, StateRecord("a", STARTED, None, 2, "w1"))
    outcome, line, ended = execute(claim, traced(function), 0.0)
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
    claim = Claim(record, StateRecord("a", STARTED, None, 1, "w1"))

    _, line, _ = execute(claim, traced(lambda: (1, (2,))), 0.0)

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


def claimed(function, **started):
    claim = Claim(TaskRecord(task_id="a", function="f"), StateRecord("a", STARTED, None, **{"attempt": 2, **started}))
    outcome, line, _ = execute(claim, traced(function), 0.0)
    assert decode_state(line) == outcome
    return outcome, claim


AGAIN = {"retries": 2, "deaths": 1, "changes": {"params": [2], "args": None}}


def test_a_success_after_some_tries_says_how_many():
    outcome, _ = claimed(lambda: 5, **AGAIN)

    assert (outcome.status, outcome.retries, outcome.deaths, outcome.changes) == (SUCCESS, 2, 1, None)


def test_a_failure_holds_the_call_so_that_it_can_be_posted_again():
    outcome, claim = claimed(raising(ValueError("no")), **AGAIN)

    assert (outcome.status, outcome.record, outcome.retries, outcome.deaths) == (FAILURE, claim.record, 2, 1)
    assert (outcome.changes, outcome.eta) == (None, "")


def test_a_retry_remembers_tries_deaths_and_all_that_was_changed():
    again = Retry("", KeyError("k"), "2027-01-15T08:00:00.000Z")
    again.changes = {"headers": {"h": 1}}

    outcome, _ = claimed(raising(again), **AGAIN)

    assert (outcome.status, outcome.eta, outcome.retries, outcome.deaths) == (RETRY, again.when, 3, 1)
    assert outcome.changes == {"params": [2], "args": None, "headers": {"h": 1}}
    assert outcome.error == {"type": "KeyError", "message": "'k'", "args": ["k"]}
    assert outcome.record is None


def test_a_call_that_is_put_back_remembers_the_same_and_is_no_try():
    outcome, _ = claimed(raising(Reject("not now", requeue=True)), **AGAIN)

    assert (outcome.status, outcome.retries, outcome.deaths, outcome.changes) == (RETRY, 2, 1, AGAIN["changes"])
    assert outcome.error == {
        "type": "pmtq.exceptions.Reject",
        "message": "the task refused the call: not now (to be tried elsewhere)",
        "args": ["not now", True],
    }


@pytest.mark.parametrize(("error", "status"), [(Ignore("x"), IGNORED), (Reject("x"), REJECTED)])
def test_a_task_may_say_that_it_has_no_result(error, status):
    outcome, claim = claimed(raising(error))

    assert (outcome.status, outcome.result, outcome.traceback, outcome.record) == (status, None, "", claim.record)


def test_a_retry_that_cannot_be_written_down_is_a_failure():
    again = Retry("", None, "2027-01-15T08:00:00.000Z")
    again.changes = {"params": ["x" * MAX_RECORD_BYTES]}

    outcome, _ = claimed(raising(again))

    assert (outcome.status, outcome.eta, outcome.changes) == (FAILURE, "", None)
    assert outcome.error["type"] == "pmtq.exceptions.NotSerializable"


def test_a_failed_call_nearly_as_long_as_a_record_may_be_is_told_without_its_record():
    claim = Claim(TaskRecord(task_id="a", function="f", params=["x" * (MAX_RECORD_BYTES - 200)]), StateRecord("a"))

    outcome, line, _ = execute(claim, traced(lambda x: 1 / 0), 0.0)

    assert (outcome.status, outcome.error["type"], outcome.record) == (FAILURE, "ZeroDivisionError", None)
    assert len(line) < 2000


def test_a_task_that_posted_very_many_others_is_no_failure():
    claim = Claim(TaskRecord(task_id="a", function="f"), StateRecord("a"))

    def post():
        claim.children = [f"{number:022x}" for number in range(50_000)]
        return 5

    outcome, line, _ = execute(claim, traced(post), 0.0)

    assert (outcome.status, outcome.result, outcome.children) == (SUCCESS, 5, None)
    assert len(line) < 200


def test_what_a_try_without_throw_has_asked_for_is_asked_once():
    claim = Claim(TaskRecord(task_id="a", function="f"), StateRecord("a"))
    trace = traced(lambda: 5)
    claim.again = Retry("", None, "2027-01-15T08:00:00.000Z")

    outcomes = [execute(claim, trace, 0.0)[0].status for _ in range(2)]

    assert outcomes == [RETRY, SUCCESS]


def test_an_exception_that_counts_as_false_is_a_failure_all_the_same():
    class Silent(Exception):
        def __bool__(self):
            return False

    claim = Claim(TaskRecord(task_id="a", function="f"), StateRecord("a"), is_plain=True)
    outcome, _, _ = execute(claim, traced(raising(Silent())), 0.0)

    assert (outcome.status, outcome.error["type"].rsplit(".", 1)[-1]) == (FAILURE, "Silent")
