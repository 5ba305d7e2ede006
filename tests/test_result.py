"""What a caller keeps of a task."""

import asyncio
import shutil
import threading
from datetime import UTC, datetime

import pytest

from pmtq import PMTQ, group
from pmtq.exceptions import (
    Ignore,
    IncompleteStream,
    RemoteTraceback,
    TaskError,
    TaskRevokedError,
    TimeoutError,  # noqa: A004  (Celery's name)
    WorkerLostError,
)
from pmtq.failures import rebuilt
from pmtq.journal import Journal
from pmtq.ledger import release
from pmtq.records import StateRecord, timestamp
from pmtq.result import AsyncResult, ResultSet, allow_join_result, denied_join_result
from pmtq.states import (
    FAILURE,
    FINAL_STATES,
    IGNORED,
    LOST,
    PENDING,
    RELEASED,
    RETRY,
    REVOKED,
    STARTED,
    SUCCESS,
)
from tests.support import NOW, eventually


class Known:
    """Stands in for a backend that knows one state."""

    def require_values(self, task_id):
        pass

    def __init__(self, state):
        self.told, self.questions = state, 0

    def state(self, task_id, elsewhere):
        self.questions += 1
        return self.told

    def wait(self, task_id, timeout, told, elsewhere):
        return self.told if self.told.status in FINAL_STATES else None

    def was_forgotten(self, task_id):
        return False


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

    assert (ended.backend.questions, running.backend.questions) == (1, 3)


def test_two_promises_of_one_task_are_equal():
    one, two = AsyncResult("a", Known(None)), AsyncResult("a", Known(None))

    assert one == two
    assert one != AsyncResult("b", Known(None))
    assert (one, {one: 1}[two]) == ("a", 1)  # as in Celery, text counts as an id
    assert len({one, two}) == 1
    assert (repr(one), one.id, one.task_id) == ("<AsyncResult: a>", "a", "a")


@pytest.fixture
def ended(app, work):
    """A function that posts a call, has it run, and returns its result as another process would see it."""

    def ended(name, *args, **options):
        sent = app.send_task(name, args, **options)
        work(app)
        return app.AsyncResult(sent.id)

    return ended


@pytest.fixture
def fail(app):
    """A task that raises."""

    @app.task(name="tasks.fail")
    def fail(message="no such file"):
        raise ValueError(message)

    return fail


def test_a_result_knows_the_call_as_long_as_its_record_stands_in_a_file(app, work, folder):
    sent = app.send_task("tasks.add", [1], {"y": 2})
    work(app)
    other = app.AsyncResult(sent.id)

    assert (other.name, other.args, other.kwargs, other.queue, other.exists()) == (
        "tasks.add", [1], {"y": 2}, "celery", True
    )  # fmt: skip
    shutil.rmtree(folder.sealed, ignore_errors=True)
    folder.queue().write_bytes(b"")
    later = app.AsyncResult(sent.id)
    assert (later.name, later.args, later.kwargs, later.queue, later.exists()) == (None, None, None, None, True)


def test_a_result_knows_who_ran_the_task_when_and_at_which_try(app, ended):
    before = datetime.now(UTC).replace(microsecond=0)

    result = ended("tasks.add", 1)

    assert (result.worker, result.retries) == ("worker1@test", 0)
    assert before <= result.date_done <= datetime.now(UTC)


def test_of_an_id_that_nobody_sent_nothing_exists(app):
    result = app.AsyncResult("nobody")

    assert (result.exists(), result.state, result.info, result.worker, result.date_done, result.children) == (
        False, PENDING, None, None, None, None
    )  # fmt: skip


def test_a_task_that_waits_exists(app, add):
    result = app.AsyncResult(add.delay(1).id)

    assert (result.exists(), result.state) == (True, PENDING)


def test_a_started_task_says_where_and_since_when(app):
    result = result_of(STARTED, worker="w1", attempt=2, at="2027-01-15T08:00:00.000Z")

    assert result.info == {"hostname": "w1", "attempt": 2, "at": "2027-01-15T08:00:00.000Z"}
    assert result.info.get("current", 0) == 0


