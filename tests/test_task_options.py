"""The options of a task: where they may be set, and what they have its calls ask for."""

import logging

import pytest

from pmtq import Task
from pmtq.clock import moved_clock
from pmtq.exceptions import ImproperlyConfigured
from pmtq.records import timestamp
from tests.support import NOW, read_lines


@pytest.fixture
def clock():
    """A clock that stands still until the test moves it."""
    with moved_clock(at=NOW) as clock:
        yield clock


def test_the_name_that_logs_show_may_be_made_from_the_arguments(app, folder):
    class Shown(Task):
        def shadow_name(self, args, kwargs, options):
            return f"add {args[0]} in {options.get('queue')}"

    @app.task(base=Shown, name="f")
    def f(x):
        pass

    f.delay(1)
    f.apply_async([2], queue="low")
    f.apply_async([3], shadow="own")

    shadows = [line["shadow"] for name in ("celery", "low") for line in read_lines(folder.queue(name))]
    assert shadows == ["add 1 in None", "own", "add 2 in low"]


@pytest.mark.parametrize("option", ["autoretry_for", "dont_autoretry_for"])
@pytest.mark.parametrize(
    ("value", "remedy"), [(ValueError, "[ValueError]"), (["ValueError"], "[ConnectionError]"), (5, "[ConnectionError]")]
)
def test_exceptions_that_are_no_list_are_refused_when_the_task_is_made(app, option, value, remedy):
    with pytest.raises(ImproperlyConfigured) as caught:
        app.task(name="f", **{option: value})(lambda: None)

    assert str(caught.value) == (
        f"{option}={value!r} of f is no list of exceptions. The task was not made. Write {option}={remedy}"
    )
    assert "f" not in app.tasks


# --- calls that are one call -----------------------------------------------------------------------------------------


def test_positional_and_keyword_forms_of_a_unique_call_are_the_same(app, folder, work, caplog):
    ran = []

    @app.task(name="f", unique=True)
    def f(x, y=0):
        ran.append((x, y))

    with caplog.at_level(logging.INFO):
        results = [f.delay(1), f.delay(1, 0), f.delay(x=1), f.delay(y=0, x=1), f.delay(2)]
        assert len({line["unique_key"] for line in read_lines(folder.queue())}) == 2
        work(app)

    assert ran == [(1, 0), (2, 0)]
    assert [result.state for result in results] == ["SUCCESS", "IGNORED", "IGNORED", "IGNORED", "SUCCESS"]
    assert results[1].result.args[0] == f"the same call is owed already, as task {results[0].id}"


def test_unique_may_go_by_some_arguments(app, folder):
    @app.task(name="f", unique=["user"])
    def f(user, page):
        pass

    f.delay(1, page=1)
    f.delay(user=1, page=2)
    f.delay(2, 1)

    keys = [line["unique_key"] for line in read_lines(folder.queue())]
    assert (keys[0] == keys[1], keys[0] == keys[2]) == (True, False)


def test_debounce_and_throttle_stand_in_the_record(app, folder, clock):
    @app.task(name="f", debounce=2)
    def f(x):
        pass

    @app.task(name="g", throttle=5)
    def g(x):
        pass

    f.delay(1)
    g.delay(1)

    first, second = read_lines(folder.queue())
    assert (first["debounce"], first["eta"], second["throttle"]) == (2, timestamp(NOW + 2), 5)
    assert first["unique_key"].startswith("f ")
    assert second["unique_key"].startswith("g ")
