"""Functions become tasks, and calls become records."""

import functools
import os
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pmtq import PMTQ
from pmtq.exceptions import ImproperlyConfigured, NotRegistered, NotSerializable
from pmtq.records import epoch
from tests.support import read_lines


def queued(folder, queue="celery"):
    return read_lines(folder.queue(queue))


def test_a_call_is_a_line_that_says_what_was_asked(app, add, folder):
    before = time.time()

    result = add.delay(2, 3)

    (line,) = queued(folder)
    assert list(line) == ["task_id", "function", "params", "sent"]
    assert line == {"task_id": result.id, "function": "tasks.add", "params": [2, 3], "sent": line["sent"]}
    assert before - 0.001 <= epoch(line["sent"]) <= time.time()
    assert (result.name, result.state) == ("tasks.add", "PENDING")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda add: add.delay(1), {"params": [1]}),
        (lambda add: add.delay(1, y=2), {"params": {"y": 2}, "args": [1]}),
        (lambda add: add.delay(x=1, y=2), {"params": {"x": 1, "y": 2}}),
        (lambda add: add.apply_async((1, 2)), {"params": [1, 2]}),
        (lambda add: add.apply_async([1], {"y": 2}), {"params": {"y": 2}, "args": [1]}),
        (lambda add: add.delay((1, 2), [3]), {"params": [[1, 2], [3]]}),
        (lambda add: add.app.send_task("x"), {}),
        (lambda add: add.app.send_task("x", (n for n in (1, 2))), {"params": [1, 2]}),
    ],
)
def test_the_arguments_of_a_call_stand_in_its_record(add, folder, call, expected):
    call(add)

    (line,) = queued(folder)
    assert {key: line[key] for key in ("params", "args") if key in line} == expected


def test_a_task_is_still_a_function(add):
    assert add(2, 3) == 5
    assert repr(add) == "<task: tasks.add>"
    assert add.__name__ == "add"


def test_with_and_without_parentheses_the_decorator_is_the_same(app):
    @app.task
    def one():
        """Say one."""

    @app.task()
    def two():
        pass

    @app.task(name="three", queue="q", acks_late=False, durable=True)
    def other():
        pass

    assert set(app.tasks) == {"tasks.add", f"{__name__}.one", f"{__name__}.two", "three"}
    assert (one.__doc__, other.queue, other.acks_late, other.durable) == ("Say one.", "q", False, True)


def test_in_a_script_the_apps_name_stands_for_the_module(folder):
    def f():
        pass

    f.__module__, f.__qualname__ = "__main__", "f"

    assert PMTQ("shop", broker=f"file://{folder.path}").task(f).name == "shop.f"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda add: add.delay(), "tasks.add(x, y=0) missing a required argument: 'x'. Nothing was queued."),
        (lambda add: add.delay(1, 2, 3), "tasks.add(x, y=0) too many positional arguments. Nothing was queued."),
        (
            lambda add: add.delay(1, z=2),
            "tasks.add(x, y=0) got an unexpected keyword argument 'z'. Nothing was queued.",
        ),
        (lambda add: add.delay(1, x=2), "tasks.add(x, y=0) multiple values for argument 'x'. Nothing was queued."),
    ],
)
def test_arguments_that_do_not_fit_the_function_are_refused_at_the_call(add, folder, call, message):
    with pytest.raises(TypeError) as caught:
        call(add)

    assert str(caught.value) == message
    assert queued(folder) == []


def test_functions_of_every_shape_can_be_called(app, folder):
    @app.task(name="only")
    def only(a, /, b, *rest, c, d=4, **more):
        return (a, b, rest, c, d, more)

    only.delay(1, 2, 3, c=5, e=6)
    with pytest.raises(TypeError):
        only.delay(1, 2)

    (line,) = queued(folder)
    assert (line["args"], line["params"]) == ([1, 2, 3], {"c": 5, "e": 6})
    assert app.task(name="part")(functools.partial(only.run, 1)).delay(2, c=3).id


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (
            [datetime(2026, 5, 4, 9, tzinfo=UTC)],
            {},
            (
                "argument 1 of tasks.add is a datetime (2026-05-04 09:00:00+00:00), which JSON cannot hold. Nothing was "
                "queued. Send text and parse it in the task: value.isoformat()"
            ),
        ),
        (
            [1],
            {"y": {"a": [{1}]}},
            (
                "argument 'y'['a'][0] of tasks.add is a set ({1}), which JSON cannot hold. Nothing was queued. "
                "Send text or numbers, and rebuild it in the task."
            ),
        ),
        (
            [float("nan")],
            {},
            (
                "argument 1 of tasks.add is nan, which JSON cannot hold. Nothing was queued. "
                "Send text or numbers, and rebuild it in the task."
            ),
        ),
    ],
)
def test_arguments_that_json_cannot_hold_are_refused_by_name(add, folder, args, kwargs, message):
    with pytest.raises(NotSerializable) as caught:
        add.apply_async(args, kwargs)

    assert str(caught.value) == message
    assert queued(folder) == []