def test_a_task_that_is_to_be_tried_again_shows_why():
    error = {"type": "ValueError", "message": "busy"}
    result = AsyncResult("a", Known(StateRecord("a", RETRY, error=error, traceback="Traceback …", retries=2)))

    assert (repr(result.result), repr(result.info), result.retries, result.traceback, result.ready()) == (
        "ValueError('busy')", "ValueError('busy')", 2, "Traceback …", False
    )  # fmt: skip


def test_a_failure_that_the_task_reported_itself_shows_what_it_reported():
    result = result_of(FAILURE, {"exc": "halted"})

    assert (result.info, result.failed()) == ({"exc": "halted"}, True)
    with pytest.raises(TaskError, match=r"the task says FAILURE: \{'exc': 'halted'\}"):
        result.get()
    assert result.get(propagate=False) == {"exc": "halted"}


def test_an_ignored_task_raises_that_it_is_ignored():
    result = result_of(IGNORED, error={"type": "pmtq.exceptions.Ignore", "message": "nothing new"})

    assert (result.ignored, result.ready()) == (True, True)
    with pytest.raises(Ignore, match="nothing new"):
        result.get()


def test_a_result_that_was_set_to_be_ignored_is_not_waited_for(app):
    result = app.AsyncResult("nobody")
    result.ignored = True

    assert (result.ignored, result.get()) == (True, None)


def test_the_traceback_in_the_worker_is_the_cause_of_what_is_raised(ended, fail):
    result = ended("tasks.fail")

    with pytest.raises(ValueError, match="no such file") as caught:
        result.get()

    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert str(caught.value.__cause__).strip() == result.traceback.strip()
    assert result.traceback.rstrip().endswith("ValueError: no such file")


def test_what_may_be_raised_is_left_to_the_caller(ended, fail):
    result, told = ended("tasks.fail"), []

    with pytest.raises(ValueError, match="no such file"):
        result.maybe_throw()
    value = result.maybe_reraise(propagate=False, callback=lambda *args: told.append(args))

    assert (repr(value), [(task_id, repr(error)) for task_id, error in told]) == (
        "ValueError('no such file')", [(result.id, "ValueError('no such file')")]
    )  # fmt: skip


def test_who_waits_hears_of_the_states_on_the_way_and_of_the_end(app, add, work):
    result, messages, ends, looks = add.delay(1, 2), [], [], []
    work(app)

    value = result.get(
        timeout=5,
        callback=lambda *args: ends.append(args),
        on_message=messages.append,
        on_interval=lambda: looks.append(1),
    )

    assert (value, ends, [message["status"] for message in messages], looks) == (3, [(result.id, 3)], [SUCCESS], [1])


def test_waiting_inside_a_task_is_refused_unless_it_is_allowed(app, ended):
    seen = []

    @app.task(name="tasks.wait")
    def wait():
        done, other = (AsyncResult("a", Known(StateRecord("a", SUCCESS, 5))) for _ in range(2))
        with pytest.raises(RuntimeError, match=r"get\(\) inside a task waits for a worker while it keeps one"):
            done.get()
        with pytest.raises(RuntimeError, match="inside a task"):
            ResultSet([done]).get()
        seen.append(done.get(disable_sync_subtasks=False))
        with allow_join_result():
            seen.append(done.get())
            with denied_join_result(), pytest.raises(RuntimeError, match="inside a task"):
                other.get()
            seen.append(other.get())

    assert (ended("tasks.wait").get(), seen) == (None, [5, 5, 5])


def test_a_callback_is_called_once_the_task_has_ended(app, add, work):
    result, calls = add.delay(1, 2), []

    assert result.then(calls.append) is result
    assert calls == []
    work(app)

    assert eventually(lambda: calls == [result])
    app.AsyncResult(result.id).then(lambda one: calls.append(one.get()))
    assert calls == [result, 3]


def test_of_a_task_that_failed_the_other_callback_is_called_if_there_is_one(ended, fail):
    result, calls = ended("tasks.fail"), []

    result.then(lambda one: calls.append(("ended", one.state)))
    result.then(lambda one: calls.append(("well", one.state)), on_error=lambda one: calls.append(("badly", one.state)))

    assert calls == [("ended", FAILURE), ("badly", FAILURE)]


