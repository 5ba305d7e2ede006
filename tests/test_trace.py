"""Everything around a call: who is told what, in which order; tries by themselves; limits; kept output."""

import asyncio
import logging
import signal
import threading
import time

import pytest

from pmtq import PMTQ, Task, signals
from pmtq.clock import moved_clock
from pmtq.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from pmtq.failures import ExceptionInfo
from pmtq.output import output_path
from pmtq.records import epoch
from pmtq.trace import Trace
from pmtq.utils.log import get_task_logger
from tests.support import NOW, all_states, life

SIGNALS = ("prerun", "postrun", "success", "failure", "retry", "rejected", "internal_error")


@pytest.fixture
def clock():
    """A clock that stands still until the test moves it."""
    with moved_clock(at=NOW) as clock:
        yield clock


def shown(value):
    return (
        repr(value)
        if isinstance(value, BaseException)
        else type(value).__name__
        if hasattr(value, "traceback")
        else value
    )


class Telling(Task):
    """A task whose handlers write down that they were called, and how."""

    log: list = []  # noqa: RUF012  (emptied by each test)

    def before_start(self, task_id, args, kwargs):
        self.log.append(("before_start", list(args), kwargs))

    def on_success(self, retval, task_id, args, kwargs):
        self.log.append(("on_success", retval, list(args), kwargs))

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        assert self.request.id == task_id
        self.log.append(("on_failure", shown(exc), list(args), kwargs, shown(einfo)))

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.log.append(("on_retry", shown(exc), list(args), kwargs, shown(einfo)))

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self.log.append(("after_return", status, shown(retval), list(args), kwargs, shown(einfo)))


@pytest.fixture
def told():
    """What handlers and receivers were told, in order."""
    log = Telling.log
    log.clear()
    receivers = []
    for name in SIGNALS:

        def receive(sender, signal=None, name=name, **about):
            about = {
                key: shown(value) for key, value in about.items() if key not in {"task_id", "traceback", "request"}
            }
            about.pop("runtime", None)
            if task := about.pop("task", None):
                assert task is sender
            log.append((f"task_{name}", about))

        receivers.append(receive)
        getattr(signals, f"task_{name}").connect(receive, weak=False)
    yield log
    for name, receive in zip(SIGNALS, receivers, strict=True):
        getattr(signals, f"task_{name}").disconnect(receive)


CALL = {"args": [1], "kwargs": {}}
BEGIN = [("task_prerun", CALL), ("before_start", [1], {})]


def run(app, work, body, **options):
    app.task(name="f", base=Telling, bind=True, **options)(body)
    result = app.tasks["f"].delay(1)
    work(app)
    return result


# What is expected in the following six was written down from Celery 5.7 with one worker, but where it says otherwise.


def test_who_is_told_of_a_success(app, work, told):
    run(app, work, lambda self, x: (x, [2]))

    assert told == [
        *BEGIN,
        ("on_success", (1, [2]), [1], {}),
        ("task_success", {"result": (1, [2])}),
        ("after_return", "SUCCESS", (1, [2]), [1], {}, None),
        ("task_postrun", {**CALL, "retval": (1, [2]), "state": "SUCCESS"}),
    ]


def test_who_is_told_of_a_failure(app, work, told):
    """In Celery ``after_return`` gets no ``einfo``, although its documentation promises one."""

    def body(self, x):
        raise ValueError("no")

    run(app, work, body)

    assert told == [
        *BEGIN,
        ("on_failure", "ValueError('no')", [1], {}, "ExceptionInfo"),
        ("task_failure", {**CALL, "exception": "ValueError('no')", "einfo": "ExceptionInfo"}),
        ("after_return", "FAILURE", "ValueError('no')", [1], {}, "ExceptionInfo"),
        ("task_postrun", {**CALL, "retval": "ValueError('no')", "state": "FAILURE"}),
    ]