@pytest.mark.parametrize(
    "args",
    [["\ud800"], [["\ud800"]], [10**5000], [[10**5000]]],
    ids=["text", "nested text", "integer", "nested integer"],
)
def test_arguments_that_no_reader_could_read_back_are_refused_by_name(add, folder, args):
    with pytest.raises(NotSerializable, match=r"tasks\.add.*Nothing was queued"):
        add.apply_async(args)

    assert queued(folder) == []


def test_keyword_names_must_be_text(app, folder):
    with pytest.raises((NotSerializable, TypeError)):
        app.send_task("x", kwargs={1: 2})

    assert queued(folder) == []


def test_a_record_may_be_as_deep_as_a_worker_reads_it(add, folder):
    value = 0
    for _ in range(200):
        value = [value]

    with pytest.raises(NotSerializable, match="is nested deeper than 100 levels"):
        add.delay(value)

    assert queued(folder) == []


def test_a_call_may_say_more_about_how_it_is_to_run(add, folder):
    before = time.time()
    result = add.apply_async(
        [1], task_id="mine", queue="q", eta=datetime(2027, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), expires=60
    )

    (line,) = queued(folder, "q")
    assert (result.id, line["task_id"], line["eta"]) == ("mine", "mine", "2027-01-01T10:00:00.000Z")
    assert before + 59.99 <= epoch(line["expires"]) <= time.time() + 60


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2027, 1, 1, 12), "2027-01-01T12:00:00.000Z"),  # noqa: DTZ001  (naive times count as UTC)
        (datetime(2027, 1, 1, 12, tzinfo=UTC), "2027-01-01T12:00:00.000Z"),
        ("2027-01-01T14:00:00+02:00", "2027-01-01T12:00:00.000Z"),
        ("2027-01-01", "2027-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_may_be_given_in_several_ways(add, folder, value, text):
    add.apply_async([1], eta=value, expires=value)

    (line,) = queued(folder)
    assert (line["eta"], line["expires"]) == (text, text)


def test_a_countdown_is_a_time_from_now(add, folder):
    before = time.time()
    add.apply_async([1], countdown=10, expires=timedelta(minutes=1))

    (line,) = queued(folder)
    assert before + 9.99 <= epoch(line["eta"]) <= time.time() + 10
    assert before + 59.99 <= epoch(line["expires"]) <= time.time() + 60


@pytest.mark.parametrize("option", ["eta", "expires"])
@pytest.mark.parametrize("value", ["tomorrow", float("nan"), float("inf"), [], ""])
def test_what_is_no_time_is_refused(add, folder, option, value):
    with pytest.raises(ImproperlyConfigured, match=f"^{option}=.* is no time. Nothing was queued."):
        add.apply_async([1], **{option: value})

    assert queued(folder) == []


@pytest.mark.parametrize("value", ["soon", float("nan"), float("inf"), []])
def test_a_countdown_that_is_no_number_of_seconds_is_refused(add, folder, value):
    with pytest.raises(ImproperlyConfigured, match=r"^countdown=.* is no time. Nothing was queued."):
        add.apply_async([1], countdown=value)

    assert queued(folder) == []


def test_a_tasks_queue_is_used_unless_the_call_names_another(app, folder):
    @app.task(name="mail", queue="mails")
    def mail():
        pass

    mail.delay()
    mail.apply_async(queue="urgent")

    assert (len(queued(folder, "mails")), len(queued(folder, "urgent"))) == (1, 1)


@pytest.mark.parametrize(
    ("of_app", "of_task", "of_call", "expected"),
    [
        (False, None, None, False),
        (True, None, None, True),
        (True, False, None, False),
        (False, True, None, True),
        (True, True, False, False),
    ],
)
def test_durable_may_be_said_of_the_app_the_task_or_the_call_the_last_word_counts(
    folder, monkeypatch, of_app, of_task, of_call, expected
):
    from pmtq import disk

    synced = []
    monkeypatch.setattr(disk, "fsync", synced.append)
    app = PMTQ("tasks", broker=f"file://{folder.path}", durable=of_app)
    task = app.task(name="f", durable=of_task)(lambda: None)

    task.apply_async(**({} if of_call is None else {"durable": of_call}))

    assert bool(synced) is expected


def test_a_program_without_the_code_can_send_and_ask(app, folder):
    result = app.send_task("Image.resize", kwargs={"width": 800})

    (line,) = queued(folder)
    assert (line["function"], line["params"]) == ("Image.resize", {"width": 800})
    assert app.AsyncResult(result.id) == result


def test_the_environment_overrides_the_code(folder, monkeypatch):
    monkeypatch.setenv("PMTQ_BROKER_URL", f"file://{folder.path}")

    assert PMTQ("shop", broker="redis://elsewhere").folder.path == folder.path


def test_a_server_is_refused_when_it_is_first_needed(monkeypatch):
    app = PMTQ("shop", broker="redis://elsewhere")

    with pytest.raises(ImproperlyConfigured):
        app.send_task("x")


def test_an_unknown_task_is_named_with_its_nearest_neighbour(app):
    with pytest.raises(NotRegistered) as caught:
        app.find_task("tasks.ad")

    assert str(caught.value) == "no task is called 'tasks.ad'; this app has: tasks.add. Did you mean 'tasks.add'?"
    assert (caught.value.name, caught.value.known) == ("tasks.ad", ("tasks.add",))
    assert app.find_task("tasks.add") is app.tasks["tasks.add"]


def test_making_an_app_and_asking_touch_no_disk(app, folder):
    assert app.AsyncResult("a").state == "PENDING"
    assert not folder.path.exists()


def test_attributes_of_a_function_do_not_become_those_of_its_task(app):
    def function():
        pass

    function.name, function.queue = "zzz", "mails"

    task = app.task(name="mine")(function)

    assert (task.name, task.queue, app.tasks["mine"]) == ("mine", None, task)


# --- many at once ----------------------------------------------------------------------------------------------------


def test_many_calls_are_one_write_to_each_file(app, add, folder, monkeypatch):
    writes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: writes.append(data) or real(descriptor, data))

    results = app.send_tasks([
        (add, [1]),
        ("other", [2], {"y": 3}),
        (add, [4], {}, {"queue": "low"}),
        (add, [5], {}, {"priority": 9}),
        (add, [6], {}, {"task_id": "mine"}),
    ])  # fmt: skip

    assert len(writes) == 3
    assert [line["task_id"] for line in queued(folder)] == [results[0].id, results[1].id, "mine"]
    assert [line["params"] for name in ("low", "p9") for line in queued(folder, name)] == [[4], [5]]
    assert [result.name for result in results] == ["tasks.add", "other", "tasks.add", "tasks.add", "tasks.add"]


