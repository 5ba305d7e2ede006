"""What a task can do while it runs: be tried again, report how far it is."""

import logging

import pytest

from pmtq import PMTQ
from pmtq.bound import changes_of
from pmtq.clock import moved_clock
from pmtq.exceptions import (
    MaxRetriesExceededError,
    NotSerializable,
    OperationalError,
    Retry,
)
from pmtq.records import timestamp
from tests.support import NOW, all_states, life


@pytest.fixture
def clock():
    """A clock that stands still until the test moves it."""
    with moved_clock(at=NOW) as clock:
        yield clock


def statuses(folder, task_id):
    return [status for status, _ in life(folder, task_id)]


def last(folder, task_id):
    return [line for line in all_states(folder) if line["task_id"] == task_id][-1]


# --- tried again -----------------------------------------------------------------------------------------------------


def test_a_task_that_asks_for_it_is_tried_again_when_its_time_has_come(app, folder, work, clock):
    @app.task(bind=True, name="f")
    def f(self):
        if self.request.retries == 0:
            raise self.retry(countdown=10)
        return self.request.retries

    result = f.delay()
    work(app)
    assert (result.state, last(folder, result.id)["eta"]) == ("RETRY", timestamp(NOW + 10))
    clock.advance(9.9)
    work(app)
    assert result.state == "RETRY"
    clock.advance(0.1)
    work(app)

    assert result.get(timeout=1) == 1
    assert life(folder, result.id) == [("STARTED", 1), ("RETRY", 1), ("STARTED", 2), ("SUCCESS", 2)]


@pytest.mark.parametrize(
    ("options", "wait"),
    [
        ({}, 180),
        ({"countdown": 5}, 5),
        ({"countdown": 0}, 0),
        ({"eta": "2027-01-15T08:01:00Z"}, 60),
        ({"eta": "2027-01-15T08:01:00Z", "countdown": 5}, 60),
    ],
)
def test_a_retry_comes_after_the_default_delay_unless_it_says_otherwise(app, options, wait, clock):
    seen = []

    @app.task(bind=True, name="f")
    def f(self):
        if self.request.retries == 0:
            try:
                self.retry(**options)
            except Retry as again:
                seen.append(again.when)
                raise

    f.apply()

    assert seen == [timestamp(NOW + wait)]


def test_the_next_try_may_have_other_arguments(app, folder, work, clock):
    @app.task(bind=True, name="f")
    def f(self, x, y=0):
        if self.request.retries == 0:
            raise self.retry(args=[x + 1], kwargs={"y": 5}, countdown=0, headers={"h": 1})
        if self.request.retries == 1:
            raise self.retry(kwargs={"y": 6}, countdown=0)
        return [x, y, self.request.args, self.request.kwargs, self.request.headers]

    result = f.apply_async([1], headers={"h": 0, "i": 0})
    work(app)

    assert result.get(timeout=1) == [2, 6, [2], {"y": 6}, {"h": 1}]
    changes = [line.get("changes") for line in all_states(folder)]
    assert changes[1:4] == [
        {"params": {"y": 5}, "args": [2], "headers": {"h": 1}},
        {"params": {"y": 5}, "args": [2], "headers": {"h": 1}},
        {"params": {"y": 6}, "args": [2], "headers": {"h": 1}},
    ]
    assert "changes" not in all_states(folder)[-1]


def test_a_task_that_used_up_its_retries_fails_with_the_exception_it_gave(app, work, clock):
    @app.task(bind=True, name="f", max_retries=2)
    def f(self):
        raise self.retry(exc=KeyError(self.request.retries), countdown=0)

    result = f.delay()
    work(app)

    with pytest.raises(KeyError) as caught:
        result.get(timeout=1)
    assert caught.value.args == (2,)


def test_a_task_that_used_up_its_retries_and_gave_no_exception_fails_with_one_that_says_so(app, work, clock):
    @app.task(bind=True, name="f", max_retries=1)
    def f(self, x):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            self.retry(countdown=0)

    result = f.delay(3)
    work(app)

    with pytest.raises(MaxRetriesExceededError) as caught:
        result.get(timeout=1)
    assert str(caught.value) == (
        f"f ({result.id}) was tried 2 times, and max_retries is 1. It is not tried again. "
        "To have the reason here write self.retry(exc=error)"
    )


def test_a_task_may_catch_that_its_retries_are_used_up(app):
    """The way Celery's users write what is to be done in the end."""

    @app.task(bind=True, max_retries=0)
    def f(self):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            try:
                self.retry()
            except self.MaxRetriesExceededError as error:
                return ["gave up", list(error.task_args), error.task_kwargs]

    assert f.apply().get() == ["gave up", [], {}]
    assert f.OperationalError is OperationalError


