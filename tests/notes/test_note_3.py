"""Note 3: a program in a package, its results, its settings, and workers in the background."""

from __future__ import annotations

import builtins
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import pytest

from pmtq import PMTQ
from pmtq.cli import main
from pmtq.cli.finding import find_app
from pmtq.clock import moved_clock
from pmtq.exceptions import ImproperlyConfigured, TimeoutError  # noqa: A004  (Celery's name)
from pmtq.presence import living
from tests.notes.support import Load, Place, parts, printed, runnable, type_in
from tests.support import NOW, eventually, read_lines

IMPORT = "from pmtq import Celery\n\n"
START = "\n\nif __name__ == '__main__':\n    app.start()\n"
WORKERS = (
    "pmtq -A tasks worker --loglevel=info",
    "pmtq -A primes worker -c 2",
    "pmtq -A proj worker",
    "python -m proj.celery worker -l info",
    "python tasks.py worker",
)


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place where the note's programs stand, and workers that were started in each way it knows."""
    place = Place(tmp_path_factory.mktemp("note_3"))
    place.write_proj()
    app, _, session = printed("note_3_results.txt").partition("# --------")
    assert ">>>" in session
    place.write("tasks.py", IMPORT + app + parts("note_3_proj.py")["tasks.py"] + START)
    place.tell("primes.py")
    place.start_workers(*WORKERS)
    yield place
    place.close()


@pytest.fixture
def configured(place: Place) -> Place:
    """A place with the note's ``celeryconfig.py``, and its ``tasks.py`` that reads it."""
    files = parts("note_3_celeryconfig.py")
    place.write("celeryconfig.py", files["celeryconfig.py"])
    app = f"{IMPORT}app = Celery('tasks')\n" + files["tasks.py"]
    place.write("tasks.py", app + "\n\n" + parts("note_3_proj.py")["tasks.py"])
    return place


def statuses(place: Place, name: str = "SUCCESS") -> int:
    """Return how many tasks have got that state."""
    return sum(line.get("status") == name for line in read_lines(place.folder.results))


def test_s3_01_the_caller_is_free_while_long_tasks_run_side_by_side_in_processes_of_their_own(works, load: Load):
    primes = load(works, "primes")

    asked = [primes.count.delay(0.5) for _ in range(2)]

    assert [one.ready() for one in asked] == [False, False]
    first, second = [one.get(timeout=15) for one in asked]
    assert max(first["began"], second["began"]) < min(first["ended"], second["ended"])
    assert len({first["pid"], second["pid"], os.getpid()}) == 3


def test_s3_02_a_program_that_names_a_broker_alone_has_results(folder, work):
    with PMTQ("tasks", broker=f"file://{folder.path}") as app:
        asked = app.task(name="tasks.add")(lambda x, y: x + y).delay(1, 2)
        work(app)

        assert asked.get(timeout=0) == 3


def test_s3_03_a_misspelt_scheme_works_when_it_is_overridden(works, load: Load):
    tasks = load(works, "proj.tasks")

    assert (tasks.app.main, tasks.app.modules()) == ("proj", ["proj.tasks"])
    assert tasks.mult.delay(6, 7).get(timeout=10) == 42


def test_s3_03_a_misspelt_scheme_that_is_not_overridden_gets_a_suggestion(works, load: Load):
    tasks = load(works, "proj.tasks", overridden=False)

    with pytest.raises(ImproperlyConfigured, match=r"'ampq://' .*did you mean amqp://\?"):
        tasks.mult.delay(6, 7)


def test_s3_04_three_dots_among_the_settings_change_nothing():
    with PMTQ("proj", timezone="Europe/Oslo") as app:
        before = dict(app.conf)

        app.conf.update(...)

        assert dict(app.conf) == before


def test_s3_05_a_package_is_known_by_its_module_celery_of_which_one_line_changes(works, load: Load):
    before, after = printed("note_3_proj.py").splitlines(), runnable("note_3_proj.py").splitlines()
    assert [line for line in zip(before, after, strict=True) if line[0] != line[1]] == [
        ("from celery import Celery", "from pmtq import Celery")
    ]

    app = load(works, "proj.celery").app

    assert find_app("proj") is app


@pytest.mark.parametrize(
    ("command", "functions"),
    [
        ("python -m proj.celery worker -l info", ["proj.tasks.add", "proj.tasks.mult"]),
        ("python tasks.py worker", ["tasks.add", "tasks.mult"]),
    ],
)
def test_s3_06_a_program_that_is_run_itself_is_the_command_line_for_its_app(works, command, functions):
    worker = works.processes[WORKERS.index(command)]

    assert works.facts(worker)["functions"] == functions


