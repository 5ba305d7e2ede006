"""What the code declares is understood as Celery understands it, and held against what is possible."""

from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace

import pytest

from pmtq.exceptions import ImproperlyConfigured
from pmtq.periodic import PeriodicTask, from_settings, from_signature
from pmtq.schedules import crontab, schedule


def test_the_forms_of_beat_schedule_are_those_of_celery(app, add):
    seven = crontab(minute=0, hour=7)
    app.conf.beat_schedule = {
        "every-30-seconds": {"task": "tasks.add", "schedule": 30.0, "args": (16, 16)},
        "at-seven": {"task": add, "schedule": seven, "kwargs": {"x": 1}, "options": {"queue": "low"}, "missed": "all"},
        "hourly": {"task": "tasks.add", "schedule": timedelta(hours=1), "relative": True},
        "by-words": {"task": "tasks.add", "schedule": "every 2 min", "name": "by-words"},
    }

    assert from_settings(app.conf.beat_schedule, app) == {
        "every-30-seconds": PeriodicTask("tasks.add", schedule(30.0), [16, 16], {}, {}),
        "at-seven": PeriodicTask("tasks.add", seven, [], {"x": 1}, {"queue": "low"}, "all"),
        "hourly": PeriodicTask("tasks.add", schedule(3600, relative=True), [], {}, {}),
        "by-words": PeriodicTask("tasks.add", schedule(120), [], {}, {}),
    }
    assert from_settings(app.conf.beat_schedule, app)["hourly"].schedule.relative
    assert from_settings(None, app) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": 1}, "has no 'task'. It was not planned. Write it: {'task': …}"),
        ({"task": "a"}, "has no 'schedule'. It was not planned. Write it: {'schedule': …}"),
        ({"task": "a", "schedul": 1}, "has a key 'schedul'. It was not planned. Did you mean 'schedule'?"),
        ({"task": "a", "schedule": 1, "missed": "no"}, "has missed='no'. It was not planned. Write one of once, skip, all"),
        ({"task": "a", "schedule": -1}, "has no schedule that can be read. It was not planned. run_every=datetime.timedelta(days=-1, seconds=86399) is no interval. Give seconds above 0, or a timedelta"),
        (30, "is 30. It was not planned. Write {'task': 'tasks.add', 'schedule': 30.0, 'args': (2, 3)}"),
    ],
)  # fmt: skip
def test_a_declaration_that_cannot_be_meant_is_refused_by_name(app, fields, message):
    with pytest.raises(ImproperlyConfigured) as refused:
        from_settings({"tidy": fields}, app)

    assert str(refused.value) == f"the periodic task 'tidy' {message}"


def test_add_periodic_task_takes_a_task_a_name_or_a_signature_and_names_the_entry_by_the_call(app, add):
    sig = SimpleNamespace(task="tasks.add", args=(2,), kwargs={"y": 3}, options={"queue": "low"}, immutable=False)
    fixed = SimpleNamespace(task="tasks.add", args=(2,), kwargs={}, options={}, immutable=True)

    names = [
        app.add_periodic_task(10, add, (1, 2)),
        app.add_periodic_task(10, "tasks.add", kwargs={"x": "a"}),
        app.add_periodic_task(crontab(), sig, (9,), {"y": 4}, expires=10),
        app.add_periodic_task(10, fixed, (9,)),
        app.add_periodic_task("every 10 s", add, (1, 2), name="mine", missed="skip"),
    ]

    assert names == ["tasks.add(1, 2)", "tasks.add(x='a')", "tasks.add(9, 2, y=4)", "tasks.add(2)", "mine"]
    assert app.periodic == {
        "tasks.add(1, 2)": PeriodicTask("tasks.add", schedule(10), [1, 2], {}, {}),
        "tasks.add(x='a')": PeriodicTask("tasks.add", schedule(10), [], {"x": "a"}, {}),
        "tasks.add(9, 2, y=4)": PeriodicTask("tasks.add", crontab(), [9, 2], {"y": 4}, {"queue": "low", "expires": 10}),
        "tasks.add(2)": PeriodicTask("tasks.add", schedule(10), [2], {}, {}),
        "mine": PeriodicTask("tasks.add", schedule(10), [1, 2], {}, {}, "skip"),
    }


def test_a_workflow_is_kept_whole(app):
    class Chain:
        subtask_type = "chain"
        args, kwargs, options = (), Mapping, {}

        def __repr__(self):
            return "tasks.add(1, 2) | tasks.add(3)"

    chain = Chain()

    name, task = from_signature(10, chain, app=app)

    assert (name, task) == (
        "tasks.add(1, 2) | tasks.add(3)",
        PeriodicTask("tasks.add(1, 2) | tasks.add(3)", schedule(10), [], {}, {}, None, chain),
    )


@pytest.mark.parametrize("sig", [None, 3, lambda: None])
def test_what_is_no_task_is_refused(app, sig):
    with pytest.raises(
        ImproperlyConfigured, match=r"is no task\. Nothing was planned\. Give a task, task\.s\(…\), or a"
    ):
        app.add_periodic_task(10, sig)


def test_a_schedule_that_is_none_is_refused(app, add):
    with pytest.raises(ImproperlyConfigured, match=r"the periodic task 'tasks.add' has None for a schedule"):
        app.add_periodic_task(None, add)
