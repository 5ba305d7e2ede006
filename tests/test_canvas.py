"""Signatures and shapes: what they come to on a worker, in the caller's process, and in real Celery."""

import json
from pathlib import Path

import pytest

import pmtq
from pmtq.canvas import Signature, chain, chord, group, maybe_signature, signature
from tests.oracle.shapes import CALLBACKS, SHAPES, got, names_of
from tests.support import read_lines

CELERY = json.loads((Path(__file__).parent / "oracle" / "celery.json").read_text())


@pytest.fixture
def heard():
    """What callbacks were told."""
    return []


@pytest.fixture
def names(app, heard):
    """The names that the shapes are made of."""
    return names_of(pmtq, app, heard)


DIFFERENT = {
    # Celery has the values of a header in the order in which its tasks end, if groups stand in it.
    "chord([group(i(1), i(2)), i(3)], i())": [[[[1], [2], [3]]], [[1], [2], [3]]],
    # In Celery a clone of a chain or group forgets the arguments it was given.
    "(i(1) | i(2)).clone((10,))": [[[10, 1], 2], [10, 1]],
    "group(i(1), i(2)).clone((10,))": [[[10, 1], [10, 2]]],
    # In Celery the steps behind one that failed stay PENDING for ever.
    "i(1) | boom.s() | group(i(2), i(3)) | i()": ["!ValueError", "!ValueError", "!ValueError", [1]],
}
SKIPS_PARENTS = {
    "chord([i(1), i(2)], chain(i(), i(7)))",
    "chord([i(1), i(2)], chord([i(3), i(4)], i()))",
    "chord([i(1) | group(i(2), i(3)), i(4)], i())",
    "group(i(1), i(2)) | group(i(3), i(4)) | i()",
    "chord([i(1), i(2)], i()) | chord([i(3), i(4)], i())",
    "chord([i(1), i(2)], i()) | i(3)",
}
"""Where Celery's results know only some of what came before them."""


def require_what_celery_says(text, line):
    """Compare the values of a result and of its parents with what Celery's worker has, or else Celery in the caller's process."""
    expected = DIFFERENT.get(text, CELERY["worker"].get(text, CELERY["eager"][text]))
    if text in SKIPS_PARENTS:
        assert line[0] == expected[0]
        assert [one for one in line if one in expected] == expected
        assert len(line) > len(expected)
    else:
        assert line == expected


@pytest.mark.parametrize("text", SHAPES)
def test_a_shape_comes_to_the_same_values_as_in_celery(text, app, names, work):
    result = eval(text, names).apply_async()
    work(app)

    require_what_celery_says(text, got(result, 0.1))


@pytest.mark.parametrize("text", SHAPES)
def test_a_shape_comes_to_the_same_values_in_the_callers_process(text, app, names):
    app.conf.task_always_eager = True

    result = eval(text, names).apply_async()

    require_what_celery_says(text, got(result, 0))
    assert not app.folder.queue().exists()


@pytest.mark.parametrize("text", CALLBACKS)
def test_callbacks_are_called_as_in_celery(text, app, names, work, heard):
    result = eval(text, names).apply_async()
    work(app)

    assert [got(result, 0.1), sorted(heard, key=repr)] == CELERY["worker"][text]


@pytest.mark.parametrize("text", CALLBACKS)
def test_callbacks_are_called_in_the_callers_process_too(text, app, names, heard):
    app.conf.task_always_eager = True

    result = eval(text, names).apply_async()

    assert [got(result, 0), sorted(heard, key=repr)] == CELERY["worker"][text]


# The notes' examples.


@pytest.mark.parametrize("eagerly", [False, True], ids=["worker", "eager"])
def test_the_chains_of_the_notes_come_to_16_and_to_16_8_4_by_their_parents(app, add, work, eagerly):
    app.conf.task_always_eager = eagerly
    kept = chain(add.s(2, 2), add.s(4), add.s(8))

    first = kept()
    second = chain(add.si(2, 2) | add.si(4, 4) | add.si(8, 8))()
    work(app)

    assert first.get(timeout=0) == 16
    assert [second.get(timeout=0), second.parent.get(timeout=0), second.parent.parent.get(timeout=0)] == [16, 8, 4]
    assert second.parent.parent.parent is None


def test_a_chain_in_a_variable_may_be_called_many_times(app, add, work):
    kept = chain(add.s(2, 2), add.s(4))

    results = [kept(), kept(), kept.delay(), kept.apply_async()]
    work(app)

    assert [one.get(timeout=0) for one in results] == [8] * 4
    assert len({one.id for one in results}) == 4


def test_a_signature_turned_over_is_posted_and_waited_for(app, add, work_until):
    values = []

    import threading

    asker = threading.Thread(target=lambda: values.append(~(add.s(1, 2) | add.s(3))))
    asker.start()
    work_until(app, lambda: values)
    asker.join()

    assert values == [6]