@pytest.mark.parametrize("exc", [KeyError("k"), None])
def test_who_is_told_of_a_retry(app, work, told, exc, clock):
    def body(self, x):
        if self.request.retries == 0:
            raise self.retry(args=[x + 1], exc=exc, countdown=0)
        return x

    run(app, work, body)

    reason = shown(exc)
    again = told[4][1]["retval"]
    assert again == "Retry('')"
    assert told == [
        *BEGIN,
        ("on_retry", reason, [1], {}, "ExceptionInfo"),
        ("task_retry", {"reason": again, "einfo": "ExceptionInfo"}),
        ("task_postrun", {**CALL, "retval": again, "state": "RETRY"}),
        ("task_prerun", {**CALL, "args": [2]}),
        ("before_start", [2], {}),
        ("on_success", 2, [2], {}),
        ("task_success", {"result": 2}),
        ("after_return", "SUCCESS", 2, [2], {}, None),
        ("task_postrun", {"args": [2], "kwargs": {}, "retval": 2, "state": "SUCCESS"}),
    ]


def test_who_is_told_of_a_call_that_is_ignored(app, work, told):
    def body(self, x):
        raise Ignore

    result = run(app, work, body)

    assert told == [*BEGIN, ("task_postrun", {**CALL, "retval": "Ignore()", "state": "IGNORED"})]
    assert result.state == "IGNORED"


def test_who_is_told_of_a_call_that_is_rejected(app, work, told, folder):
    """In Celery it ends as FAILURE here, and only ``task_failure`` is sent besides."""

    def body(self, x):
        raise Reject("too large")

    result = run(app, work, body)

    rejection = "Reject('too large', False)"
    assert [entry for entry in told if entry[0] != "task_rejected"] == [
        *BEGIN,
        ("task_postrun", {**CALL, "retval": rejection, "state": "REJECTED"}),
    ]
    (rejected,) = [entry[1] for entry in told if entry[0] == "task_rejected"]
    assert (rejected["message"].task_id, rejected["exc"]) == (result.id, rejection)
    assert result.state == "REJECTED"
    assert all_states(folder)[-1]["error"]["message"] == "the task refused the call: too large"


def test_who_is_told_of_a_call_that_is_put_back(app, work, told, clock, folder):
    def body(self, x):
        if not self.request.redelivered:
            raise Reject("not now", requeue=True)
        return self.request.retries

    result = run(app, work, body)
    assert told == [*BEGIN, ("task_postrun", {**CALL, "retval": "Reject('not now', True)", "state": "REJECTED"})]
    clock.advance(1)
    work(app)

    assert result.get(timeout=1) == 0
    assert life(folder, result.id) == [("STARTED", 1), ("RETRY", 1), ("STARTED", 2), ("SUCCESS", 2)]


def test_a_call_that_is_put_back_keeps_what_an_earlier_try_changed(app, work, clock):
    tried = []

    @app.task(name="f", bind=True)
    def f(self, x):
        tried.append((x, self.request.retries))
        if len(tried) == 1:
            raise self.retry(args=[2], countdown=0)
        if len(tried) == 2:
            raise Reject("not now", requeue=True)

    f.delay(1)
    work(app)
    clock.advance(1)
    work(app)

    assert tried == [(1, 0), (2, 1), (2, 1)]


def test_a_result_that_cannot_be_written_down_is_told_as_the_failure_it_is(app, work, told):
    result = run(app, work, lambda self, x: "x" * 2_000_000)

    assert [entry[0] for entry in told] == [
        "task_prerun", "before_start", "on_failure", "task_failure", "after_return", "task_postrun"
    ]  # fmt: skip
    assert "NotSerializable" in told[2][1]
    assert result.state == "FAILURE"


def test_a_value_that_is_thrown_away_is_told_all_the_same(app, work, told, folder):
    result = run(app, work, lambda self, x: {x}, ignore_result=True)

    assert ("on_success", {1}, [1], {}) in told
    assert ("task_success", {"result": {1}}) in told
    assert (result.state, result.result) == ("SUCCESS", None)
    assert "result" not in all_states(folder)[-1]