@pytest.mark.parametrize(
    ("of_task", "of_call", "tries"),
    [(3, None, 4), (0, None, 1), (3, 0, 1), (3, 1, 2), (1, 4, 5), (None, None, 9), (None, 2, 3), (-1, None, 1)],
)
def test_how_often_a_task_is_tried_is_said_by_the_call_or_else_the_task(app, of_task, of_call, tries):
    tried = []

    @app.task(bind=True, max_retries=of_task)
    def f(self):
        tried.append(self.request.retries)
        if len(tried) < 9:
            raise self.retry(exc=KeyError("k"), max_retries=of_call)

    f.apply()

    assert tried == list(range(tries))


def test_tries_made_before_it_was_posted_count(app):
    tried = []

    @app.task(bind=True, max_retries=3)
    def f(self):
        tried.append(self.request.retries)
        self.retry(countdown=0)

    f.apply(retries=2)

    assert tried == [2, 3]


def test_without_throw_the_function_goes_on_and_is_tried_again_all_the_same(app, folder, work, clock):
    @app.task(bind=True, name="f")
    def f(self, ends):
        if self.request.retries == 0:
            again = self.retry(throw=False, countdown=0)
            assert isinstance(again, Retry)
            return ends and 1 / 0
        return "second"

    results = [f.delay(0), f.delay(1)]
    work(app)

    assert [result.get(timeout=1) for result in results] == ["second", "second"]
    assert statuses(folder, results[0].id) == ["STARTED", "RETRY", "STARTED", "SUCCESS"]
    assert f.apply((0,)).get() == "second"


def test_the_reason_of_a_retry_stands_in_its_line(app, folder, work, clock):
    @app.task(bind=True, name="f")
    def f(self, form):
        if form == "given":
            raise self.retry(exc=KeyError("k"))
        try:
            raise ZeroDivisionError("zero")
        except ZeroDivisionError:
            self.retry()

    results = [f.delay("given"), f.delay("handled")]
    work(app)

    errors = [last(folder, result.id)["error"] for result in results]
    assert errors == [
        {"type": "KeyError", "message": "'k'", "args": ["k"]},
        {"type": "ZeroDivisionError", "message": "zero"},
    ]


@pytest.mark.parametrize("exc", [None, KeyError("k")])
def test_a_task_that_is_called_directly_is_not_tried_again(app, exc):
    @app.task(bind=True)
    def f(self):
        self.retry(exc=exc)

    with pytest.raises(type(exc) if exc else Retry) as caught:
        f()

    if exc is None:
        assert str(caught.value) == "a task that is called directly cannot be tried again: use delay or apply"


def test_a_task_that_another_one_calls_directly_is_not_tried_again_either(app):
    @app.task(bind=True)
    def inner(self):
        self.retry(exc=KeyError("k"))

    @app.task
    def outer():
        inner()

    assert repr(outer.apply().result) == "KeyError('k')"


@pytest.mark.parametrize("when", [None, "soon", "2027-01-15T08:00:10Z"])
def test_a_retry_that_is_raised_by_hand_comes_at_its_time_or_after_the_default_delay(app, folder, work, clock, when):
    """It must neither end the worker nor come back at full speed for ever."""

    @app.task(bind=True, name="f")
    def f(self):
        if self.request.retries < 2:
            raise Retry("later", when=when)
        return self.request.retries

    result = f.delay()
    work(app)

    expected = 10 if when and when[0] == "2" else 180
    assert (last(folder, result.id)["eta"], statuses(folder, result.id)) == (
        timestamp(NOW + expected),
        ["STARTED", "RETRY"],
    )
    for _ in range(2):
        clock.advance(expected)
        work(app)
    assert result.get(timeout=1) == 2


# --- what is different about the next try -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (None, None, {}),
        ([2], None, {"params": {"y": 1}, "args": [2]}),
        (None, {"y": 2}, {"params": {"y": 2}, "args": [1]}),
        ([2], {}, {"params": [2], "args": None}),
        ([], {"y": 2}, {"params": {"y": 2}, "args": None}),
        ([], {}, {"params": None, "args": None}),
    ],
)
def test_a_try_may_have_other_arguments_than_the_one_before(args, kwargs, expected):
    assert changes_of([1], {"y": 1}, args, kwargs, {}, NOW) == expected


def test_a_try_may_have_other_options_than_the_one_before():
    options = {
        "expires": 60,
        "headers": {"a": 1},
        "time_limit": 5,
        "soft_time_limit": 4,
        "shadow": "s",
        "ignore_result": True,
    }

    assert changes_of([], {}, None, None, options, NOW) == {
        "expires": "2027-01-15T08:01:00.000Z",
        "headers": {"a": 1},
        "time_limit": 5.0,
        "soft_time_limit": 4.0,
        "shadow": "s",
        "ignore_result": True,
    }


