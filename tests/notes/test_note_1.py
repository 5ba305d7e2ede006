"""Note 1: background jobs of a web program, and a page that shows how far a job has come."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pmtq import PMTQ, states
from pmtq.cli import main
from pmtq.cli.finding import find_app
from pmtq.clock import moved_clock
from pmtq.records import epoch
from pmtq.result import AsyncResult
from tests.notes.support import HERE, Load, Place, runnable
from tests.support import eventually, life, read_lines

LEFT_OUT = "import random\nimport time\n\nfrom flask import jsonify, url_for\n\n"
"""What the program needs besides what the note prints …"""
MAIN = '\n\nif __name__ == "__main__":\n    from serve import serve\n\n    serve(app)\n'
"""… and what makes it a program that can be run."""
DONE = {"state": "SUCCESS", "current": 100, "total": 100, "status": "Task completed!", "result": 42}
SERVER = "redis://localhost:6379/0"


class Answer(NamedTuple):
    """What the web program answered."""

    status: int
    body: Any
    location: str


class Web:
    """The note's web program, run as ``python app.py``, and a client that speaks HTTP with it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.process = place.start("python app.py")
        port = eventually(lambda: place.log(self.process).partition("\n")[0], 20)
        self.root = f"http://127.0.0.1:{port}"

    def ask(self, path: str, method: str = "GET") -> Answer:
        with urllib.request.urlopen(urllib.request.Request(self.root + path, method=method), timeout=10) as answer:
            return Answer(answer.status, json.load(answer), answer.headers["Location"] or "")

    def post(self) -> str:
        """Start a long task; return the path of its status."""
        return self.ask("/longtask", "POST").location

    def status(self, path: str) -> dict[str, Any]:
        return self.ask(path).body

    def reaches(self, path: str, state: str) -> bool:
        """Poll as a page does. The note's view looks twice: at a task that fails in between it stumbles, under Celery too."""

        def is_there() -> bool:
            try:
                return bool(self.status(path)["state"] == state)
            except urllib.error.HTTPError as error:
                if error.code != 500:
                    raise
                return False

        return bool(eventually(is_there))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place where a worker of the note's web program is at work, which keeps to the stage directions."""
    place = Place(tmp_path_factory.mktemp("note_1"))
    blocks = runnable("note_1_setup.py", "note_1_long_task.py", "note_1_post.py", "note_1_status.py")
    place.write("app.py", LEFT_OUT + blocks + MAIN)
    place.tell("serve.py", "on_stage.py", "rows.py")
    place.start_workers("pmtq worker -A on_stage.celery", "pmtq worker -A rows -c 2")
    yield place
    place.close()


@pytest.fixture(scope="module")
def web(office: Place) -> Web:
    """The note's web program in a process of its own."""
    return Web(office)


@pytest.fixture
def open_gates(office: Place) -> Iterator[Path]:
    """A directory in which the test opens gates for the long task; they are closed again afterwards."""
    yield office.path
    for name in ("begin", "go_on", "break"):
        (office.path / name).unlink(missing_ok=True)


@pytest.fixture
def quick(open_gates: Path) -> None:
    """All gates open: the long task takes a moment."""
    (open_gates / "begin").touch()
    (open_gates / "go_on").touch()


@pytest.fixture
def background(place: Place, load: Load):
    """The note's program that posts two calls when it is started, on a folder of its own."""
    place.write(
        "background.py", runnable("note_1_setup.py") + "\nresult = 30\n\n" + runnable("note_1_background_task.py")
    )
    return load(place, "background")


def test_s1_01_client_queue_and_worker_are_three_things_that_one_can_look_at(app, add, folder, work, capsys):
    asked = add.delay(2, 3)
    assert main(["queue", "-b", f"file://{folder.path}"]) == 0
    assert asked.id in capsys.readouterr().out

    work(app)

    assert asked.get(timeout=0) == 5
    assert "Not promised: more than one machine" in (HERE.parents[1] / "README.md").read_text()