@pytest.mark.parametrize(
    ("of_app", "of_task", "of_call", "kept"),
    [
        (False, None, None, True),
        (True, None, None, False),
        (True, False, None, True),
        (False, True, None, False),
        (False, True, False, True),
        (False, None, True, False),
    ],
)
def test_whether_a_value_is_thrown_away_is_said_by_the_call_the_task_or_the_app(
    folder, work, of_app, of_task, of_call, kept
):
    app = PMTQ("app", broker=f"file://{folder.path}", task_ignore_result=of_app)

    @app.task(name="f", ignore_result=of_task)
    def f():
        return 5

    result = f.apply_async(ignore_result=of_call)
    work(app)

    assert (result.state, result.result) == ("SUCCESS", 5 if kept else None)
    app.close()


def test_a_failure_is_kept_though_values_are_thrown_away(app, work):
    @app.task(name="f", ignore_result=True)
    def f():
        raise KeyError("k")

    result = f.delay()
    work(app)

    assert repr(result.result) == "KeyError('k')"


@pytest.mark.parametrize("handler", ["on_success", "on_failure", "on_retry", "after_return"])
def test_a_handler_that_raises_is_logged_and_changes_nothing(app, work, told, caplog, handler, monkeypatch):
    def broken(*_):
        raise RuntimeError("handler")

    monkeypatch.setattr(Telling, handler, broken)

    def body(self, x):
        if handler == "on_failure":
            raise ValueError("no")
        if handler == "on_retry" and self.request.retries == 0:
            self.retry(countdown=0)
        return x

    with moved_clock(at=NOW):
        result = run(app, work, body)

    assert result.state == ("FAILURE" if handler == "on_failure" else "SUCCESS")
    (internal,) = [about for name, *about in told if name == "task_internal_error"]
    assert internal == [{**CALL, "exception": "RuntimeError('handler')", "einfo": "ExceptionInfo"}]
    (logged,) = [record.getMessage() for record in caplog.records if "handler failed" in record.getMessage()]
    state = "RETRY" if handler == "on_retry" else result.state
    assert logged == f"Task f {result.id}: a handler failed; its outcome stays {state}"
    assert told[-1][0] == "task_postrun"


def test_before_start_may_refuse_the_call(app, work, told, monkeypatch):
    ran = []

    def refuse(*_):
        raise PermissionError("no")

    monkeypatch.setattr(Telling, "before_start", refuse)
    result = run(app, work, lambda self, x: ran.append(x))

    assert (result.state, repr(result.result), ran) == ("FAILURE", "PermissionError('no')", [])
    assert [entry[0] for entry in told] == [
        "task_prerun", "on_failure", "task_failure", "after_return", "task_postrun"
    ]  # fmt: skip


def test_einfo_holds_the_exception_and_its_traceback_as_text(app, work, monkeypatch):
    found = []
    monkeypatch.setattr(Telling, "on_failure", lambda self, *args: found.append(args[-1]))

    def body(self, x):
        raise ValueError("no")

    run(app, work, body)

    (einfo,) = found
    assert isinstance(einfo, ExceptionInfo)
    assert (einfo.type, repr(einfo.exception)) == (ValueError, "ValueError('no')")
    assert str(einfo).startswith("Traceback (most recent call last)")
    assert str(einfo).endswith("ValueError: no\n")


def test_a_task_without_wishes_is_a_function_call(app, add, folder):
    class Handler(Task):
        def on_success(self, *_):
            pass

    wishes = {
        "plain": app.task(name="plain")(lambda: None),
        "retry": app.task(name="retry", autoretry_for=[KeyError])(lambda: None),
        "limit": app.task(name="limit", soft_time_limit=3)(lambda: None),
        "kept": app.task(name="kept", keep_output=True)(lambda: None),
        "ignored": app.task(name="ignored", ignore_result=True)(lambda: None),
        "handler": app.task(name="handler", base=Handler)(lambda: None),
    }

    assert [name for name, task in wishes.items() if Trace(task).is_plain] == ["plain"]


