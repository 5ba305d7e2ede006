"""The app in use, for code that has got none."""

import gc

import pytest

import pmtq
from pmtq import PMTQ, current, current_app, current_task, shared_task
from tests.support import read_lines


@pytest.fixture(autouse=True)
def _apart(monkeypatch):
    """Let every test begin with no app and no shared task, and leave none."""
    import weakref

    monkeypatch.setattr(current, "_shared", [])
    monkeypatch.setattr(current, "_apps", weakref.WeakSet())
    monkeypatch.setattr(current, "_newest", lambda: None)
    monkeypatch.setattr(current, "_kept", None)


def test_the_app_made_last_is_the_current_one():
    first, second = PMTQ("first"), PMTQ("second")

    assert current_app == second
    first.set_current()
    assert (current_app.main, current_app == first) == ("first", True)


def test_an_app_may_be_made_without_becoming_the_current_one():
    first, _ = PMTQ("first"), PMTQ("second", set_as_current=False)

    assert current_app == first


def test_when_the_current_app_is_gone_another_one_is_current():
    first = PMTQ("first")
    PMTQ("second")
    gc.collect()

    assert current_app == first


def test_without_any_app_there_is_one_on_the_default_folder(monkeypatch):
    asked = current_app.main

    assert asked == "default"
    assert current_app.broker_url == "file://queue_dir"


def test_a_shared_task_belongs_to_the_apps_made_before_and_after_it():
    before = PMTQ("before")

    @shared_task(name="lib.double", max_retries=7)
    def double(x):
        return 2 * x

    after = PMTQ("after")

    assert [app.tasks["lib.double"].max_retries for app in (before, after)] == [7, 7]
    assert (double(4), double.name, double.max_retries) == (8, "lib.double", 7)


def test_calls_of_a_shared_task_go_to_the_current_app(tmp_path):
    apps = [PMTQ(name, broker=f"file://{tmp_path / name}") for name in "ab"]

    @shared_task
    def double(x):
        return 2 * x

    double.delay(1)
    apps[0].set_current()
    double.delay(2)

    sent = [[line["params"] for line in read_lines(app.folder.queue())] for app in apps]
    assert sent == [[[2]], [[1]]]


def test_a_shared_task_without_any_app_is_one_of_the_default_app():
    @shared_task
    def double(x):
        return 2 * x

    assert double.app.main == "default"
    assert double(4) == 8


def test_a_shared_task_may_be_bound():
    PMTQ("app")

    @shared_task(bind=True, name="lib.who")
    def who(self):
        return self.name

    assert who() == "lib.who"


def test_an_app_that_becomes_the_current_one_again_keeps_its_tasks():
    app = PMTQ("app")

    @shared_task(name="lib.f")
    def f():
        pass

    task = app.tasks["lib.f"]
    app.set_default()

    assert app.tasks["lib.f"] is task


def test_outside_of_tasks_there_is_no_current_task():
    PMTQ("app")

    assert not current_task
    assert current_task == None  # noqa: E711  (it stands for None)


def test_in_a_task_it_is_the_current_one(folder, work):
    app = PMTQ("app", broker=f"file://{folder.path}")

    @app.task(name="inner")
    def inner():
        return current_task.name

    @app.task(name="outer")
    def outer():
        return [current_task.name, inner(), current_task.name]

    result = outer.delay()
    work(app)

    assert result.get(timeout=1) == ["outer", "inner", "outer"]
    app.backend.close()


def test_a_proxy_is_like_what_it_stands_for():
    app = PMTQ("app")
    app.colour = "red"

    current_app.colour = "blue"

    assert app.colour == "blue"
    assert repr(current_app) == repr(app)
    assert hash(current_app) == hash(app)
    assert pmtq.Celery is PMTQ