def test_a_result_can_be_awaited_while_the_loop_goes_on(app, add, work_until):
    results = [add.delay(number) for number in range(50)]
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.001)

    async def main():
        ticking = asyncio.create_task(tick())
        values = await asyncio.gather(*results)
        ticking.cancel()
        return values

    values = []
    waiter = threading.Thread(target=lambda: values.extend(asyncio.run(main())))
    waiter.start()
    assert eventually(lambda: len(ticks) > 3)
    work_until(app, lambda: not waiter.is_alive())

    assert values == list(range(50))


def test_a_task_that_failed_raises_where_it_is_awaited(app, fail, ended):
    result = ended("tasks.fail")

    async def main():
        await result

    with pytest.raises(ValueError, match="no such file"):
        asyncio.run(main())


def test_awaiting_can_be_given_up_and_leaves_nothing_behind(app, add):
    result = add.delay(1)

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(result, 0.01)

    asyncio.run(main())

    assert app.backend.callbacks._calls == {}


def test_the_tries_of_a_task_are_told_with_worker_and_end(app, hand, add, folder):
    result = add.delay(1)
    dead, one = hand("w-dead"), hand("w1")
    dead.claim()
    dead.die()
    (claim,) = one.claim()
    again = StateRecord(result.id, RETRY, None, 2, "w1", timestamp(NOW + 1), 0.5, timestamp(NOW + 2))
    again.error = {"type": "ValueError", "message": "busy"}
    one.claimer.exchange([again], NOW + 1)
    (claim,) = one.claim(now=NOW + 3)
    one.claimer.exchange([release(claim.started, timestamp(NOW + 4))], NOW + 4)
    (claim,) = one.claim(now=NOW + 5)
    one.settle(claim, result=1, now=NOW + 6)

    told = [(one["attempt"], one["worker"], one["state"], one["began"], one["ended"]) for one in result.history()]

    at = [timestamp(NOW + second) for second in range(7)]
    assert told == [
        (1, "w-dead", LOST, at[0], at[0]),
        (2, "w1", RETRY, at[0], at[1]),
        (3, "w1", RELEASED, at[3], at[4]),
        (3, "w1", SUCCESS, at[5], at[6]),
    ]
    assert result.history()[1] | {"began": None, "ended": None} == {
        "attempt": 2, "worker": "w1", "state": RETRY, "began": None, "ended": None, "runtime": 0.5, "error": again.error
    }  # fmt: skip


def test_a_try_that_goes_on_has_no_end_yet(app, hand, add):
    result = add.delay(1)
    hand("w1").claim()
    app.backend.store(StateRecord(result.id, "PROGRESS", 3, 1, "w1"))

    assert result.history() == [
        {
            "attempt": 1, "worker": "w1", "began": timestamp(NOW), "state": "PROGRESS", "ended": None, "runtime": 0.0,
            "error": None,
        }
    ]  # fmt: skip


@pytest.fixture
def family(app):
    """A task that posts two others, one of which posts one more."""

    @app.task(name="tasks.grow")
    def grow(depth):
        if depth:
            app.send_task("tasks.add", [depth])
            app.send_task("tasks.grow", [depth - 1])
        return depth

    return app.send_task("tasks.grow", [2])


def test_what_a_task_posted_hangs_on_its_result(app, family, work):
    work(app)

    assert [(child.state, child.parent) for child in family.children] == [(SUCCESS, family)] * 2
    assert [value for _, value in family.collect()] == [2, 2, 1, 1, 0]
    assert [parent and parent.get() for parent, _ in family.iterdeps()] == [None, 2, 2, 1, 1]
    assert {node.get(): [child.get() for child in below] for node, below in family.graph.items() if below} == {
        2: [2, 1], 1: [1, 0]
    }  # fmt: skip
    assert family.get_leaf() == 0


def test_what_hangs_on_a_task_that_has_not_ended_is_not_known_yet(family):
    with pytest.raises(IncompleteStream, match=r"task \w+ is PENDING: what it posts is not known yet"):
        list(family.iterdeps())

    assert list(family.iterdeps(intermediate=True)) == [(None, family)]
    assert family.build_graph(intermediate=True) == {family: []}


