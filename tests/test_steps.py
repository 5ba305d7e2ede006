"""The rules of workflows: what a step waits for, when it must not run, and what it is given."""

import msgspec
import pytest

from pmtq.records import StateRecord, TaskRecord
from pmtq.states import ERASED, FAILURE, IGNORED, REVOKED, SUCCESS
from pmtq.steps import dependencies, failure_for, first_argument, given, is_decisive, verdict

AT = "2027-01-15T08:00:00.000Z"


def step(after=None, **fields):
    return TaskRecord(task_id="s", function="f", after=after, **fields)


def ended(task_id, result=None, status=SUCCESS, **fields):
    return StateRecord(task_id, status, result, **fields)


def failed(task_id, culprit=None, status=FAILURE):
    error = {"type": "ValueError", "message": "no"} | ({"culprit": culprit} if culprit else {})
    return ended(task_id, None, status, error=error)


def known(*states):
    return {state.task_id: state for state in states}


def test_a_step_waits_for_every_id_in_its_tree():
    assert dependencies(step("a"), {}) == ["a"]
    assert dependencies(step(["a", ["b", []], "c"]), {}) == ["a", "b", "c"]
    assert dependencies(step(after_failure=["a", "b"]), {}) == ["a", "b"]
    assert dependencies(step(), {}) == []


def test_what_was_added_to_a_header_is_waited_for_too_and_its_values_stand_behind_the_others():
    states = known(ended("a", 1, adds=["x", ["y", "z"]]), ended("b", 2), ended("x", 3, adds=["w"]))
    states |= known(ended("y", 4), ended("z", 5), ended("w", 6))
    record = step(["a", "b"], params=[0])

    assert dependencies(record, states) == ["a", "b", "x", "y", "z", "w"]
    assert given(record, states).params == [[1, 2, 3, [4, 5], 6], 0]


@pytest.mark.parametrize(
    ("after", "fields", "arguments"),
    [
        ("a", {"params": [1]}, (["A", 1], {})),
        ("a", {"params": {"x": 1}}, (["A"], {"x": 1})),
        ("a", {"params": {"x": 1}, "args": [2]}, (["A", 2], {"x": 1})),
        (["a", ["b"]], {}, ([["A", ["B"]]], {})),
        ([], {}, ([[]], {})),
        ("a", {"params": [1], "immutable": True}, ([1], {})),
    ],
)
def test_values_go_before_the_steps_own_arguments(after, fields, arguments):
    record = given(step(after, **fields), known(ended("a", "A"), ended("b", "B")))

    assert (list(record.arguments()[0]), dict(record.arguments()[1])) == arguments
    assert (record.after, record.immutable) == ([], True)
    assert given(record, {}).arguments() == record.arguments()  # once is enough


def test_each_step_is_given_a_copy_of_its_own():
    states = known(ended("a", {"list": [1]}), ended("raw", msgspec.Raw(b"[1]")))

    (first, raw), (second, _) = (given(step(["a", "raw"]), states).params[0] for _ in range(2))

    first["list"].append(2)
    assert (second, raw) == ({"list": [1]}, [1])


def test_a_step_may_run_as_long_as_nothing_has_ended_badly():
    assert verdict(step(["a", "b"]), known(ended("a")), AT) is None
    assert verdict(step(["a", "b"]), {}, AT) is None
    assert verdict(step(["a"]), known(ended("a")), AT) is None


@pytest.mark.parametrize(
    ("end", "culprit", "message"),
    [
        (failed("a"), "a", "Dependency a raised ValueError: no. What waits for it is not run. See it: pmtq result a"),
        (failed("a", status=REVOKED), "a", "Dependency a ended as REVOKED: no. What waits for it is not run. See it: pmtq result a"),
        (failed("a", "z"), "z", "no"),
        (ended("a", status=REVOKED), "a", "Dependency a ended as REVOKED: nobody has said why. What waits for it is not run. See it: pmtq result a"),
        (ended("a", status=ERASED), "a", "Dependency a was asked to forget its result before it was used. What waits for it is not run. See it: pmtq result a"),
    ],
)  # fmt: skip
def test_a_step_fails_at_once_with_what_it_waits_for_and_names_where_it_began(end, culprit, message):
    line = verdict(step(["b", "a"]), known(end), AT)

    error = {"type": "pmtq.exceptions.ChordError", "message": message, "culprit": culprit}
    assert line == StateRecord("s", FAILURE, at=AT, error=error)


def test_a_step_behind_one_that_is_to_have_no_result_has_none_either():
    line = verdict(step("a"), known(ended("a", status=IGNORED)), AT)

    why = "task a, which it waits for, is not to have a result"
    assert line == StateRecord("s", IGNORED, at=AT, error={"type": "pmtq.exceptions.Ignore", "message": why})


def test_what_follows_a_failure_runs_for_the_first_that_failed_itself():
    record = step(after_failure=["a", "b", "c"], params=[7])
    states = known(ended("a"), failed("b", "outside"), failed("c"))

    assert failure_for(record, states) is states["c"]
    assert verdict(record, states, AT) is None
    assert given(record, states).arguments() == (["c", 7], {})
    assert failure_for(record, known(failed("b", "a"))).task_id == "b"


def test_what_follows_a_failure_that_did_not_come_ends_when_that_is_sure():
    record = step(after_failure=["a", "b"])

    assert verdict(record, known(ended("a")), AT) is None
    line = verdict(record, known(ended("a"), failed("b", "outside")), AT)
    assert (line.status, line.error["message"]) == (IGNORED, "no task that it was to follow has failed")


def test_an_end_decides_alone_if_it_is_bad_or_if_it_is_the_failure_that_was_waited_for():
    assert [is_decisive(end, None) for end in (ended("a"), failed("a"))] == [False, True]
    scope = frozenset({"a"})
    assert [is_decisive(end, scope) for end in (ended("a"), failed("a"), failed("a", "z"), failed("a", status=REVOKED))] == [
        False, True, False, False,
    ]  # fmt: skip


def test_what_was_gathered_is_the_first_argument():
    assert first_argument(given(step(["a"]), known(ended("a", 1)))) == [1]
    assert first_argument(TaskRecord(function="f")) is None
