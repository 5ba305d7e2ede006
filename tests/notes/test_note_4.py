"""Note 4: what a queue is for, told over lunch: brokers, backends, pools, and what not to pass."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sqlite3
from contextlib import closing

import pytest

from pmtq import PMTQ
from pmtq.cli import main
from pmtq.clock import moved_clock
from pmtq.exceptions import ImproperlyConfigured, NotSerializable
from tests.notes.support import Load, Place, printed, runnable
from tests.support import NOW, all_states, post_by_hand, read_lines


@pytest.mark.parametrize("client", ["redis", "sqs", "sqlalchemy"])
def test_s4_01_an_extra_with_a_name_of_celerys_installs_celery_with_that_client(client):
    found = [
        line for line in importlib.metadata.requires("pmtq") or [] if re.search(f"extra == ['\"]{client}['\"]", line)
    ]

    assert [line.partition(">")[0] for line in found] == [f"celery[{client}]"]


def test_s4_02_the_command_as_printed_starts_a_worker(place):
    place.write("tasks.py", runnable("note_0_tasks.py"))

    (worker,) = place.start_workers("pmtq -A tasks worker --loglevel=info")

    assert place.facts(worker)["functions"] == ["tasks.zombocom"]
    assert place.stop(worker) == [0]


def test_s4_03_what_work_remains_to_be_done_is_answered_without_a_worker_queue_by_queue_in_order(app, add, capsys):
    asked = [add.delay(1, 2), add.delay(3, y=4), add.apply_async((5,), queue="low")]

    assert main(["queue", "-b", app.broker_url]) == 0

    shown = capsys.readouterr().out
    places = [shown.index(one.id) for one in asked]
    assert places == sorted(places)
    assert [arguments in shown for arguments in ("[1,2]", '[3] {"y":4}', "[5]", "low")] == [True] * 4
    assert [line["task_id"] for line in read_lines(app.folder.queue())] == [one.id for one in asked[:2]]


def test_s4_04_each_step_from_producer_to_backend_can_be_seen(app, add, folder, work):
    good, bad = add.delay(1, 2), add.delay(1, "two")
    in_queue = [line["task_id"] for line in read_lines(folder.queue())]

    work(app, "consumer@here")

    steps = [(line["task_id"], line["status"], line["worker"]) for line in all_states(folder)]
    assert in_queue == [good.id, bad.id]
    assert steps == [
        (good.id, "STARTED", "consumer@here"),
        (good.id, "SUCCESS", "consumer@here"),
        (bad.id, "STARTED", "consumer@here"),
        (bad.id, "FAILURE", "consumer@here"),
    ]
    assert (good.get(timeout=0), repr(bad.result)) == (
        3,
        """TypeError("unsupported operand type(s) for +: 'int' and 'str'")""",
    )


@pytest.mark.parametrize("settings", [{"task_ignore_result": True}, {"result_backend": "disabled://"}])
def test_s4_05_without_a_result_backend_tasks_run_and_their_values_are_not_kept(folder, work, settings):
    ran = []
    with PMTQ("tasks", broker=f"file://{folder.path}", **settings) as app:

        @app.task(name="tasks.note")
        def note(text):
            ran.append(text)
            return "a value like no other"

        asked = note.delay("so it was")
        work(app)

        assert (ran, asked.state, asked.result) == (["so it was"], "SUCCESS", None)
        assert "a value like no other" not in folder.results.read_text()


@pytest.mark.parametrize(
    ("pool", "in_workers_process", "in_main_thread"),
    [("solo", True, True), ("prefork", False, True), ("threads", True, False)],
)
def test_s4_06_a_pool_runs_tasks_in_the_process_in_children_or_in_threads(
    place, pool, in_workers_process, in_main_thread
):
    place.tell("where.py")
    post_by_hand(place.folder, '{"task_id":"w","function":"where.am_i"}\n')

    said = place.run(f"pmtq -A where worker -P {pool} --burst")

    assert said.status == 0
    worker = int(re.findall(r"\(process (\d+)\)", said.err)[0])
    process, parent, is_main = all_states(place.folder)[-1]["result"]
    assert (process == worker, is_main) == (in_workers_process, in_main_thread)
    assert worker in (process, parent)


@pytest.mark.parametrize("pool", ["eventlet", "gevent"])
def test_s4_06_a_pool_of_green_threads_runs_tasks_or_says_in_one_line_what_to_install(place, pool):
    place.write("tasks.py", runnable("note_0_tasks.py"))
    post_by_hand(place.folder, '{"task_id":"z","function":"tasks.zombocom"}\n')

    said = place.run(f"pmtq -A tasks worker -P {pool} --burst")

    if importlib.util.find_spec(pool):
        assert (said.status, [line["status"] for line in all_states(place.folder)]) == (0, ["STARTED", "SUCCESS"])
    else:
        assert (said.status, said.out, len(said.err.splitlines())) == (1, "", 1)
        assert f"pip install {pool}" in said.err


class Person:
    """An object of a program's own."""