def test_a_result_with_its_parents_can_be_stored(app):
    result = AsyncResult("c", app.backend, parent=AsyncResult("b", app.backend, parent=AsyncResult("a", app.backend)))

    assert result.as_tuple() == (("c", (("b", (("a", None), None)), None)), None)
    assert result.as_list() == ["c", "b", "a"]


def test_forgetting_a_result_forgets_its_parents_too(app, add, work):
    first, second = add.delay(1), add.delay(2)
    work(app)
    second.parent = first

    second.forget()

    assert (first.state, second.state) == (PENDING, PENDING)
    with pytest.raises(TimeoutError) as caught:
        second.get(timeout=0)
    assert str(caught.value) == (
        f"the result of task {second.id} was forgotten, so there is none after 0 s, and none will come"
    )


class Controlled:
    """Stands in for an app, and notes what it is asked to call off."""

    def __init__(self):
        self.control, self.asked = self, []

    def revoke(self, *args, **kwargs):
        self.asked.append((args, kwargs))


def test_a_task_or_several_are_called_off_through_the_app():
    app = Controlled()
    one, two = AsyncResult("a", Known(None), app=app), AsyncResult("b", Known(None), app=app)

    one.revoke(terminate=True, signal="SIGKILL")
    ResultSet([one, two]).revoke()

    assert app.asked == [
        (("a",), {"terminate": True, "signal": "SIGKILL"}),
        ((["a", "b"],), {"terminate": False, "signal": "SIGTERM"}),
    ]


def test_an_eager_result_answers_without_any_file(app, add, folder):
    result, calls = add.apply((1, 2)), []

    assert (result.get(), result.wait(), result.state, result.status, result.ready(), result.successful()) == (
        3, 3, SUCCESS, SUCCESS, True, True
    )  # fmt: skip
    assert (result.name, result.children, result.parent, result.traceback) == ("tasks.add", [], None, None)
    assert result.then(calls.append) is result
    result.forget()
    result.revoke()
    assert (calls, result.get(), repr(result)) == ([result], 3, f"<EagerResult: {result.id}>")
    assert asyncio.run(awaited(result)) == 3
    assert not folder.path.exists()


async def awaited(result):
    return await result


def test_an_eager_failure_raises_the_very_exception(fail):
    result = fail.apply(("gone",))

    with pytest.raises(ValueError, match="gone") as caught:
        result.get()

    assert (caught.value is result.result, result.failed(), caught.value.__cause__) == (True, True, None)
    assert result.traceback.rstrip().endswith("ValueError: gone")
    assert result.get(propagate=False) is result.result


def test_a_set_is_changed_like_a_set_and_keeps_its_order(app):
    a, b, c = (app.AsyncResult(name) for name in "abc")
    some = ResultSet([a])

    some.add(b)
    some.add(b)
    some.update([a, c])
    some.discard(b)
    some.discard("nobody")

    assert (some.results, len(some), list(some), some[1], some == ResultSet([a, c])) == ([a, c], 2, [a, c], c, True)
    assert repr(some) == "<ResultSet: [a, c]>"
    some.remove("a")
    with pytest.raises(KeyError):
        some.remove(a)
    some.clear()
    assert (some.results, some.ready(), some.get()) == ([], True, [])


def test_a_set_waits_for_all_and_gives_their_values_in_its_order(app, add, work_until):
    results = [add.delay(number) for number in range(20)]
    some, told, got = ResultSet(results), [], []
    assert (some.waiting(), some.ready(), some.completed_count()) == (True, False, 0)
    waiter = threading.Thread(
        target=lambda: got.append(some.get(timeout=20, callback=lambda *told_: told.append(told_)))
    )
    waiter.start()

    work_until(app, lambda: not waiter.is_alive())

    assert got == [list(range(20))]
    assert sorted(told) == sorted((result.id, number) for number, result in enumerate(results))
    assert (some.ready(), some.successful(), some.failed(), some.completed_count()) == (True, True, False, 20)


def test_a_set_yields_values_as_the_tasks_end(app, add, hand):
    one = hand("w1")
    results = [add.delay(number) for number in range(3)]
    claims = one.claim(3)
    for claim in reversed(claims):
        one.settle(claim, result=claim.record.params[0])

    fresh = ResultSet([app.AsyncResult(result.id) for result in results])
    assert list(ResultSet(results).iterate(timeout=5)) == [2, 1, 0]
    assert [(name, meta["status"], meta["result"]) for name, meta in fresh.iter_native(timeout=5)] == [
        (results[number].id, SUCCESS, number) for number in (2, 1, 0)
    ]


