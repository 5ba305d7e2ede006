"""A task makes calls of itself that have not been made yet, and may change the workflow that it runs in."""

import pytest

from pmtq import PMTQ, Task
from pmtq.canvas import Signature, chunks, xmap, xstarmap


@pytest.fixture
def other_app(app):
    """An app that was made after ``app``, so that it is the current one."""
    return PMTQ("other")


def call(args=(), kwargs=None, options=None, immutable=False):
    """Return what a signature of ``tasks.add`` says, whole."""
    return {
        "task": "tasks.add",
        "args": args,
        "kwargs": kwargs or {},
        "options": options or {},
        "subtask_type": None,
        "immutable": immutable,
    }


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda add: add.s(2, y=3), call((2,), {"y": 3})),
        (lambda add: add.s(), call()),
        (lambda add: add.si(2, y=3), call((2,), {"y": 3}, immutable=True)),
        (lambda add: add.signature(), call()),
        (lambda add: add.signature((2, 3)), call((2, 3))),
        (lambda add: add.signature([2], {"y": 3}, {"queue": "low"}), call((2,), {"y": 3}, {"queue": "low"})),
        (lambda add: add.signature((2, 3), countdown=10), call((2, 3), options={"countdown": 10})),
        (lambda add: add.signature((2, 3), immutable=True), call((2, 3), immutable=True)),
        (lambda add: add.subtask((2,), {"y": 3}, priority=1), call((2,), {"y": 3}, {"priority": 1})),
    ],
)
def test_a_task_makes_a_signature_of_itself(add, make, said):
    made = make(add)

    assert (type(made), dict(made)) == (Signature, said)
    assert (made.type, made.app) == (add, add.app)


def test_a_signature_belongs_to_the_tasks_app_and_not_to_the_one_made_last(app, add, other_app):
    calls = [add.s(1), add.si(1), add.signature((1,)), add.map([1]), add.starmap([(1, 1)]), add.chunks([(1, 1)], 1)]

    assert [one.app for one in calls] == [app] * 6


def test_a_signature_may_be_made_for_another_app(add, other_app):
    assert add.signature((1, 1), app=other_app).app is other_app


@pytest.mark.parametrize(
    ("make", "kind", "values"),
    [
        (lambda add: add.map([1, 2]), xmap, [1, 2]),
        (lambda add: add.map(iter([1, 2])), xmap, [1, 2]),
        (lambda add: add.starmap([(1, 2), (3, 4)]), xstarmap, [3, 7]),
        (lambda add: add.starmap(zip([1, 3], [2, 4], strict=True)), xstarmap, [3, 7]),
        (lambda add: add.chunks([(1, 2), (3, 4), (5, 6)], 2), chunks, [[3, 7], [11]]),
        (lambda add: add.chunks(zip([1, 3, 5], [2, 4, 6], strict=True), 2), chunks, [[3, 7], [11]]),
    ],
)
def test_a_task_is_mapped_over_items_that_may_come_from_an_iterator(add, make, kind, values):
    mapped = make(add)

    assert (type(mapped), mapped.apply().get(timeout=0)) == (kind, values)


def test_a_class_of_tasks_may_look_at_what_replaces_one_and_change_it(app, add):
    class Doubling(Task):
        def on_replace(self, sig):
            return super().on_replace(sig | add.s(100))

    @app.task(bind=True, base=Doubling)
    def change(self):
        raise self.replace(add.s(1, 2))

    assert change.apply().get(timeout=0) == 103


def test_a_class_of_tasks_may_refuse_to_be_replaced(app, add):
    class Steady(Task):
        def on_replace(self, sig):
            raise ValueError(f"{self.name} does not go on as {sig!r}")

    @app.task(bind=True, base=Steady, name="steady")
    def change(self):
        raise self.replace(add.s(1, 2))

    with pytest.raises(ValueError, match=r"^steady does not go on as tasks.add\(1, 2\)$"):
        change.apply().get(timeout=0)


def test_a_task_called_directly_within_another_cannot_be_replaced_in_its_place(app, add):
    @app.task(bind=True, name="inner")
    def inner(self):
        raise self.replace(add.s(1, 2))

    @app.task(name="outer")
    def outer():
        return inner()

    with pytest.raises(
        RuntimeError, match=r"^inner was called directly, so it cannot be replaced. Call tasks.add\(1, 2\)"
    ):
        outer.apply().get(timeout=0)


def test_a_task_called_directly_adds_to_no_chord(app, add):
    with pytest.raises(ValueError, match=r"^tasks.add was called directly, so it is in no chord. Nothing was queued$"):
        add.add_to_chord(add.s(1, 2))
    assert not app.folder.queue().exists()