def test_s4_07_an_object_as_a_parameter_is_refused_at_the_call_with_its_name_and_type(app, add, folder):
    with pytest.raises(NotSerializable, match=r"argument 'y' of tasks\.add .*Person.*Nothing was queued"):
        add.delay(1, y=Person())

    assert read_lines(folder.queue()) == []


def test_s4_07_pickle_is_refused(app, add, folder):
    with pytest.raises(ImproperlyConfigured, match=r"pickle.*Nothing was queued"):
        add.apply_async((1, 2), serializer="pickle")
    with pytest.raises(ImproperlyConfigured, match="pickle"):
        app.conf.task_serializer = "pickle"

    assert read_lines(folder.queue()) == []


def test_s4_08_a_task_that_gets_the_id_of_a_row_sees_it_as_it_is_and_one_that_got_the_row_as_it_was(
    app, tmp_path, work
):
    with closing(sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None)) as database:
        database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT)")
        database.execute("INSERT INTO users VALUES (7, 'old@example.com')")

        def mail_of(number):
            return database.execute("SELECT mail FROM users WHERE id = ?", [number]).fetchone()[0]

        by_id = app.task(name="mail.by_id")(mail_of).delay(7)
        by_row = app.task(name="mail.by_row")(lambda row: row["mail"]).delay({"id": 7, "mail": mail_of(7)})
        database.execute("UPDATE users SET mail = 'new@example.com'")
        work(app)

    assert [by_id.get(timeout=0), by_row.get(timeout=0)] == ["new@example.com", "old@example.com"]


def test_s4_12_a_task_is_loaded_by_its_id_as_printed(app, add, work):
    asked = add.delay(1, 2)
    work(app)
    names = {"task_function": add, "task_id": asked.id}

    exec(printed("note_4_load_a_task.py"), names)

    assert (names["task"], names["task"].get(timeout=0)) == (asked, 3)


def test_s4_13_a_web_program_has_mails_sent_now_and_a_minute_from_now(place: Place, load: Load, work):
    place.tell("mail_web.py")
    mail_web = load(place, "mail_web")
    client = mail_web.app.test_client()
    outbox = place.path / "outbox"

    def sent() -> list[str]:
        work(mail_web.celery)
        return sorted(path.name for path in outbox.iterdir())

    with moved_clock(at=NOW) as clock:
        for button in ("Send", "Send in 1 minute"):
            answer = client.post("/", data={"email": "susan@example.com", "submit": button})
            assert (answer.status_code, answer.headers["Location"]) == (302, "/")
        at_once = sent()
        clock.advance(60)
        later = sent()

    assert (at_once, later) == (["Send.eml"], ["Send in 1 minute.eml", "Send.eml"])
    assert (outbox / "Send.eml").read_text().splitlines()[:3] == [
        "From: flask@example.com",
        "To: susan@example.com",
        "Subject: Send",
    ]