def test_a_receiver_that_is_connected_later_is_noticed(add):
    trace = Trace(add)

    def receive(**_):
        pass

    signals.task_success.connect(receive)
    trace.look_again()
    noticed = trace.is_plain
    signals.task_success.disconnect(receive)
    trace.look_again()

    assert (noticed, trace.is_plain) == (False, True)


# --- tries by themselves ---------------------------------------------------------------------------------------------


class Broken(Exception):
    pass


class Torn(Broken):
    pass


def tries(app, error=Torn, **options):
    """Return the countdowns in seconds of a task's tries, and how it ended."""
    waits = []

    class Noting(Task):
        def on_retry(self, *_):
            pass

    @app.task(name="f", base=Noting, **options)
    def f():
        raise error("s")

    def receive(reason, **_):
        waits.append(round(epoch(reason.when) - NOW, 3))

    signals.task_retry.connect(receive)
    with moved_clock(at=NOW):
        result = f.apply()
    signals.task_retry.disconnect(receive)
    return waits, result.state


# Again what Celery 5.7 does, but for one line.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"autoretry_for": (Broken,)}, [180, 180, 180]),
        ({"autoretry_for": [Broken], "max_retries": 1}, [180]),
        ({"autoretry_for": (Broken,), "default_retry_delay": 7, "max_retries": 1}, [7]),
        ({"autoretry_for": (Broken,), "dont_autoretry_for": (Torn,)}, []),
        ({"autoretry_for": (KeyError,)}, []),
        ({"autoretry_for": (KeyError, Broken), "max_retries": 0}, []),
        ({"autoretry_for": (Broken,), "retry_kwargs": {"max_retries": 1, "countdown": 4}}, [4]),
        ({"autoretry_for": (Broken,), "retry_kwargs": {"max_retries": 2}, "max_retries": 1}, [180, 180]),
        ({"autoretry_for": (Broken,), "retry_backoff": True, "retry_jitter": False}, [1, 2, 4]),
        (
            {
                "autoretry_for": (Broken,),
                "retry_backoff": 5,
                "retry_jitter": False,
                "retry_backoff_max": 12,
                "max_retries": 4,
            },
            [5, 10, 12, 12],
        ),
        (
            {
                "autoretry_for": (Broken,),
                "retry_backoff": True,
                "retry_jitter": False,
                "retry_kwargs": {"countdown": 9},
            },
            [1, 2, 4],
        ),
        # Celery waits whole seconds, and so 1 here.
        ({"autoretry_for": (Broken,), "retry_backoff": 0.5, "retry_jitter": False, "max_retries": 2}, [0.5, 1]),
    ],
)
def test_a_task_is_tried_again_by_itself_after_the_exceptions_it_names(app, options, expected):
    assert tries(app, **options) == (expected, "FAILURE")


def test_with_jitter_the_waits_are_within_their_bounds(app):
    waits, _ = tries(app, autoretry_for=(Broken,), retry_backoff=8, max_retries=4)

    assert all(0 <= wait <= most for wait, most in zip(waits, (8, 16, 32, 64), strict=True))


@pytest.mark.parametrize(("error", "state"), [(Ignore, "IGNORED"), (Reject, "REJECTED")])
def test_what_says_itself_how_the_call_is_to_end_is_no_reason_to_try_again(app, error, state):
    """Celery tries a rejected call again, if it is told to for every exception."""
    assert tries(app, error=error, autoretry_for=(Exception,)) == ([], state)


def test_a_retry_of_the_tasks_own_is_not_tried_again_by_itself_on_top(app, work):
    @app.task(bind=True, autoretry_for=(Exception,), name="f")
    def f(self):
        if self.request.retries == 0:
            raise self.retry(countdown=0, exc=KeyError("mine"))
        return self.request.retries

    assert f.apply().get() == 1