def test_s3_06_an_unknown_command_of_a_program_is_told_as_such(works):
    said = works.run("python tasks.py wroker")

    assert (said.status, said.out) == (2, "")
    assert "Did you mean 'pmtq worker'?" in said.err


def test_s3_07_the_command_as_printed_serves_the_tasks_of_the_module(works):
    assert works.facts(works.processes[0])["functions"] == ["tasks.add", "tasks.mult"]


def test_s3_08_help_is_a_command_and_an_option(capsys):
    def shown(*arguments: str) -> str:
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    assert shown("help") == shown("--help")
    assert shown("help", "worker") == shown("worker", "--help")


def test_s3_09_a_call_typed_into_a_prompt_shows_the_promise_of_its_result(works, load: Load):
    load(works, "tasks")

    (promise,) = type_in(printed("note_3_calling.txt"), {})

    assert re.fullmatch(r"<AsyncResult: [0-9a-f]+>", repr(promise))
    assert promise.get(timeout=10) == 3
    assert promise.state == "SUCCESS"


def test_s3_10_the_session_as_printed_shows_what_it_shows_there(works, load: Load):
    names = {"add": load(works, "tasks").add}

    shown = type_in(printed("note_3_results.txt"), names)

    assert shown in ([False, 3, None], [True, 3, None])  # a worker may be as quick as the typist
    assert "\n3\n" in printed("note_3_results.txt")


def test_s3_11_who_will_not_wait_longer_gets_a_timeout_error_of_both_kinds(add):
    asked = add.delay(1, 2)

    with pytest.raises(TimeoutError) as caught:
        asked.get(timeout=0.01)

    assert isinstance(caught.value, builtins.TimeoutError)
    assert asked.state == "PENDING"


def test_s3_12_a_failure_comes_back_as_its_own_exception_with_the_workers_traceback(works, load: Load):
    asked = load(works, "tasks").add.delay(1, "two")

    with pytest.raises(TypeError, match="unsupported operand"):
        asked.get(timeout=10)

    assert asked.traceback.splitlines()[0] == "Traceback (most recent call last):"
    assert f'{works.path / "tasks.py"}", line' in asked.traceback
    assert "return x + y" in asked.traceback


def test_s3_13_a_forgotten_result_is_pending_again_and_its_value_leaves_the_disk(app, work_until):
    @app.task(name="tasks.tell")
    def tell():
        return "a value like no other"

    asked = tell.delay()
    work_until(app, asked.ready)
    assert "a value like no other" in _everything(app)

    asked.forget()

    assert (asked.state, app.AsyncResult(asked.id).state) == ("PENDING", "PENDING")
    work_until(app, lambda: "a value like no other" not in _everything(app))


def _everything(app: PMTQ) -> str:
    files = [path for path in app.folder.path.rglob("*") if path.is_file()]
    text = ""
    for path in files:
        with suppress(FileNotFoundError):  # a worker is tidying
            text += path.read_text(errors="replace")
    return text


def test_s3_14_the_settings_as_printed_take_effect(folder):
    with PMTQ("tasks", broker=f"file://{folder.path}") as app:
        exec(printed("note_3_settings.py"), {"app": app})

        names = ("task_serializer", "accept_content", "result_serializer", "timezone", "enable_utc")
        assert [app.conf[name] for name in names] == ["json", ["json"], "json", "Europe/Oslo", True]
        assert app.now().utcoffset() == app.now().astimezone(ZoneInfo("Europe/Oslo")).utcoffset()


def test_s3_15_content_other_than_json_is_refused_with_words_and_not_queued(app, add):
    exec(printed("note_3_settings.py"), {"app": app})

    with pytest.raises(ImproperlyConfigured, match=r"serializer='pickle' .*Nothing was queued"):
        add.apply_async((1, 2), serializer="pickle")
    with pytest.raises(ImproperlyConfigured, match="pickle"):
        app.conf.update(accept_content=["pickle"])

    assert read_lines(app.folder.queue()) == []


def test_s3_16_a_module_of_settings_is_read_from_the_directory_one_is_in(configured, load: Load):
    conf = load(configured, "tasks").app.conf

    assert conf.broker_url == "file://queue_dir"  # the override; without it there would be the module's word
    assert {
        name: conf[name] for name in ("result_backend", "task_serializer", "result_serializer", "accept_content")
    } == {
        "result_backend": "rpc://",
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
    }
    assert (conf.timezone, conf.enable_utc) == ("Europe/Oslo", True)
    assert conf.task_routes == {"tasks.add": "low-priority"}
    assert conf.task_annotations == {"tasks.add": {"rate_limit": "10/m"}}


