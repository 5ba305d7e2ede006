"""The conductor posts all steps of a workflow at once and promises its value, or runs them in this process."""

import pytest

from pmtq.canvas import chain, group
from pmtq.claim import Claim
from pmtq.exceptions import ImproperlyConfigured, Replaced
from pmtq.plan import Node
from pmtq.records import StateRecord, TaskRecord
from pmtq.request import running
from pmtq.result import AsyncResult, EagerResult, GroupResult


@pytest.fixture
def posts(app, monkeypatch):
    """What is posted in place of being written: a list of records for each time."""
    found = []
    monkeypatch.setattr(app, "post", lambda calls: found.append([record for record, _, _ in calls]))
    return found


@pytest.fixture
def claim():
    """A task that runs: the member of a group in a workflow, for which one other waits."""
    record = TaskRecord(task_id="me", function="tasks.me", params=[0], root_id="root", group_id="g", followers=["body"])
    return Claim(record, StateRecord("me", "STARTED", attempt=1))


@pytest.fixture
def running_task(claim):
    """The same, with the code of the test as its own."""
    token = running.set(claim)
    yield claim
    running.reset(token)


def shown(records):
    """Return the call of each record, and what it comes after."""
    return [(record.function, record.params, record.after) for record in records]


def test_all_steps_are_posted_at_once_and_the_last_one_is_promised(app, add, posts):
    promise = app.conductor.send(add.s(1, 1) | add.s(2) | add.s(3))

    (records,) = posts
    first, second, third = (record.task_id for record in records)
    assert shown(records) == [("tasks.add", [1, 1], None), ("tasks.add", [2], first), ("tasks.add", [3], second)]
    assert [promise.id, promise.parent.id, promise.parent.parent.id] == [third, second, first]
    assert (type(promise), promise.app, promise.parent.parent.parent) == (AsyncResult, app, None)


def test_what_a_workflow_is_called_with_goes_to_its_first_step_and_its_id_to_the_last(app, add, posts):
    options = {"task_id": "mine", "priority": 3, "shadow": "sum"}

    promise = app.conductor.send(add.s() | add.s(2), (5,), {"y": 6}, options)

    (records,) = posts
    assert [(record.params, record.args, record.priority, record.shadow) for record in records] == [
        ({"y": 6}, [5], 3, "sum"),
        ([2], None, 0, ""),
    ]
    assert (records[1].task_id, promise.id) == ("mine", "mine")


def test_a_workflow_that_was_given_an_id_has_the_same_steps_each_time(app, add, posts):
    members = [add.s(1, 1), add.s(2, 2) | add.s(3)]
    workflow = group(members) | group([add.si(4, 4), add.si(5, 5)]) | add.si(6, 6).on_error(add.si(7, 7))

    for options in ({"task_id": "mine"}, {"task_id": "mine"}, {"task_id": "yours"}, {}, {}):
        app.conductor.send(workflow, options=options)

    found = [[record.task_id for record in records] for records in posts]
    same = [before & after for before, after in zip(map(set, found), map(set, found[1:]), strict=False)]
    assert (found[0], same[1:]) == (found[1], [set(), set(), set()])
    assert [len(set(ids)) for ids in found] == [8] * 5


def test_the_first_step_is_the_root_of_all_of_them(app, add, posts):
    app.conductor.send(add.s(1, 1) | add.s(2))

    (records,) = posts
    assert {record.root_id for record in records} == {records[0].task_id}


def test_what_a_task_posts_belongs_to_the_workflow_that_it_is_in(app, add, posts, running_task):
    app.conductor.send(add.s(1, 1) | add.s(2))

    (records,) = posts
    assert [(record.root_id, record.parent_id) for record in records] == [("root", "me"), ("root", records[0].task_id)]
    assert running_task.children == [records[0].task_id]


def test_of_an_empty_chain_nothing_is_promised(app, posts):
    assert app.conductor.send(chain()) is None
    assert [record for records in posts for record in records] == []


def test_with_task_always_eager_the_steps_are_run_here_and_none_is_posted(app, add, posts):
    app.conf.task_always_eager = True

    promise = app.conductor.send(add.s(1, 1) | add.s(2))

    assert (type(promise), promise.get(timeout=0), promise.parent.get(timeout=0), posts) == (EagerResult, 4, 2, [])


def test_steps_may_be_run_here_whatever_the_settings_say(app, add, posts):
    promise = app.conductor.run_here(group(add.s(1), add.s(2)), (10,))

    assert (type(promise), promise.get(timeout=0), posts) == (GroupResult, [11, 12], [])


@pytest.mark.parametrize("throw", [False, True])
def test_a_failure_here_is_raised_only_on_request(app, add, throw):
    failing = add.s(1, "one") | add.s(2)
    if throw:
        with pytest.raises(TypeError, match="unsupported operand"):
            app.conductor.run_here(failing, options={"throw": True})
    else:
        promise = app.conductor.run_here(failing)
        assert (promise.state, promise.parent.state) == ("FAILURE", "FAILURE")


def test_what_comes_out_of_a_group_is_promised_as_a_group_that_knows_what_came_before(app):
    before = Node("a")
    promise = app.conductor.promise_of(Node("g", [Node("b", parent=before), Node("c", parent=before)], before))

    assert (promise.id, [one.id for one in promise], promise.parent.id) == ("g", ["b", "c"], "a")
    assert [one.parent is promise.parent for one in promise] == [True, True]


def test_a_task_that_goes_on_as_a_call_posts_nothing_and_takes_its_place(app, add, posts, claim):
    replaced = app.conductor.replace(add.s(1, 2), claim)

    assert (type(replaced), posts) == (Replaced, [[]])
    assert {name: value for name, value in replaced.changes.items() if value} == {
        "function": "tasks.add",
        "params": [1, 2],
        "followers": ["body"],
        "replaced": True,
    }


def test_a_task_that_goes_on_as_a_workflow_posts_it_and_gathers_its_value(app, add, posts, claim):
    replaced = app.conductor.replace(add.s(1, 2) | add.s(3), claim)

    ((first, last),) = posts
    assert shown([first, last]) == [("tasks.add", [1, 2], None), ("tasks.add", [3], first.task_id)]
    assert (first.followers, last.followers, last.root_id) == ([last.task_id], ["me"], "root")
    assert {name: value for name, value in replaced.changes.items() if value} == {
        "function": "pmtq.gather",
        "after": last.task_id,
        "followers": ["body"],
        "replaced": True,
    }


def test_a_task_that_cannot_go_on_posts_nothing(app, posts, claim):
    with pytest.raises(ImproperlyConfigured):
        app.conductor.replace(chain(), claim)

    assert posts == []


def test_a_task_that_is_run_here_goes_on_here(app, add, posts, claim):
    app.conf.task_always_eager = True
    claim.is_eager = True

    replaced = app.conductor.replace(add.s(1, 2) | add.s(3), claim)

    assert (replaced.value, posts) == (6, [])


def test_what_is_added_to_a_header_is_waited_for_by_what_waits_for_the_task_itself(app, add, posts, claim):
    promise = app.conductor.add_to_chord(add.s(1, 2) | add.s(3), claim)

    ((first, last),) = posts
    assert [(one.followers, one.group_id) for one in (first, last)] == [([last.task_id], ""), (["body"], "g")]
    assert (promise.id, promise.parent.id, claim.adds) == (last.task_id, first.task_id, [last.task_id])
