"""What a caller keeps of a task."""

import pytest

from pmtq.exceptions import TaskError, TaskRevokedError, TimeoutError, WorkerLostError  # noqa: A004  (Celery's name)
from pmtq.records import StateRecord
from pmtq.result import AsyncResult, rebuilt
from pmtq.states import FAILURE, PENDING, REJECTED, REVOKED, STARTED, SUCCESS


class Known:
    """Stands in for a backend that knows one state."""

    def __init__(self, state):
        self.told, self.questions = state, 0

    def state(self, task_id):
        self.questions += 1
        return self.told

    def wait(self, task_id, timeout):
        return self.told if self.told.status in {SUCCESS, FAILURE, REVOKED, REJECTED} else None


def result_of(*args, **kwargs):
    return AsyncResult("a", Known(StateRecord("a", *args, **kwargs)))


class Custom(Exception):
    def __init__(self, code, why):
        super().__init__(code, why)
        self.code = code


def failure(kind, message="", **more):
    return StateRecord("a", FAILURE, error={"type": kind, "message": message, **more}, traceback="Traceback …")


def test_a_task_of_which_nothing_is_known_is_pending():
    result = result_of(PENDING)

    assert (result.state, result.status, result.ready(), result.successful(), result.failed()) == (
        PENDING, PENDING, False, False, False
    )  # fmt: skip
    assert (result.result, result.info, result.traceback) == (None, None, None)


def test_a_task_that_went_well_has_its_value():
    result = result_of(SUCCESS, [1, 2])

    assert (result.state, result.ready(), result.successful(), result.failed()) == (SUCCESS, True, True, False)
    assert (result.result, result.info, result.get(), result.wait(timeout=1)) == ([1, 2],) * 4


def test_a_running_task_shows_what_it_last_reported():
    result = result_of("PROGRESS", {"done": 3})

    assert (result.state, result.ready(), result.info) == ("PROGRESS", False, {"done": 3})


def test_a_task_that_failed_raises_its_own_exception():
    result = AsyncResult("a", Known(failure("ValueError", "no such file")))

    with pytest.raises(ValueError, match="no such file"):
        result.get()
    assert (result.failed(), result.traceback) == (True, "Traceback …")
    assert repr(result.result) == repr(result.get(propagate=False)) == "ValueError('no such file')"


def test_an_exception_is_rebuilt_from_its_arguments():
    error = rebuilt(failure(f"{__name__}.Custom", "(7, 'why')", args=[7, "why"]))

    assert (type(error), error.args, error.code) == (Custom, (7, "why"), 7)


@pytest.mark.parametrize(
    "kind",
    [
        "nowhere.Missing",
        "os.system",
        "builtins.exit",
        "SystemExit",
        "KeyboardInterrupt",
        "BaseException",
        "",
        "subprocess.Popen",
    ],
)
def test_what_is_no_imported_exception_stays_text(kind):
    error = rebuilt(failure(kind, "boom", args=["touch /tmp/x"]))

    assert (type(error), error.type_name) == (TaskError, kind)
    assert "boom" in str(error)


@pytest.mark.parametrize("args", [["one"], [], 7, {"a": 1}, None])
def test_an_exception_whose_constructor_does_not_fit_is_a_stand_in(args):
    error = rebuilt(failure(f"{__name__}.Custom", "boom", args=args))

    assert (type(error), error.type_name) == (TaskError, f"{__name__}.Custom")


@pytest.mark.parametrize("error", [None, {}, {"type": 7, "message": 8}, {"type": "ValueError"}])
def test_an_error_that_says_little_is_an_exception_all_the_same(error):
    assert isinstance(rebuilt(StateRecord("a", FAILURE, error=error)), Exception)


def test_exceptions_of_pmtq_say_which_task():
    lost = rebuilt(failure("pmtq.exceptions.WorkerLostError", "3 workers died"))
    revoked = rebuilt(
        StateRecord("a", REVOKED, error={"type": "pmtq.exceptions.TaskRevokedError", "message": "expired"})
    )

    assert (type(lost), str(lost)) == (WorkerLostError, "task a: 3 workers died")
    assert (type(revoked), str(revoked)) == (TaskRevokedError, "task a: expired")


def test_giving_up_says_where_the_task_stands_and_what_to_type():
    with pytest.raises(TimeoutError) as caught:
        result_of(STARTED).get(timeout=0.5)

    assert str(caught.value) == (
        "task a is STARTED after 0.5 s. If it was ever sent, it is still queued or running, and its result will be kept. "
        "Is a worker there, and what does the task wait for? pmtq status; pmtq queue"
    )


def test_a_final_state_is_asked_for_once_and_another_one_each_time():
    ended, running = result_of(SUCCESS, 1), result_of(STARTED)

    for result in (ended, running):
        _ = [result.state for _ in range(3)]

    assert (ended._backend.questions, running._backend.questions) == (1, 3)


def test_two_promises_of_one_task_are_equal():
    one, two = AsyncResult("a", Known(None)), AsyncResult("a", Known(None))

    assert one == two
    assert one != AsyncResult("b", Known(None))
    assert one != "a"
    assert len({one, two}) == 1
    assert (repr(one), one.id, one.task_id) == ("<AsyncResult: a>", "a", "a")
