"""Looking tasks up in whole files."""

import pytest

from pmtq.archive import FEW, call_of, lines_about
from pmtq.journal import Journal
from pmtq.records import StateRecord, TaskRecord, encode
from pmtq.states import STARTED, SUCCESS
from tests.support import post_by_hand


@pytest.fixture
def results(folder):
    """A results file with two lines about each of 100 tasks."""
    folder.path.mkdir(mode=0o700)
    states = [StateRecord(f"t{number}", status) for status in (STARTED, SUCCESS) for number in range(100)]
    folder.results.write_bytes(b"".join(encode(state) + b"\n" for state in states))
    return Journal(folder.results)


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 60])
def test_the_lines_about_few_or_many_tasks_are_found_in_file_order(results, count):
    wanted = {f"t{number}" for number in range(count)}

    found = [(state.task_id, state.status) for state in lines_about(wanted, results)]

    assert found == [(f"t{number}", status) for status in (STARTED, SUCCESS) for number in range(count)]


def test_a_task_whose_id_others_only_mention_is_not_taken_for_them(results):
    results.append(encode(StateRecord("x", SUCCESS, "t1")) + b"\n")

    assert [state.status for state in lines_about("t1", results)] == [STARTED, SUCCESS]


def test_a_call_is_found_in_the_file_of_its_queue_and_priority(app, folder):
    app.send_task("tasks.add", [1], task_id="a")
    app.send_task("tasks.add", [2], task_id="b", queue="low", priority=9)

    found = {task_id: call_of(folder, task_id) for task_id in "ab"}

    assert [(call.params, queue) for call, queue in found.values()] == [([1], "celery"), ([2], "low")]
    assert call_of(folder, "c") is None


def test_a_call_typed_over_several_lines_is_found(folder):
    post_by_hand(
        folder, '--{\n  "task_id": "45bc8d",\n  "function": "Image.resize",\n  "params": {"width": 800}\n}--\n'
    )

    assert call_of(folder, "45bc8d") == (
        TaskRecord(task_id="45bc8d", function="Image.resize", params={"width": 800}),
        "celery",
    )


def test_a_call_is_found_in_a_sealed_queue_file(app, folder):
    app.send_task("tasks.add", [1], task_id="a")
    folder.sealed.mkdir(mode=0o700)
    folder.queue().rename(folder.sealed_queue("celery", 0))

    call, queue = call_of(folder, "a")

    assert (call.params, queue) == ([1], "celery")


def test_where_there_is_no_folder_there_is_no_call(folder):
    assert call_of(folder, "a") is None