def test_a_chord_is_given_its_body_when_it_is_called(app, names, work):
    i = names["i"]

    result = chord([i(1), i(2)])(i(3))
    work(app)

    assert result.get(timeout=0) == [[[1], [2]], 3]


def test_a_chord_without_a_body_is_refused(app, add):
    with pytest.raises(TypeError, match=r"^a chord needs a body. Nothing was queued. Give it as chord\(header, body\)"):
        chord([add.s(1, 2)]).delay()
    assert not app.folder.queue().exists()


def test_what_is_no_signature_is_refused_in_a_shape(add):
    with pytest.raises(
        TypeError, match=r"is no signature, so it cannot be part of a workflow. .* Write tasks.add.s\(…\)$"
    ):
        chain(add.s(1, 2), add)


# What stands in the queue file.


def records_of(app):
    """Return the records in the queue file, without what says nothing about the workflow; ids become numbers."""
    lines = read_lines(app.folder.queue())
    text = json.dumps([{key: value for key, value in line.items() if key not in {"sent", "root_id"}} for line in lines])
    for number, line in enumerate(lines, 1):
        text = text.replace(line["task_id"], f"{number}")
    return json.loads(text)


def test_a_chain_is_records_that_name_the_one_before(app, add):
    chain(add.s(2, 2), add.s(4), add.si(8, 8))()

    assert records_of(app) == [
        {"task_id": "1", "function": "tasks.add", "params": [2, 2], "followers": ["2"]},
        {"task_id": "2", "function": "tasks.add", "params": [4], "parent_id": "1", "after": "1", "followers": ["3"]},
        {"task_id": "3", "function": "tasks.add", "params": [8, 8], "parent_id": "2", "after": "2", "immutable": True},
    ]
    assert {line["root_id"] for line in read_lines(app.folder.queue())} == {
        read_lines(app.folder.queue())[0]["task_id"]
    }


def test_a_chord_is_records_of_which_the_last_names_all_others(app, add, names):
    result = chord([add.s(1, 1), add.s(2, 2)], names["i"]()).apply_async()

    group_id = result.parent.id
    assert records_of(app) == [
        {"task_id": "1", "function": "tasks.add", "params": [1, 1], "group_id": group_id, "followers": ["3"]},
        {"task_id": "2", "function": "tasks.add", "params": [2, 2], "group_id": group_id, "followers": ["3"]},
        {"task_id": "3", "function": "ident", "after": ["1", "2"]},
    ]


def test_many_that_wait_for_many_wait_for_one_step_in_between(app, names):
    i = names["i"]

    (group(i(1), i(2)) | group(i(3), i(4))).delay()

    assert [(line["function"], line.get("after"), line.get("followers")) for line in records_of(app)] == [
        ("ident", None, ["3"]),
        ("ident", None, ["3"]),
        ("pmtq.gather", ["1", "2"], ["4", "5"]),
        ("ident", "3", None),
        ("ident", "3", None),
    ]


def test_a_map_is_one_record_of_the_function_itself(app, add, names):
    add.starmap([(1, 2), (3, 4)]).delay()
    names["ident"].map([5]).apply_async(countdown=0)

    assert [line | {"eta": ""} for line in records_of(app)] == [
        {"task_id": "1", "function": "tasks.add", "params": [[[1, 2], [3, 4]]], "each": "starmap", "eta": ""},
        {"task_id": "2", "function": "ident", "params": [[5]], "each": "map", "eta": ""},
    ]


def test_a_workflow_of_one_queue_is_one_write(app, add, names, monkeypatch):
    import os

    add.delay(1, 1)  # opens the file
    writes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: writes.append(data) or real(descriptor, data))

    (group(add.s(1, 1), add.s(2, 2)) | names["i"]() | add.si(1, 1)).on_error(names["told"].s()).delay()

    assert [data.count(b"\n") for data in writes] == [5]


def written(app, monkeypatch):
    """Return a list that takes in what is written: the queue of each write, and how many records."""
    writes = []
    from pmtq.journal import Journal

    real = Journal.append

    def append(self, lines, *, durable=False):
        writes.append((self.path.name, lines.count(b"\n")))
        real(self, lines, durable=durable)

    monkeypatch.setattr(Journal, "append", append)
    return writes


def test_of_several_queues_the_followers_are_written_first(app, add, monkeypatch):
    writes = written(app, monkeypatch)

    chain(add.s(1, 1), add.s(2).set(queue="low"), add.s(3)).delay()

    assert writes == [("queue.jsonl", 1), ("queue.low.jsonl", 1), ("queue.jsonl", 1)]
    assert [line["params"] for line in read_lines(app.folder.queue())] == [[3], [1, 1]]


