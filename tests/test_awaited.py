"""Ends that others wait for are remembered as long as somebody waits, and no longer."""

from pmtq.awaited import Awaited
from pmtq.records import StateRecord


def ended(task_id, followers=None):
    return StateRecord(task_id, "SUCCESS", result=task_id.upper(), followers=followers)


def test_an_end_is_kept_until_all_that_wait_for_it_are_final():
    awaited, end = Awaited(), ended("a")

    awaited.keep(end, ["x", "y"])
    seen = [dict(awaited.ends)]
    for follower in ("x", "y"):
        awaited.let_go(follower)
        seen.append(dict(awaited.ends))

    assert seen == [{"a": end}, {"a": end}, {}]
    assert awaited.owing == {}


def test_an_end_that_nobody_waits_for_is_not_kept():
    awaited = Awaited()

    awaited.keep(ended("a"), [])

    assert (awaited.ends, awaited.owing, awaited.lines()) == ({}, {}, [])


def test_a_task_that_waits_for_many_lets_go_of_those_that_nobody_else_waits_for():
    awaited, ends = Awaited(), {name: ended(name) for name in "abc"}
    awaited.keep(ends["a"], ["x"])
    awaited.keep(ends["b"], ["x", "y"])
    awaited.keep(ends["c"], ["y"])
    assert awaited.owing == {"x": ["a", "b"], "y": ["b", "c"]}

    awaited.let_go("x")

    assert awaited.ends == {"b": ends["b"], "c": ends["c"]}
    assert awaited.owing == {"y": ["b", "c"]}


def test_letting_go_for_a_task_that_waited_for_nothing_changes_nothing():
    awaited, end = Awaited(), ended("a")
    awaited.keep(end, ["x"])

    awaited.let_go("stranger")
    awaited.let_go("a")

    assert (awaited.ends, awaited.owing) == ({"a": end}, {"x": ["a"]})


def test_what_was_to_be_kept_is_counted_and_never_counted_down():
    awaited = Awaited()

    awaited.keep(ended("a"), ["x"])
    awaited.keep(ended("b"), [])
    awaited.let_go("x")

    assert awaited.count == 2


def test_memory_follows_the_workflows_under_way_and_not_those_that_have_ended():
    awaited = Awaited()

    for number in range(1000):
        awaited.keep(ended(f"t{number}"), [f"t{number + 1}"])
        awaited.let_go(f"t{number}")

    assert list(awaited.ends) == ["t999"]
    assert awaited.owing == {"t1000": ["t999"]}


def test_its_lines_say_the_same_to_whoever_reads_nothing_else():
    awaited = Awaited()
    awaited.keep(ended("a", followers=["w", "x", "y"]), ["w", "x", "y"])
    awaited.keep(ended("b", followers=["x"]), ["x"])
    awaited.let_go("w")

    lines, reader = awaited.lines(), Awaited()
    for line in lines:
        reader.keep(line, line.followers)

    assert [(line.task_id, line.result, line.followers, line.kept) for line in lines] == [
        ("a", "A", ["x", "y"], True),
        ("b", "B", ["x"], True),
    ]
    assert (reader.lines(), reader.owing) == (lines, awaited.owing)