def test_tries_by_themselves_have_the_exception_as_their_reason(app, folder, work):
    @app.task(name="f", autoretry_for=(Broken,), max_retries=1, default_retry_delay=0)
    def f():
        raise Torn("s")

    result = f.delay()
    work(app)

    assert [(line["status"], line.get("error")) for line in all_states(folder)] == [
        ("STARTED", None),
        ("RETRY", {"type": f"{__name__}.Torn", "message": "s"}),
        ("STARTED", None),
        ("FAILURE", {"type": f"{__name__}.Torn", "message": "s"}),
    ]
    with pytest.raises(Torn):
        result.get(timeout=1)


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_task_that_takes_longer_than_its_soft_limit_can_clean_up(app, work):
    cleaned = []

    @app.task(name="f", soft_time_limit=0.02)
    def f():
        try:
            while True:
                time.sleep(0.01)
        except SoftTimeLimitExceeded as error:
            cleaned.append(str(error))
            raise

    result = f.delay()
    work(app)

    assert cleaned == ["it ran longer than its soft time limit of 0.02 s"]
    assert (result.state, type(result.result)) == ("FAILURE", SoftTimeLimitExceeded)


def test_the_soft_limit_of_a_call_goes_before_the_tasks(app, work):
    @app.task(name="f", soft_time_limit=60)
    def f():
        while True:
            time.sleep(0.01)

    result = f.apply_async(soft_time_limit=0.02)
    work(app)

    assert type(result.result) is SoftTimeLimitExceeded


@pytest.fixture
def alarm():
    """A function that sets the process's alarm clock, which is as before when the test is over."""
    before, (left, _) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, left)


@pytest.mark.parametrize("seconds", [0.0, 500.0])
def test_a_task_leaves_the_alarm_clock_as_it_found_it(app, work, alarm, seconds):
    @app.task(name="f", soft_time_limit=60)
    def f():
        return 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60

    alarm(seconds)
    before = signal.getsignal(signal.SIGALRM)
    result = f.delay()
    work(app)

    left, _ = signal.getitimer(signal.ITIMER_REAL)
    assert (result.get(timeout=1), signal.getsignal(signal.SIGALRM)) == (True, before)
    assert max(0.0, seconds - 10) <= left <= seconds


def test_in_other_threads_a_soft_limit_is_passed_over(app, work_until):
    @app.task(name="f", soft_time_limit=0.001)
    def f():
        time.sleep(0.01)
        return threading.current_thread() is not threading.main_thread()

    result = f.delay()
    work_until(app, result.ready)

    assert result.get(timeout=1) is True


@pytest.mark.parametrize(("of_app", "of_task", "of_call", "limit"), [(9, None, None, 9), (9, 5, None, 5), (9, 5, 3, 3)])
def test_a_hard_limit_is_told_to_who_stands_by(folder, of_app, of_task, of_call, limit):
    from pmtq.presence import Presence
    from pmtq.worker.board import Board
    from pmtq.worker.consumer import Consumer

    app = PMTQ("app", broker=f"file://{folder.path}", task_time_limit=of_app)
    heard = []

    class Standby(Board):
        def hard_limit(self, *about):
            heard.append(about)

    @app.task(name="f", time_limit=of_task)
    def f():
        heard.append("runs")
        raise KeyError

    result = f.apply_async(time_limit=of_call)
    here = Presence(folder, "w1", {})
    Consumer(folder, here, ["celery"], app.tasks, Standby()).run(burst=True)
    here.leave()

    assert heard == [(result.id, limit), "runs", (result.id, 0.0)]
    app.close()


def test_a_task_run_by_its_caller_is_held_to_no_limit(app, alarm):
    """The caller's process may need its signals for itself."""

    @app.task(soft_time_limit=0.001, time_limit=0.001)
    def f():
        time.sleep(0.005)
        return signal.getitimer(signal.ITIMER_REAL)

    alarm(0.0)
    assert f.apply().get() == [0.0, 0.0]


# --- coroutine functions ---------------------------------------------------------------------------------------------