def test_s1_02_a_later_request_fetches_by_id_what_another_process_has_computed(office, web, quick):
    where = web.post()
    assert web.reaches(where, "SUCCESS")

    with PMTQ("later", broker=f"file://{office.folder.path}") as later:
        assert later.AsyncResult(where.removeprefix("/status/")).get(timeout=0) == {
            key: value for key, value in DONE.items() if key != "state"
        }


def test_s1_03_a_thousand_small_tasks_insert_a_thousand_rows_each_once(office, load: Load):
    rows = load(office, "rows")

    asked = [rows.insert.delay(number) for number in range(1000)]

    assert eventually(lambda: all(one.ready() for one in asked), 30)
    with rows.database() as connection:
        found = sorted(number for (number,) in connection.execute("SELECT number FROM readings"))
    assert found == list(range(1000))


def test_s1_05_delay_is_a_shortcut_for_apply_async(add, folder):
    add.delay(1, y=2)
    add.apply_async((1,), {"y": 2})

    first, second = [{**line, "task_id": "", "sent": ""} for line in read_lines(folder.queue())]
    assert first == second == {"task_id": "", "function": "tasks.add", "params": {"y": 2}, "args": [1], "sent": ""}


def test_s1_06_ready_is_false_before_and_true_after(app, add, work):
    asked = add.delay(1, 2)
    before = asked.ready()

    work(app)

    assert (before, asked.ready()) == (False, True)


def test_s1_07_wait_blocks_until_the_value_is_there_and_returns_it(app, add, work_until):
    asked = add.delay(1, 2)
    values: list[int] = []

    work_until(app, lambda: values.append(asked.wait(timeout=10)) or values)

    assert values == [3]


def test_s1_08_an_app_in_a_variable_called_celery_is_found_by_its_module(office, load: Load):
    module = load(office, "app")

    assert type(module.app).__name__ == "Flask"
    assert find_app("app") is module.celery
    assert module.celery.main == "app"


def test_s1_09_a_whole_web_configuration_is_taken_and_what_has_our_names_counts(office, load: Load):
    module = load(office, "app", overridden=False)

    conf = module.celery.conf
    assert (conf.broker_url, conf.result_backend) == (SERVER, SERVER)
    module.app.config.update(SECRET_KEY="hush", DEBUG=True, CELERY_TIMEZONE="Europe/Oslo")
    conf.update(module.app.config)
    assert (conf.timezone, conf["SECRET_KEY"], conf["DEBUG"]) == ("Europe/Oslo", "hush", True)


def test_s1_09_the_old_names_of_settings_still_count():
    with PMTQ() as app:
        app.conf.update({"BROKER_URL": SERVER, "CELERY_RESULT_BACKEND": SERVER, "CELERY_ALWAYS_EAGER": True})

        assert (app.conf.broker_url, app.conf.result_backend, app.conf.task_always_eager) == (SERVER, SERVER, True)


def test_s1_10_a_call_with_a_countdown_runs_once_and_not_before_its_time(place, background, work):
    now, later = read_lines(place.folder.queue())
    assert [line["params"] for line in (now, later)] == [[10, 20], [10, 20]]
    assert "eta" not in now
    assert epoch(later["eta"]) - epoch(later["sent"]) == 60

    def ran() -> list[int]:
        work(background.celery)
        return [life(place.folder, line["task_id"]).count(("SUCCESS", 1)) for line in (now, later)]

    with moved_clock(at=later["sent"]) as clock:
        begin = ran()
        clock.advance(59)
        just_before = ran()
        clock.advance(1.001)
        then = ran()
        clock.advance(60)
        a_minute_later = ran()

    assert (begin, just_before, then, a_minute_later) == ([1, 0], [1, 0], [1, 1], [1, 1])
    assert isinstance(background.task, AsyncResult)
    assert background.task.get(timeout=0) == 30


def test_s1_11_a_bound_task_reports_how_far_it_is_and_every_process_sees_it_at_once(office, web, open_gates):
    (open_gates / "begin").touch()
    where = web.post()

    assert web.reaches(where, "PROGRESS")

    with PMTQ("other", broker=f"file://{office.folder.path}") as other:
        found = other.AsyncResult(where.removeprefix("/status/"))
        assert (found.state, found.info["current"], sorted(found.info)) == (
            "PROGRESS",
            0,
            ["current", "status", "total"],
        )
    (open_gates / "go_on").touch()
    assert web.reaches(where, "SUCCESS")


