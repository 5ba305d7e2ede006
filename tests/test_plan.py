"""A plan is steps in an order in which none has to wait, and both sides of each dependency know of it."""

import pytest

from pmtq.plan import Feed, Node, Plan, Step
from pmtq.steps import GATHER


def call(task_id, *args, **fields):
    """Return a step of a task called ``f``."""
    return Step(task_id, "f", args, {}, {}, **fields)


class Callback:
    """Something to be laid out: the step of a task called ``f``, or, with two ids, a chain of two."""

    def __init__(self, *task_ids):
        self.task_ids = task_ids

    def lay_out(self, plan, feed):
        mark = plan.mark()
        for task_id in self.task_ids:
            node = plan.add(call(task_id), feed)
            feed = Feed(node)
        plan.call_back(node, [], [], mark)
        return node


def shown(plan):
    """Return what each step waits for and who follows it."""
    return [(step.task_id, step.after, step.after_failure, step.parent_id, step.followers) for step in plan.steps]


def test_the_tree_of_a_group_in_a_group_is_lists_in_lists():
    group = Node("g", [Node("a"), Node("h", [Node("b"), Node("c")]), Node("i", [])])

    assert (Node("a").tree, group.tree) == ("a", ["a", ["b", "c"], []])


@pytest.mark.parametrize(
    ("feed", "ids"),
    [
        (Feed(), []),
        (Feed(Node("a")), ["a"]),
        (Feed(Node("g", [Node("a"), Node("h", [Node("b"), Node("c")])])), ["a", "b", "c"]),
        (Feed(Node("g", [])), []),
        (Feed(failure=("a", "b")), ["a", "b"]),
    ],
)
def test_a_feed_comes_from_every_task_that_must_have_ended(feed, ids):
    assert feed.ids == ids


@pytest.mark.parametrize(
    ("fields", "waits", "is_fed"),
    [
        ({}, False, False),
        ({"after": "a"}, True, True),
        ({"after": []}, True, True),
        ({"after": "a", "immutable": True}, True, False),
        ({"after_failure": ["a"]}, True, True),
        ({"after_failure": []}, False, False),
    ],
)
def test_a_step_waits_if_it_comes_after_others_and_is_fed_unless_it_is_immutable(fields, waits, is_fed):
    step = call("s", **fields)

    assert (step.waits, step.is_fed) == (waits, is_fed)


def test_what_is_said_of_a_dependency_is_said_on_both_sides():
    plan = Plan()

    first = plan.add(call("a"), Feed())
    second = plan.add(call("b"), Feed(first))
    plan.add(call("c"), Feed(first))
    plan.add(call("d"), Feed(second))

    assert shown(plan) == [
        ("a", None, None, "", ["b", "c"]),
        ("b", "a", None, "a", ["d"]),
        ("c", "a", None, "a", []),
        ("d", "b", None, "b", []),
    ]
    assert second == Node("b", parent=Node("a"))


def test_a_step_after_a_group_comes_after_all_its_members_and_is_nobodys_child():
    plan = Plan()
    members = [plan.add(call(name), Feed()) for name in "ab"]
    group = Node("g", members)

    node = plan.add(call("c"), Feed(group))

    assert shown(plan) == [("a", None, None, "", ["c"]), ("b", None, None, "", ["c"]), ("c", ["a", "b"], None, "", [])]
    assert node == Node("c", parent=group)


def test_the_value_of_a_group_without_members_is_known_at_once():
    plan = Plan()

    plan.add(call("a", 1), Feed(Node("g", [])))
    plan.add(call("b", 1, immutable=True), Feed(Node("g", [])))

    assert [(step.args, step.waits) for step in plan.steps] == [(([], 1), False), ((1,), False)]


def test_a_task_of_another_workflow_may_be_waited_for():
    plan = Plan()

    plan.add(call("b"), Feed(Node("elsewhere")))

    assert shown(plan) == [("b", "elsewhere", None, "elsewhere", [])]


def test_many_that_wait_for_many_share_one_step_that_gathers():
    plan = Plan()
    group = Node("g", [plan.add(call(name), Feed()) for name in "abc"])

    gathered = plan.gather(group, "all")
    for name in "xyz":
        plan.add(call(name), Feed(gathered))

    assert shown(plan) == [
        *((name, None, None, "", ["all"]) for name in "abc"),
        ("all", ["a", "b", "c"], None, "", ["x", "y", "z"]),
        *((name, "all", None, "all", []) for name in "xyz"),
    ]
    assert plan.steps[3].task == GATHER


def test_gathering_from_nothing_is_a_step_that_waits_for_nothing_and_has_the_empty_list():
    plan = Plan()

    plan.gather(Node("g", []), "all")

    assert [(step.task, step.args, step.after, step.waits) for step in plan.steps] == [(GATHER, (), [], True)]


def test_a_value_that_is_known_may_have_to_wait_all_the_same():
    plan = Plan()

    node = plan.only_after(Feed(plan.add(call("a"), Feed())), [])

    (_, step) = plan.steps
    assert (step.task, step.args, step.after, step.is_fed) == (GATHER, ([],), "a", False)
    assert (node.id, plan.steps[0].followers) == (step.task_id, [step.task_id])


def test_what_follows_the_end_of_a_shape_is_fed_with_its_value_and_what_follows_its_failure_hears_of_any_step():
    plan = Plan()
    plan.add(call("before"), Feed())

    mark = plan.mark()
    node = plan.add(call("b"), Feed(plan.add(call("a"), Feed())))
    plan.call_back(node, [Callback("link")], [Callback("errback")], mark)

    assert shown(plan) == [
        ("before", None, None, "", []),
        ("a", None, None, "", ["b", "errback"]),
        ("b", "a", None, "a", ["link", "errback"]),
        ("link", "b", None, "b", []),
        ("errback", None, ["a", "b"], "", []),
    ]


def test_the_failure_of_a_callback_is_none_of_the_shape_around_it():
    plan = Plan()

    around = plan.mark()
    inner = plan.mark()
    first = plan.add(call("a"), Feed())
    plan.call_back(first, [Callback("link", "after-link")], [], inner)
    last = plan.add(call("b"), Feed(first))
    plan.call_back(last, [], [Callback("errback")], around)

    assert plan.steps[-1].after_failure == ["a", "b"]


def test_a_shape_without_steps_has_no_failure_to_follow():
    plan = Plan()

    plan.call_back(Node("g", []), [Callback("link")], [Callback("errback")], plan.mark())

    assert shown(plan) == [("link", None, None, "", [])]