@pytest.fixture
def _loop():
    """Close the event loop that this thread keeps for tasks."""
    yield
    from pmtq import trace

    if runner := vars(trace._loops).pop("runner", None):
        runner.close()


@pytest.mark.usefixtures("_loop")
def test_a_coroutine_function_runs_to_its_end_each_call_with_a_request_of_its_own(app, work):
    loops = set()

    @app.task(name="f", bind=True)
    async def f(self, x):
        await asyncio.sleep(0)
        loops.add(id(asyncio.get_running_loop()))
        return [x, self.request.id]

    results = [f.delay(number) for number in range(3)]
    work(app)

    assert [result.get(timeout=1) for result in results] == [[n, result.id] for n, result in enumerate(results)]
    assert len(loops) == 1


@pytest.mark.usefixtures("_loop")
def test_a_coroutine_function_may_fail_and_be_tried_again(app, work, told):
    async def body(self, x):
        await asyncio.sleep(0)
        if self.request.retries == 0:
            raise self.retry(countdown=0, args=[x + 1])
        if self.request.retries == 1:
            raise Broken("s")
        return x

    result = run(app, work, body, autoretry_for=(Broken,), retry_kwargs={"countdown": 0})

    assert result.get(timeout=1) == 2
    assert [entry[0] for entry in told].count("on_retry") == 2


@pytest.mark.usefixtures("_loop")
def test_a_coroutine_function_is_called_through_its_class_too(app, work):
    entered = []

    class Own(Task):
        def __call__(self, *args, **kwargs):
            entered.append(args)
            return super().__call__(*args, **kwargs)

    @app.task(name="f", base=Own)
    async def f(x):
        return x

    result = f.delay(1)
    work(app)

    assert (result.get(timeout=1), entered) == (1, [(1,)])


def test_in_an_event_loop_a_call_has_the_same_handlers(app, told):
    from pmtq.claim import Claim
    from pmtq.records import StateRecord, TaskRecord
    from pmtq.request import running

    @app.task(name="f", base=Telling, bind=True)
    async def f(self, x):
        await asyncio.sleep(0)
        return [x, self.request.id]

    async def call():
        claim = Claim(TaskRecord(task_id="a", function="f"), StateRecord("a"))
        running.set(claim)
        return await Trace(f).call_async(claim, [1], {})

    assert asyncio.run(call()) == [1, "a"]
    assert told == BEGIN


# --- kept output -----------------------------------------------------------------------------------------------------


def test_what_a_task_prints_and_logs_is_kept_under_its_id(app, work, folder, caplog):
    log = get_task_logger("shop")

    @app.task(name="f", keep_output=True, bind=True)
    def f(self):
        print("try", self.request.retries)
        log.warning("logged")
        if self.request.retries == 0:
            raise self.retry(countdown=0)

    result = f.delay()
    with caplog.at_level(logging.INFO):
        work(app)

    kept = output_path(folder.logs, result.id).read_text().splitlines()
    assert [line.partition(" WARNING ")[2] or line for line in kept] == [
        "try 0", "shop: logged", "try 1", "shop: logged"
    ]  # fmt: skip
    lines = [(record.task_id, record.task_name) for record in caplog.records if record.name == "shop"]
    assert lines == [(result.id, "f")] * 2


def test_unless_asked_for_nothing_is_kept(app, work, add, folder):
    add.delay(1)
    work(app)

    assert not folder.logs.exists()


def test_rate_limits_become_seconds_between_starts_unless_they_are_turned_off(folder):
    def terms(rate, **settings):
        app = PMTQ("app", broker=f"file://{folder.path}", **settings)
        return Trace(app.task(name="f", rate_limit=rate)(lambda: None)).terms.interval

    assert [terms("10/m"), terms(2), terms(None), terms(None, task_default_rate_limit="1/s")] == [6.0, 0.5, 0.0, 1.0]
    assert terms("10/m", worker_disable_rate_limits=True) == 0.0
