"""A task that runs in its caller's process takes the same way as in a worker, with nothing written and nothing waited for."""

import time

import pytest

from pmtq import PMTQ, Task, current_task
from pmtq.exceptions import Ignore, NotSerializable, Reject


@pytest.fixture
def eager(folder):
    """An app whose calls all run here and now."""
    app = PMTQ("eager", broker=f"file://{folder.path}", task_always_eager=True)
    yield app
    app.close()


class Odd(Exception):
    """An exception that no text rebuilds."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")
        self.one, self.two = one, two


def test_apply_runs_the_task_here_and_writes_nothing(add, folder):
    result = add.apply((2,), {"y": 3}, task_id="mine")

    assert (result.id, result.state, result.get(), result.traceback, result.name) == (
        "mine",
        "SUCCESS",
        5,
        None,
        "tasks.add",
    )
    assert not folder.path.exists()


def test_with_task_always_eager_every_call_is_so(eager, folder):
    @eager.task
    def f(x):
        return x

    assert [f.delay(1).get(), f.apply_async([2]).get(), f.apply_async([3], queue="low", countdown=60).get()] == [
        1,
        2,
        3,
    ]
    assert not folder.path.exists()


def test_a_call_by_name_is_posted_all_the_same(eager, folder):
    """As in Celery: there may be no function here."""
    eager.send_task("elsewhere")

    assert folder.queue().exists()


def test_arguments_that_do_not_fit_are_refused_at_the_call(eager):
    @eager.task(name="f")
    def f():
        pass

    with pytest.raises(TypeError, match=r"f\(\) too many positional arguments"):
        f.delay(1)
    assert isinstance(f.apply((1,)).result, TypeError)
    with pytest.raises(TypeError, match="no option 'countdwn'"):
        f.apply(countdwn=1)


def test_what_json_cannot_hold_is_refused_as_it_would_be_in_a_queue(eager):
    @eager.task(name="f")
    def f(x):
        return {x}

    with pytest.raises(NotSerializable):
        f.delay({1})
    assert isinstance(f.delay(1).result, NotSerializable)


def test_a_result_is_what_another_process_would_get(eager):
    @eager.task
    def f():
        return (1, [2])

    assert f.delay().get() == [1, [2]]


def test_a_failure_is_the_exception_itself(eager):
    @eager.task
    def f():
        raise Odd(1, 2)

    result = f.delay()

    assert (result.state, type(result.result), result.result.two) == ("FAILURE", Odd, 2)
    assert result.traceback.endswith("Odd: 1 and 2\n")
    with pytest.raises(Odd):
        result.get()


@pytest.mark.parametrize(
    ("setting", "throw", "raises"),
    [(False, None, False), (True, None, True), (False, True, True), (True, False, False)],
)
def test_a_failure_is_raised_at_once_if_that_is_wanted(folder, setting, throw, raises):
    app = PMTQ("app", broker=f"file://{folder.path}", task_eager_propagates=setting)

    @app.task
    def f():
        raise Odd(1, 2)

    options = {} if throw is None else {"throw": throw}
    try:
        state = f.apply(**options).state
    except Odd as error:
        state = error.two
    assert state == (2 if raises else "FAILURE")


@pytest.mark.parametrize(("error", "state"), [(Ignore(), "IGNORED"), (Reject("no"), "REJECTED")])
def test_what_is_no_failure_is_never_raised(eager, error, state):
    eager.conf.update(task_eager_propagates=True)

    @eager.task
    def f():
        raise error

    assert f.delay().state == state


def test_tries_are_made_at_once_however_long_they_would_have_to_wait(eager):
    """Celery raises ``Retry`` here if failures are to be raised."""
    eager.conf.update(task_eager_propagates=True)
    tried = []

    @eager.task(bind=True)
    def f(self, x):
        tried.append((x, self.request.retries, self.request.attempt, self.request.args))
        if self.request.retries < 2:
            raise self.retry(args=[x + 1], countdown=1000)
        return x

    began = time.monotonic()
    assert f.delay(1).get() == 3
    assert time.monotonic() - began < 5
    assert tried == [(1, 0, 1, [1]), (2, 1, 2, [2]), (3, 2, 3, [3])]


def test_a_call_that_is_put_back_is_run_again_at_once(eager):
    @eager.task(bind=True)
    def f(self):
        if not self.request.redelivered:
            raise Reject("not now", requeue=True)
        return self.request.retries

    assert f.delay().get() == 0


def test_the_request_of_a_call_that_runs_here_says_so(eager):
    @eager.task(bind=True, name="f")
    def f(self, x):
        request = self.request
        return [request.is_eager, request.called_directly, request.id, request.headers, request.mine, current_task.name]

    result = f.apply((1,), headers={"mine": 5})

    assert result.get() == [True, False, result.id, {"mine": 5}, 5, "f"]
    assert f.request.called_directly is True


def test_a_call_within_a_call_has_its_own_request_and_the_outer_goes_on_with_its_own(eager):
    @eager.task(bind=True)
    def inner(self):
        return [self.request.id, self.request.parent_id, self.request.root_id]

    @eager.task(bind=True)
    def outer(self):
        before = self.request.id
        result = inner.delay()
        return [before, result.id, result.get(), self.request.id, self.request.children]

    result = outer.delay()

    root, child, said, after, children = result.get()
    assert (root, after, children) == (result.id, result.id, [child])
    assert said == [child, root, root]


def test_a_call_within_a_direct_call_is_a_task_again(eager):
    @eager.task(bind=True)
    def inner(self):
        return self.request.called_directly

    @eager.task
    def helper():
        return inner.delay().get()

    @eager.task
    def outer():
        return helper()

    assert outer.delay().get() is False


def test_a_value_that_a_worker_would_throw_away_is_there(eager):
    @eager.task(ignore_result=True)
    def f():
        return 5

    assert (f.delay().get(), f.delay().state) == (5, "SUCCESS")


def test_reports_are_not_written(eager, folder):
    @eager.task(bind=True)
    def f(self):
        self.update_state(state="PROGRESS", meta=3)
        return 1

    assert f.delay().get() == 1
    assert not folder.path.exists()


def test_handlers_are_called_as_in_a_worker(eager):
    told = []

    class Telling(Task):
        def on_success(self, retval, task_id, args, kwargs):
            told.append((retval, task_id, args, kwargs))

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            told.append((repr(exc), task_id, args, kwargs))

    @eager.task(base=Telling)
    def f(x, y):
        return x // y

    ids = [f.delay(4, y=2).id, f.delay(1, 0).id]

    assert told == [
        (2, ids[0], [4], {"y": 2}),
        ("ZeroDivisionError('integer division or modulo by zero')", ids[1], [1, 0], {}),
    ]


def test_a_task_in_a_worker_may_run_another_one_here_and_have_its_value(app, work):
    """Nothing is waited for, so no worker is kept from its work."""

    @app.task(name="outer")
    def outer():
        return app.tasks["tasks.add"].apply((2, 3)).get()

    result = outer.delay()
    work(app)

    assert result.get(timeout=1) == 5