def test_s3_16_without_the_override_the_modules_broker_counts(configured, load: Load):
    tasks = load(configured, "tasks", overridden=False)

    with pytest.raises(ImproperlyConfigured, match="'pyamqp://' names a server"):
        tasks.add.delay(1, 2)


def test_s3_17_a_routed_task_is_left_by_a_default_worker_and_run_by_one_for_its_queue(configured, load: Load, work):
    tasks = load(configured, "tasks")
    asked = tasks.add.delay(1, 2)
    assert [line["task_id"] for line in read_lines(configured.folder.queue("low-priority"))] == [asked.id]

    work(tasks.app)
    before = asked.state
    said = configured.run("pmtq -A tasks worker --burst -Q low-priority")

    assert (before, said.status, asked.get(timeout=0)) == ("PENDING", 0, 3)


def test_s3_17_a_worker_for_both_queues_serves_both(configured, load: Load):
    tasks = load(configured, "tasks")
    asked = [tasks.add.delay(1, 2), tasks.mult.delay(3, 4)]

    said = configured.run("pmtq -A tasks worker --burst -Q low-priority,celery")

    assert (said.status, [one.state for one in asked]) == (0, ["SUCCESS", "SUCCESS"])
    assert [one.get(timeout=0) for one in asked] == [3, 12]


def test_s3_18_s3_19_ten_a_minute_are_six_seconds_apart_in_the_queue_that_the_same_file_routes_to(
    configured, load: Load, work
):
    tasks = load(configured, "tasks")
    for number in range(3):
        tasks.add.delay(number, 0)
    ran = []

    with moved_clock(at=NOW) as clock:
        for seconds in (0, 5.9, 0.2, 5.8, 0.2):
            clock.advance(seconds)
            work(tasks.app, queues=("low-priority",))
            ran.append(statuses(configured))

    assert ran == [1, 1, 2, 2, 3]


def test_s3_20_times_in_the_files_are_utc_whatever_zone_the_app_is_in(configured, load: Load, work):
    tasks = load(configured, "tasks")
    with moved_clock(at="2027-07-01T07:00:00+02:00"):
        asked = tasks.add.apply_async((1, 2), eta=tasks.app.now() + timedelta(hours=1))
        now = tasks.app.now()

    (line,) = read_lines(configured.folder.queue("low-priority"))
    assert (line["task_id"], line["sent"], line["eta"]) == (
        asked.id,
        "2027-07-01T05:00:00.000Z",
        "2027-07-01T06:00:00.000Z",
    )
    assert (now.isoformat(), now.astimezone(UTC).hour) == ("2027-07-01T07:00:00+02:00", 5)


@pytest.fixture
def _none_left(place: Place) -> Iterator[None]:
    """Ends workers in the background that a failed test has left, by the number in their files."""
    yield
    for path in place.path.glob("*.pid"):
        with suppress(ProcessLookupError, ValueError):
            os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.mark.usefixtures("_none_left")
def test_s3_21_multi_starts_shows_and_stops_workers_in_the_background(place):
    place.write("tasks.py", runnable("note_0_tasks.py"))

    started = place.run("pmtq multi start w1 -A tasks --pidfile=%n.pid --logfile=%n%I.log")

    assert (started.status, started.err) == (0, "")
    (worker,) = living(place.folder)
    assert worker["name"].partition("@")[0] == "w1"
    assert int(place.path.joinpath("w1.pid").read_text()) == worker["pid"]
    assert place.path.joinpath("w1.log").exists()
    assert place.run("pmtq multi names w1 w2").out.split() == [worker["name"], worker["name"].replace("w1", "w2")]

    stopped = place.run("pmtq multi stopwait w1 --pidfile=%n.pid")

    assert (stopped.status, living(place.folder), list(place.path.glob("*.pid"))) == (0, [], [])


def test_s3_21_the_notes_misspelling_gets_a_suggestion(capsys):
    assert main(["mutli", "start", "w1"]) == 2
    assert "Did you mean 'pmtq multi'?" in capsys.readouterr().err


def test_s3_22_a_call_can_be_waited_for_and_can_be_made_here_and_now(works, load: Load):
    add = load(works, "tasks").add

    assert add.delay(1, 2).wait(timeout=10) == add.apply((1, 2)).get() == add(1, 2) == 3


def test_all_workers_of_the_note_end_well_when_they_are_asked_to(works):
    """Keep this the last test of the module: the others need the workers."""
    assert works.stop(*works.processes) == [0] * len(WORKERS)
    assert eventually(lambda: living(works.folder) == [])
