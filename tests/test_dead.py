"""The tasks that ended badly, and their calls."""

import pytest

from pmtq.dead import Dead, DeadTasks, NotRequeuedError, options_again
from pmtq.journal import Journal
from pmtq.records import StateRecord, TaskRecord, encode_lines, timestamp
from tests.support import NOW, post_by_hand, read_lines

AT = timestamp(NOW)


@pytest.fixture
def dead(app, folder):
    return DeadTasks(folder, app.backend)


@pytest.fixture
def states(folder):
    """A function that appends state lines."""
    folder.make()
    return lambda *lines: Journal(folder.results).append(encode_lines(list(lines)))


def call(task_id="t", **fields):
    return TaskRecord(task_id=task_id, function="tasks.add", params=[1, "x"], sent=AT, **fields)


def failed(task_id, status="FAILURE", kind="TypeError", message="no", **fields):
    return StateRecord(task_id, status, None, 1, "w", AT, error={"type": kind, "message": message}, **fields)


def test_the_newest_come_first_with_reason_and_call(dead, states):
    states(failed("a", record=call("a")), StateRecord("b", "SUCCESS", 1), failed("c", "REVOKED", message="purged"))

    about = {"at": AT, "worker": "w", "attempt": 1}
    assert dead.list() == [
        Dead(task_id="c", status="REVOKED", reason="TypeError: purged", **about),
        Dead(task_id="a", status="FAILURE", reason="TypeError: no", function="tasks.add", args=[1, "x"], **about),
    ]


def test_what_was_ignored_is_not_dead_and_what_was_said_after_the_end_does_not_count(dead, states):
    states(failed("a", "IGNORED"), StateRecord("b", "SUCCESS", 1), failed("b"), failed("c"), failed("c", "REVOKED"))

    assert [(one.task_id, one.status) for one in dead.list()] == [("c", "FAILURE")]


def test_a_result_that_was_forgotten_is_not_told(dead, states):
    states(failed("a"), StateRecord("a", "FORGOTTEN"))

    assert dead.list() == []


def test_one_may_ask_for_some_states_one_function_and_a_number(dead, states):
    states(*(failed(f"t{number}", record=call(f"t{number}")) for number in range(5)), failed("r", "REVOKED"))

    assert [one.task_id for one in dead.list(2)] == ["r", "t4"]
    assert [one.task_id for one in dead.list(2, {"FAILURE"})] == ["t4", "t3"]
    assert [one.task_id for one in dead.list(None, function="tasks.add")] == ["t4", "t3", "t2", "t1", "t0"]
    assert dead.list(function="tasks.other") == []


def test_what_died_before_the_results_started_afresh_is_told_as_long_as_they_are_kept(dead, states, folder):
    states(failed("old", record=call("old")))
    folder.sealed.mkdir()
    folder.results.rename(folder.sealed / "results.0.jsonl")
    states(failed("new"))

    assert [one.task_id for one in dead.list()] == ["new", "old"]
    assert dead.call("old") == (call("old"), "")


def test_what_was_no_record_is_told_with_the_line_that_holds_it(dead, folder, hand):
    post_by_hand(folder, "{nonsense}\n")
    hand().run_all()

    (one,) = dead.list()

    assert (one.status, one.function, one.rejected) == ("REJECTED", "", 1)
    assert one.reason.startswith("pmtq.exceptions.InvalidTaskError: ")


def test_a_call_is_known_with_its_queue_while_its_record_stands_there(dead, app, states):
    app.send_task("tasks.add", [1], task_id="t", queue="low", priority=4)
    states(failed("t", "REVOKED"))

    record, queue = dead.call("t")

    assert (record.arguments()[0], queue) == ([1], "low")


def test_a_call_is_known_with_its_queue_when_its_record_was_cleared_away(dead, app, folder, work):
    @app.task(name="fail", queue="low")
    def fail():
        raise ValueError

    task_id = fail.delay().id
    work(app, queues=("low",))
    assert not read_lines(folder.queue("low")), "the file was cleared"
    for _, _, sealed in folder.sealed_queues():
        sealed.unlink()

    record, queue = dead.call(task_id)

    assert (record.function, queue) == ("fail", "low")


def test_a_call_that_was_posted_again_is_told_with_the_new_id_and_can_be_posted_once_more(dead, states, app):
    states(failed("t", record=call("t")))

    dead.note("t", "new")

    (one,) = dead.list()
    assert (one.requeued_as, dead.call("t")[0]) == ("new", call("t"))
    assert app.AsyncResult("t").state == "FAILURE"