def test_what_begins_in_several_queues_begins_with_one_step_that_is_written_last(app, add, names, work, monkeypatch):
    writes = written(app, monkeypatch)

    result = chord([add.s(1, 1), add.s(2, 2).set(queue="low"), add.s(3, 3).set(priority=5)], names["i"]()).delay()
    work(app, queues=("celery", "low"))

    assert writes == [("queue.jsonl", 1), ("queue.p5.jsonl", 1), ("queue.low.jsonl", 1), ("queue.jsonl", 2)]
    assert result.get(timeout=0) == [[2, 4, 6]]


def test_what_a_client_left_half_written_never_runs(app, add, names, work, monkeypatch):
    from pmtq.journal import Journal

    real = Journal.append

    def die_at_the_end(self, lines, **options):
        if b"pmtq.gather" in lines:
            raise KeyboardInterrupt
        real(self, lines, **options)

    monkeypatch.setattr(Journal, "append", die_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        chord([add.s(1, 1), add.s(2, 2).set(queue="low")], names["i"]()).delay()
    work(app, queues=("celery", "low"))

    assert read_lines(app.folder.results) == []


def test_a_call_that_can_never_fit_is_refused_at_once_also_in_the_middle(app, add):
    with pytest.raises(TypeError, match=r"tasks.add\(x, y=0\) too many positional arguments. Nothing was queued.$"):
        chain(add.s(1, 1), add.s(1, 2)).delay()
    assert not app.folder.queue().exists()


# Signatures.


def test_a_signature_is_a_dict_and_goes_through_json(add):
    made = add.signature((2,), {"y": 3}, countdown=10)

    again = signature(json.loads(json.dumps(made)))

    assert dict(made) == {
        "task": "tasks.add", "args": (2,), "kwargs": {"y": 3}, "options": {"countdown": 10}, "subtask_type": None,
        "immutable": False,
    }  # fmt: skip
    assert (again.task, again.args, again.kwargs, again.options) == ("tasks.add", (2,), {"y": 3}, {"countdown": 10})
    assert isinstance(again, Signature)
    assert again() == 5


def test_further_arguments_go_before_its_own_unless_it_is_immutable(add):
    partial, fixed = add.s(2), add.si(2, 3)

    assert partial.clone((1,), {"y": 5}, countdown=3) == add.signature((1, 2), {"y": 5}, countdown=3)
    assert fixed.clone((1,), queue="low") == add.signature((2, 3), queue="low", immutable=True)
    assert partial == add.s(2)


def test_options_are_set_in_place_and_links_are_kept_once(add):
    made = add.s(1).set(queue="low", immutable=True)
    callback = add.s(2)

    assert made.link(callback) is callback
    made.link(callback)
    assert made.on_error(callback) is made

    assert made.immutable
    assert made.options == {"queue": "low", "link": [callback], "link_error": [callback]}
    assert made.flatten_links() == [made, callback]


def test_signatures_read_like_the_calls_they_are(add):
    shape = chain(add.s(1, y=2), group(add.s(3), add.s(4)), add.si(5))

    assert repr(shape) == "tasks.add(1, y=2) | group([tasks.add(3), tasks.add(4)]) | tasks.add(5)"
    assert repr(chord([add.s(1)], add.s(2))) == "chord([tasks.add(1)], tasks.add(2))"
    assert repr(add.map([1])) == "[tasks.add(x) for x in [1]]"
    assert repr(add.starmap([(1, 2)])) == "[tasks.add(*x) for x in [(1, 2)]]"


def test_a_signature_may_be_an_argument_of_a_task(app, add, work):
    @app.task(bind=True)
    def call(self, sig, value):
        return signature(sig).clone((value,))()

    result = call.delay(add.s(3), 4)
    work(app)

    assert result.get(timeout=0) == 7


def test_a_signature_by_name_needs_no_code_here(app, work):
    result = chain(app.signature("tasks.add", (1, 2)), app.signature("tasks.add", (3,))).delay()
    work(app)

    assert result.get(timeout=0) == 6


def test_maybe_signature_leaves_what_is_none(add):
    assert maybe_signature(None) is None
    assert maybe_signature(dict(add.s(1)), app=add.app) == add.s(1)


def test_a_frozen_shape_knows_its_ids_beforehand(app, names, work):
    i = names["i"]
    shape = i(1) | group(i(2), i(3)) | i(4)

    promised = shape.freeze()
    result = shape()
    work(app)

    assert (result.id, result.parent.id, result.parent.parent.id) == (
        promised.id,
        promised.parent.id,
        promised.parent.parent.id,
    )
    assert promised.get(timeout=0) == [[[[1], 2], [[1], 3]], 4]