def test_s1_12_a_post_is_answered_with_the_place_where_to_ask(web, quick):
    answer = web.ask("/longtask", "POST")

    task_id = answer.location.rpartition("/")[2]
    assert answer == (202, {}, f"/status/{task_id}")
    assert task_id.isalnum()
    assert web.reaches(answer.location, "SUCCESS")


def test_s1_13_a_client_that_polls_sees_pending_started_progress_and_success(web, open_gates):
    first, second = web.post(), web.post()

    assert web.reaches(first, "STARTED")
    assert web.status(first) == {"state": "STARTED", "current": 0, "total": 1, "status": ""}
    assert web.reaches(second, "PENDING")
    assert web.status(second) == {"state": "PENDING", "current": 0, "total": 1, "status": "Pending..."}

    (open_gates / "begin").touch()
    assert web.reaches(first, "PROGRESS")
    progress = web.status(first)
    assert (progress["state"], progress["current"], 10 <= progress["total"] <= 50) == ("PROGRESS", 0, True)
    assert progress["status"].endswith("...")

    (open_gates / "go_on").touch()
    assert web.reaches(first, "SUCCESS")
    assert web.reaches(second, "SUCCESS")
    assert [web.status(path) for path in (first, second)] == [DONE, DONE]


def test_s1_13_a_client_that_polls_sees_why_a_task_has_failed(web, open_gates):
    (open_gates / "begin").touch()
    (open_gates / "break").touch()

    where = web.post()

    assert web.reaches(where, "FAILURE")
    assert web.status(where) == {
        "state": "FAILURE",
        "current": 1,
        "total": 1,
        "status": "the solar array is on fire",
    }


def test_s1_14_a_task_finds_its_call_by_the_id(office, web, load: Load, quick):
    module = load(office, "app")
    where = web.post()
    assert web.reaches(where, "SUCCESS")

    found = module.long_task.AsyncResult(where.removeprefix("/status/"))

    assert (found.state, {"state": found.state, **found.info}) == ("SUCCESS", DONE)


def test_s1_14_the_info_of_a_failed_task_is_its_exception(office, web, load: Load, open_gates):
    module = load(office, "app")
    (open_gates / "begin").touch()
    (open_gates / "break").touch()
    where = web.post()
    assert web.reaches(where, "FAILURE")

    found = module.long_task.AsyncResult(where.removeprefix("/status/")).info

    assert (type(found), str(found)) == (RuntimeError, "the solar array is on fire")


def test_s1_15_an_id_that_nobody_knows_is_pending(office, web, load: Load):
    found = load(office, "app").long_task.AsyncResult("no-such-id")

    assert (found.state, found.info) == ("PENDING", None)
    assert web.status("/status/no-such-id")["status"] == "Pending..."


def test_s1_16_the_built_in_states_have_their_names_and_a_task_has_its_own_between_them(office, web, quick):
    where = web.post()
    assert web.reaches(where, "SUCCESS")

    history = office.life(where.removeprefix("/status/"))

    assert (states.PENDING, states.STARTED, states.SUCCESS, states.FAILURE) == (
        "PENDING",
        "STARTED",
        "SUCCESS",
        "FAILURE",
    )
    assert (history[0], set(history[1:-1]), history[-1]) == ("STARTED", {"PROGRESS"}, "SUCCESS")


def test_s1_17_a_program_that_is_run_itself_gives_its_tasks_the_names_that_a_worker_knows(
    office, web, load: Load, open_gates
):
    where = web.post()  # by a process that was started as `python app.py`

    posted = [line for line in read_lines(office.folder.queue()) if line["task_id"] in where]

    assert [line["function"] for line in posted] == ["app.long_task"]
    load(office, "app")
    assert list(find_app("app.celery").tasks) == ["app.long_task"]
    assert office.facts(office.processes[0])["functions"] == ["app.long_task"]
    (open_gates / "begin").touch()
    (open_gates / "go_on").touch()
    assert web.reaches(where, "SUCCESS")