def test_that_a_call_was_posted_again_keeps_nobody_waiting(dead, states, folder):
    """Its followers have heard of its end; to a worker that has not read that, they would never end."""
    states(failed("t", record=call("t"), followers=["next"]))

    dead.note("t", "new")

    assert [line.get("followers") for line in read_lines(folder.results)] == [["next"], None]


@pytest.mark.parametrize(
    ("states_", "message"),
    [
        (
            [StateRecord("t", "SUCCESS", 5)],
            "task t ended as SUCCESS, and only what ended badly is posted again. Nothing was queued. To have it run once more, call it anew: pmtq call NAME ARGUMENTS",
        ),
        (
            [StateRecord("t", "STARTED", None, 1, "w", AT)],
            "task t is not done with, so it is going to run anyway. Nothing was queued. See what it waits for: pmtq result t",
        ),
        (
            [failed("t", "REVOKED")],
            "the call of task t is not known any more: its final line does not hold it, and its queue file was cleared. Nothing was queued. Make the call anew: pmtq call NAME ARGUMENTS",
        ),
    ],
)
def test_a_task_that_cannot_be_posted_again_says_why(dead, states, states_, message):
    states(*states_)

    with pytest.raises(NotRequeuedError) as caught:
        dead.call("t")

    assert str(caught.value) == message


def test_an_unknown_task_cannot_be_posted_again(dead, folder):
    with pytest.raises(NotRequeuedError) as caught:
        dead.call("t")

    assert str(caught.value) == f"task t is not known in {folder.path}. Nothing was queued. See which are: pmtq dead"


def test_a_task_that_waits_cannot_be_posted_again(dead, app):
    app.send_task("tasks.add", [1], task_id="t")

    with pytest.raises(NotRequeuedError, match="task t is not done with, so it is going to run anyway"):
        dead.call("t")


def test_what_was_no_record_is_named_with_the_way_to_mend_it(dead, folder, hand):
    post_by_hand(folder, "{nonsense}\n")
    hand().run_all()

    with pytest.raises(NotRequeuedError, match=r"Mend it: pmtq requeue --rejected 1 --edit"):
        dead.call(dead.list()[0].task_id)


def test_a_line_that_was_no_record_runs_when_it_is_mended_in_the_queue_where_it_stood(dead, folder, hand):
    post_by_hand(folder, '{"function":"tasks.add","params":[1,2],}\n', "low")
    worker = hand(queues=["low"])
    worker.run_all()

    task_id, function = dead.mended(1, '--{\n"function": "tasks.add", "colour": "red"\n}--')

    assert function == "tasks.add"
    line = f'{{"task_id":"{task_id}","function":"tasks.add","colour":"red"}}'
    assert folder.queue("low").read_text().splitlines()[-1] == line
    assert worker.run_all() == [task_id]


def test_a_mended_line_keeps_an_id_of_its_own(dead, folder, hand):
    post_by_hand(folder, '{"task_id":"mine","function":"tasks.add",}\n')
    worker = hand()
    worker.run_all()

    assert dead.mended(1, '{"task_id":"mine","function":"tasks.add"}') == ("mine", "tasks.add")
    assert worker.run_all() == ["mine"]


@pytest.mark.parametrize("text", [None, "{still nonsense}", ""])
def test_a_line_that_is_not_mended_is_not_posted(dead, folder, hand, text):
    post_by_hand(folder, "{nonsense}\n")
    hand().run_all()
    before = folder.queue().read_bytes()

    with pytest.raises(NotRequeuedError, match=r"is still no task record: .* at column \d+. Nothing was queued"):
        dead.mended(1, text)

    assert folder.queue().read_bytes() == before


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_line_that_is_not_there_is_not_posted(dead, folder, hand, number):
    post_by_hand(folder, "{nonsense}\n")
    hand().run_all()

    with pytest.raises(NotRequeuedError, match=f"there is no line {number} in .*rejected.jsonl: it has 1. Nothing"):
        dead.mended(number)


def test_a_call_is_made_again_with_its_own_options_but_for_those_that_belonged_to_its_time():
    record = call(
        priority=4, time_limit=9.0, shadow="s", eta=AT, expires=timestamp(NOW + 5), root_id="r", retries=2, moved=True,
        ignore_result=False, headers={"tenant": 7}, unique_key="k", group_id="g",
    )  # fmt: skip
    kept = {"priority": 4, "time_limit": 9.0, "shadow": "s", "root_id": "r", "ignore_result": False}
    headers = {"headers": {"tenant": 7, "requeued_from": "t"}}

    assert options_again(record, NOW) == {**kept, "expires": timestamp(NOW + 5), **headers}
    assert options_again(record, NOW + 5) == {**kept, **headers}