@pytest.mark.parametrize(
    "bad",
    [
        ("f", [{1}]),
        ("f", ["x" * 2_000_000], {}, {"queue": "low"}),
        ("f", [1], {}, {"queue": "../elsewhere"}),
        ("f", [1], {}, {"priority": 10}),
    ],
    ids=["no json", "too long", "no queue", "no priority"],
)
def test_of_many_calls_none_is_queued_when_one_is_refused(app, add, folder, bad):
    with pytest.raises((NotSerializable, ImproperlyConfigured)):
        app.send_tasks([(add, [1]), bad])

    assert queued(folder) == []


# --- the app itself --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("priority", "file"), [(0, "celery"), (1, "p1"), (9, "p9")])
def test_a_priority_has_a_file_of_its_own(add, folder, priority, file):
    add.apply_async([1], priority=priority)

    assert [line.get("priority", 0) for line in queued(folder, file)] == [priority]


def test_a_default_priority_is_that_of_calls_and_tasks_which_name_none(folder):
    app = PMTQ("app", broker=f"file://{folder.path}", task_default_priority=4)
    own = app.task(name="own", priority=6)(lambda: None)

    app.send_task("f")
    app.send_task("f", priority=0)
    own.delay()

    assert [len(queued(folder, name)) for name in ("p4", "celery", "p6")] == [1, 1, 1]


def test_modules_are_named_once_each_and_empty_names_are_skipped(folder):
    app = PMTQ("app", include=["", "proj.tasks"], imports=["proj.more", "proj.tasks"])
    app.autodiscover_tasks(lambda: ["json", "no_such_package"], related_name="decoder")

    assert app.modules() == ["proj.tasks", "proj.more", "json.decoder"]


def test_receivers_hear_once_that_an_app_is_complete(app):
    heard = []

    def receive(sender, signal=None, **_):
        heard.append((signal.name, sender))

    for signal in (app.on_configure, app.on_after_configure, app.on_after_finalize):
        signal.connect(receive, weak=False)
    app.finalize()
    app.finalize()

    assert heard == [("on_configure", app), ("on_after_configure", app), ("on_after_finalize", app)]


def test_an_app_can_be_used_for_a_while_and_again(folder):
    with PMTQ("app", broker=f"file://{folder.path}") as app:
        app.send_task("f")
    app.send_task("g")

    assert [line["function"] for line in queued(folder)] == ["f", "g"]
    app.close()


def test_another_broker_url_counts_from_then_on(folder, tmp_path):
    app = PMTQ("app", broker=f"file://{folder.path}")
    app.send_task("f")
    app.broker_url = f"file://{tmp_path / 'other'}"
    app.send_task("g")

    assert [line["function"] for line in queued(folder)] == ["f"]
    assert [line["function"] for line in read_lines(tmp_path / "other" / "queue.jsonl")] == ["g"]


def test_a_tasks_calls_get_its_own_priority_where_that_is_set_whatever_the_default_is(folder, work):
    app = PMTQ("app", broker=f"file://{folder.path}", task_inherit_parent_priority=True, task_default_priority=3)

    @app.task(name="f")
    def f():
        app.send_task("elsewhere")
        app.send_task("elsewhere", priority=1)

    f.apply_async(priority=7)
    work(app)
    app.send_task("elsewhere")

    assert [len(queued(folder, name)) for name in ("p1", "p3")] == [1, 1]
    assert [line["function"] for line in queued(folder, "p7")] == ["f", "elsewhere"]
    app.close()