def test_the_first_failure_of_a_set_is_raised_at_once_though_others_go_on(app, add, fail, hand):
    bad, never = fail.delay(), add.delay(1)
    app.backend.store(StateRecord(bad.id, FAILURE, error={"type": "ValueError", "message": "gone"}))
    some = ResultSet([never, bad])

    with pytest.raises(ValueError, match="gone"):
        some.join(timeout=20)
    with pytest.raises(ValueError, match="gone"):
        some.maybe_throw()
    assert (some.failed(), some.ready()) == (True, False)
    assert [repr(value) for value in ResultSet([bad]).join(propagate=False)] == ["ValueError('gone')"]


def test_a_set_that_is_not_ready_in_time_says_how_many_are_missing(app, add):
    some = ResultSet([add.apply((1,)), app.AsyncResult("a"), app.AsyncResult("b")])

    with pytest.raises(TimeoutError) as caught:
        some.get(timeout=0.01)

    assert str(caught.value) == (
        "2 of 3 tasks have not ended after 0.01 s, among them a. They go on. Is a worker there, and what do they wait "
        "for? pmtq status; pmtq queue"
    )


def test_a_set_may_hold_results_of_several_folders(app, add, work, tmp_path):
    other = PMTQ("tasks", broker=f"file://{tmp_path / 'other'}")
    there = other.task(name="tasks.add")(lambda x: -x)
    some = ResultSet([add.delay(1), there.delay(2), add.apply((3,))])
    for one in (app, other):
        work(one)

    assert some.get(timeout=600) == [1, -2, 3]  # far longer than a test may take
    other.close()


def test_a_set_calls_back_once_when_all_have_ended(app, add, fail, work):
    well, badly = ResultSet([add.delay(1), add.delay(2)]), ResultSet([add.delay(3), fail.delay()])
    calls = []

    well.then(lambda some: calls.append(some.get()))
    badly.then(lambda some: calls.append("well"), on_error=lambda some: calls.append(some.failed()))
    ResultSet([]).then(lambda some: calls.append("empty"))
    assert calls == ["empty"]
    work(app)

    assert eventually(lambda: len(calls) == 3)
    assert sorted(map(str, calls[1:])) == ["True", "[1, 2]"]


def test_a_set_whose_results_were_sealed_is_asked_by_reading_each_file_once(app, add, work, folder, monkeypatch):
    sent = [add.delay(number).id for number in range(300)]
    work(app)
    folder.sealed.mkdir(exist_ok=True)
    folder.results.rename(folder.sealed / "results.0.jsonl")
    read, real = [], Journal.read

    def counting(self, *args, **kwargs):
        read.append(self.path.name)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Journal, "read", counting)
    questions = (ResultSet.completed_count, ResultSet.successful, ResultSet.ready, ResultSet.get, ResultSet.forget)
    answers = [ask(ResultSet([app.AsyncResult(one) for one in sent])) for ask in questions]

    assert answers == [300, True, True, list(range(300)), None]
    assert read.count("results.0.jsonl") < 10 * len(questions)


def test_forgetting_a_set_forgets_all_its_results(app, add, work):
    some = ResultSet([add.delay(1), add.delay(2)])
    work(app)

    some.forget()

    assert [one.state for one in some] == [PENDING, PENDING]
    assert some.supports_native_join


def test_what_hangs_on_several_is_walked_once_and_told_with_each(app, work):
    @app.task(name="tasks.more")
    def more(values=0):
        return 1

    last = (group(more.si() for _ in range(10)) | more.si() | group(more.si() for _ in range(10)) | more.si())()
    work(app)
    first = last.parent.parent.parent.results[0]

    assert len(list(first.iterdeps())) == 1 + 1 + 10 + 10
    assert [value for _, value in first.collect()] == [1] * 13
    assert sorted(map(len, first.graph.values())) == [0, *[1] * 11, 10]


def test_a_set_of_empty_sets_has_ended(app):
    told = []

    ResultSet([ResultSet([], app=app)], app=app).then(told.append)

    assert len(told) == 1
