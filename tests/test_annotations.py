"""What the setting ``task_annotations`` changes about a task."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from pmtq.annotations import annotate
from pmtq.exceptions import ImproperlyConfigured


class Add:
    """As much of a task as an annotation sees."""

    name = "tasks.add"
    unique = False

    def on_failure(self, exc):
        return None


class ForTasks:
    """An annotation that is an object."""

    def annotate(self, task):
        return {"rate_limit": "1/s"} if task.name.startswith("tasks.") else None


class ForAll(ForTasks):
    """One that has something for every task too."""

    def annotate_any(self):
        return {"time_limit": 5}


TASK = Add()
MODULE = ModuleType("pmtq_test_annotations")
MODULE.ForTasks, MODULE.limits = ForTasks, {"tasks.add": {"rate_limit": "3/s"}}


@pytest.mark.parametrize(
    "nothing", [None, {}, [], (), {"tasks.other": {"rate_limit": "1/s"}}, {"tasks.*": {"priority": 1}}]
)
def test_a_task_that_nothing_is_said_about_stays_as_it_is(nothing):
    assert annotate(TASK, nothing) == {}


@pytest.mark.parametrize(
    ("annotations", "attributes"),
    [
        ({"tasks.add": {"rate_limit": "10/m"}}, {"rate_limit": "10/m"}),
        ({"tasks.add": {"colour": "red"}}, {"colour": "red"}),
        ({"*": {"rate_limit": "2/s"}}, {"rate_limit": "2/s"}),
        ({"*": {"rate_limit": "2/s"}, "tasks.add": {"rate_limit": "9/s", "priority": 3}}, {"rate_limit": "2/s", "priority": 3}),
        ([{"tasks.add": {"priority": 1}}, {"tasks.add": {"rate_limit": "9/s"}}], {"priority": 1}),
        ([{"*": {"priority": 1}}, {"tasks.add": {"rate_limit": "9/s"}}], {"priority": 1, "rate_limit": "9/s"}),
        (ForTasks(), {"rate_limit": "1/s"}),
        ([ForTasks(), ForAll()], {"rate_limit": "1/s", "time_limit": 5}),
        (ForAll, {"rate_limit": "1/s", "time_limit": 5}),
        ("pmtq_test_annotations:ForTasks", {"rate_limit": "1/s"}),
        (["pmtq_test_annotations.limits"], {"rate_limit": "3/s"}),
    ],
)  # fmt: skip
def test_annotations_come_in_the_forms_that_celery_takes(annotations, attributes, monkeypatch):
    monkeypatch.setitem(sys.modules, "pmtq_test_annotations", MODULE)

    assert annotate(TASK, annotations) == attributes


def test_a_function_becomes_a_method_of_the_task():
    def tell(self, exc):
        return self.name, exc

    attributes = annotate(TASK, {"tasks.add": {"on_failure": tell, "tell": tell}})

    assert attributes["on_failure"]("lost") == ("tasks.add", "lost")
    assert attributes["tell"]("lost") == ("tasks.add", "lost")


def test_an_option_whose_value_is_a_function_is_left_as_it_is():
    def key(x, y):
        return f"{x}"

    assert annotate(TASK, {"tasks.add": {"unique": key}}) == {"unique": key}


@pytest.mark.parametrize(
    ("annotations", "what"),
    [
        (5, "task_annotations holds 5"),
        ([{}, 5], "task_annotations holds 5"),
        ({"tasks.add": "10/m"}, "a task's annotation is '10/m'"),
        ({"*": {"@run": print}}, "the annotation '@run' of tasks.add would wrap a method, which only a subclass of Task can"),
    ],
)  # fmt: skip
def test_what_is_no_annotation_is_refused_with_the_form_to_write(annotations, what):
    with pytest.raises(ImproperlyConfigured) as caught:
        annotate(TASK, annotations)

    remedy = "The task was not made. Write app.conf.task_annotations = {'tasks.add': {'rate_limit': '10/m'}}"
    assert str(caught.value) == f"{what}. {remedy}"