@pytest.mark.parametrize("option", ["task_id", "queue", "priority", "unique_key", "routing_key", "nonsense"])
def test_what_a_try_cannot_change_is_said_and_left(option, caplog):
    with caplog.at_level(logging.WARNING):
        assert changes_of([], {}, None, None, {option: "x"}, NOW) == {}

    assert [record.getMessage() for record in caplog.records] == [
        f"retry() cannot change {option}: the record stays where it stands, as it is"
    ]


def test_arguments_of_a_try_that_json_cannot_hold_are_refused():
    with pytest.raises(NotSerializable):
        changes_of([], {}, [{1}], None, {}, NOW)


# --- how far it is ---------------------------------------------------------------------------------------------------


def test_what_a_task_reports_is_seen_at_once_by_whoever_has_its_id(app, folder, work):
    seen = []

    @app.task(bind=True, name="f")
    def f(self):
        self.update_state(state="PROGRESS", meta={"current": 3, "total": 9})
        other = PMTQ(broker=f"file://{folder.path}")
        result = other.AsyncResult(self.request.id)
        seen.extend([result.state, result.info])
        other.close()

    result = f.delay()
    work(app)

    assert seen == ["PROGRESS", {"current": 3, "total": 9}]
    report = all_states(folder)[1]
    assert report == {
        "task_id": result.id,
        "status": "PROGRESS",
        "result": {"current": 3, "total": 9},
        "attempt": 1,
        "worker": "worker1@test",
        "at": report["at"],
    }


def test_a_task_may_report_its_own_failure_and_then_ask_to_be_ignored(app, folder, work):
    """A common way in Celery to give a failure a text of one's own."""
    from pmtq.exceptions import Ignore

    @app.task(bind=True, name="f")
    def f(self, meta):
        self.update_state(state="FAILURE", meta=meta)
        raise Ignore

    custom = f.delay({"exc_type": "ValueError", "exc_message": ["custom"], "more": 1})
    text = f.delay("just text")
    work(app)

    assert (custom.state, repr(custom.result)) == ("FAILURE", "ValueError('custom')")
    assert (text.state, str(text.result)) == ("FAILURE", "just text")


def test_what_waits_for_a_task_hears_of_the_failure_that_it_reports_itself(app, add, folder, work):
    from pmtq.exceptions import Ignore

    @app.task(bind=True, name="f")
    def f(self):
        self.update_state(state="FAILURE", meta="just text")
        raise Ignore

    after = f.s() | add.s(1)
    after.tasks[1].set(queue="elsewhere")
    result = after.delay()
    work(app)

    (line,) = [line for line in all_states(folder) if line["status"] == "FAILURE"]
    assert (line["task_id"], line["followers"]) == (result.parent.id, [result.id])


@pytest.mark.parametrize("state", ["RETRY", "LOST", "RELEASED"])
def test_a_report_that_would_give_the_task_away_is_refused(app, folder, work, state):
    @app.task(bind=True, name="f")
    def f(self):
        self.update_state(state=state)

    result = f.delay()
    work(app)

    assert isinstance(result.result, ValueError)
    assert str(result.result) == (
        f"update_state(state={state!r}) of {result.id} would have another worker run the task, or none. Nothing was "
        "written. Choose another word; to have a task tried again, it calls self.retry()"
    )
    assert statuses(folder, result.id) == ["STARTED", "FAILURE"]


def test_a_task_that_reports_that_it_has_started_loses_nothing_of_what_is_known_of_its_tries(app, folder, work, clock):
    @app.task(bind=True, name="f")
    def f(self, x):
        if self.request.retries == 0:
            raise self.retry(args=[2], countdown=0)
        self.update_state(state="STARTED", meta={"pid": 3})
        return x

    result = f.delay(1)
    work(app)

    report = [line for line in all_states(folder) if line["status"] == "STARTED"][-1]
    assert (report["retries"], report["changes"], report["attempt"]) == (1, {"params": [2], "args": None}, 2)
    assert result.get(timeout=1) == 2


def test_a_report_needs_a_task_and_a_state(app, add, folder):
    with pytest.raises(
        ValueError, match=r"update_state\(task_id=None, state='X'\) needs a task that runs, and a state"
    ):
        add.update_state(state="X")
    with pytest.raises(
        ValueError, match=r"update_state\(task_id='a', state=None\) needs a task that runs, and a state"
    ):
        add.update_state("a")

    assert not folder.path.exists()


def test_somebody_else_may_report_about_a_task_too(app, add, folder):
    add.update_state("a", "PROGRESS", 5)

    assert (app.AsyncResult("a").state, app.AsyncResult("a").info) == ("PROGRESS", 5)
    with pytest.raises(ValueError, match="would have another worker run the task, or none"):
        add.update_state("a", "STARTED")
