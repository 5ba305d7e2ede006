"""``pmtq control``, ``revoke``, ``move``, ``pause``, ``resume``, ``dead``, ``requeue``: what they print, and what they do."""

import json
import sys
from typing import NamedTuple

import pytest

from pmtq import PMTQ
from pmtq.cli import main
from pmtq.follower import Follower
from pmtq.inbox import Inbox
from pmtq.presence import Presence
from tests.support import post_by_hand, read_lines


class Said(NamedTuple):
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(folder, capsys, monkeypatch, tmp_path):
    """A function that runs a command in this process, on the test's folder."""
    monkeypatch.setenv("PMTQ_BROKER_URL", f"file://{folder.path}")
    monkeypatch.chdir(tmp_path)
    folder.make()
    return lambda *arguments: Said(main(list(arguments)), *capsys.readouterr())


@pytest.fixture
def lives(folder):
    """A living worker."""
    facts = {"name": "w@h", "pid": 7, "queues": ["celery"], "functions": ["tasks.add"], "pool": "solo", "host": "far"}
    presence = Presence(folder, "w@h", facts)
    yield presence
    presence.leave()


def controls(folder):
    return {name: line.result for name, line in Follower(folder).look().controls.items()}


def test_revoke_says_what_became_of_each_task(run, add, hand):
    add.apply_async([1], task_id="runs")
    hand("w1").claim()
    add.apply_async([1], task_id="waits")

    assert run("revoke", "waits", "runs", "waits") == Said(
        0, "task waits called off\ntask runs w1 runs it to its end, and it is not started again\n", ""
    )
    assert run("control", "revoke", "waits") == Said(0, "task waits had ended before\n", "")


def test_revoke_of_a_group_takes_all_of_it(run, add):
    add.apply_async([1], task_id="a", group_id="g")
    add.apply_async([1], task_id="b", group_id="g")

    assert run("revoke", "--group", "g") == Said(0, "task a called off\ntask b called off\n", "")
    assert run("revoke", "--group", "g") == Said(0, "no such task is owed\n", "")


def test_terminate_that_is_refused_is_an_error(run, add, hand, folder):
    add.apply_async([1], task_id="t")
    hand("w1").claim()
    folder.worker("w1").write_text('{"name": "w1", "pool": "solo"}')

    assert run("control", "terminate", "SIGKILL", "t") == Said(
        1,
        "",
        "task t called off, but it runs on: its worker w1 has the pool solo, and would end with it. "
        "Start workers with -P prefork to be able to end single tasks\n",
    )


def test_a_signal_that_is_none_changes_nothing(run, add, folder):
    add.apply_async([1], task_id="t")

    assert run("revoke", "t", "--terminate", "-s", "NONSENSE").err == (
        "ImproperlyConfigured: 'NONSENSE' is no signal of this system. Nothing was called off. Take SIGTERM or SIGKILL\n"
    )
    assert not folder.results.exists()


def test_revoke_needs_a_task(run):
    said = run("revoke")

    assert (said.status, said.err) == (
        2,
        "pmtq revoke: name tasks by their ids, or a --group, or a --workflow. All options: pmtq revoke --help\n",
    )


def test_pause_and_resume_say_how_it_goes_on(run, folder):
    assert run("pause").out == "nothing is paused\n"
    assert run("pause", "-Q", "low").out == "paused: what is sent waits, what runs goes on. pmtq resume -Q low\n"
    assert run("pause", "-T", "tasks.add").out.endswith("pmtq resume -T tasks.add\n")
    assert run("pause").out == "queue low\ntask tasks.add\n"
    assert run("resume", "-Q", "low").out == "queue low goes on\n"
    assert run("resume", "-Q", "low").out == "queue low was not paused\n"
    assert controls(folder) == {"pause task tasks.add": True}


def test_resume_must_say_what(run):
    said = run("resume")

    assert (said.status, said.out) == (1, "")
    assert said.err.startswith(
        "ImproperlyConfigured: queue=None and task=None: name one of the two. Nothing was changed."
    )


def test_move_says_where_the_task_waits_now(run, add):
    add.apply_async([1], task_id="t")

    assert run("move", "t", "--front").out == "task t waits in queue celery with priority 9\n"
    assert run("move", "t", "--queue", "low", "--priority", "2").out == "task t waits in queue low with priority 2\n"
    assert run("move", "t").err == (
        "NotMovedError: task t was not moved: say where to. Give front, or a queue, a priority, or both\n"
    )


def test_queue_shows_priorities_as_what_they_are_and_a_moved_task_once(run, add):
    for task_id in ("a", "b", "c"):
        add.apply_async([1], task_id=task_id)
    run("move", "c", "--front")
    run("move", "a", "--queue", "low")

    waiting = [json.loads(line) for line in run("queue", "--json", "-Q", "celery").out.splitlines()]

    assert [(one["task_id"], one["queue"], one["priority"]) for one in waiting] == [
        ("c", "celery", 9),
        ("b", "celery", 0),
    ]


def test_control_passes_on_what_workers_answer(run, lives, folder):
    inbox = Inbox(folder, "w@h")

    assert run("control", "pool_grow", "2") == Said(0, "WORKER      ANSWER\nw@h     ok  told: pool_grow n=2\n", "")
    assert run("control", "-d", "w@h", "--json", "autoscale", "4", "1").out == (
        '[{"w@h":{"ok":"told: autoscale max=4 min=1"}}]\n'
    )
    run("control", "add_consumer", "low")
    assert [command["command"] for command in inbox.commands()] == ["pool_grow", "autoscale", "add_consumer"]


@pytest.mark.parametrize(
    "command", ["pool_restart", "shutdown", "heartbeat", "enable_events", "disable_events", "election"]
)
def test_every_command_of_celerys_is_there(run, lives, command):
    assert run("control", command).status == 0


def test_control_of_a_worker_that_is_not_there_names_those_that_are(run, lives):
    assert run("control", "-d", "x@h", "shutdown") == Said(
        1, "", "ImproperlyConfigured: no worker called 'x@h' is running. Nobody was asked or told. Running: w@h\n"
    )


def test_a_limit_is_set_though_no_worker_is_there(run, folder):
    said = "No worker is running to be told. What holds for tasks is set, and holds for those that start later.\n"

    assert run("control", "rate_limit", "tasks.add", "10/m") == Said(0, said, "")
    run("control", "time_limit", "tasks.add", "1", "2.5")
    assert controls(folder) == {"rate_limit tasks.add": "10/m", "time_limit tasks.add": [2.5, 1.0]}
    run("control", "rate_limit", "tasks.add", "none")
    run("control", "time_limit", "tasks.add", "0")
    assert controls(folder) == {}


def test_a_misspelt_command_is_answered_with_the_right_one(run):
    assert "Did you mean 'pmtq control rate_limit'?" in run("control", "rate-limit").err


def test_dead_shows_what_ended_badly_and_requeue_has_it_run_again(run, add, work, app):
    failed = add.delay(1, "x")
    work(app)

    assert run("dead").out.splitlines()[1:] == [
        f"{failed.id}  FAILURE   tasks.add  [1,\"x\"]    TypeError: unsupported operand type(s) for +: 'int' and 'str'",
        "Have one run again: pmtq requeue ID",
    ]
    said = run("requeue", failed.id, "--args", "[1, 2]").out
    new = said.split()[-1]
    assert said == f"task {failed.id} is queued again as {new}\n"
    work(app)
    assert app.AsyncResult(new).get(timeout=1) == 3
    assert f"(requeued as {new})" in run("dead").out
    assert json.loads(run("dead", "--json", "--state", "failure", "-T", "tasks.add").out)["requeued_as"] == new
    assert run("dead", "--state", "revoked").out == "No task that results are kept of ended badly.\n"


def test_requeue_of_all_takes_each_once(run, add, work, app):
    add.delay(1, "x")
    add.delay(2, "x")
    work(app)

    assert run("requeue", "--all", "--function", "tasks.add").out == "2 tasks queued again\n"
    assert run("requeue", "--all").out == "0 tasks queued again\n"


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        (
            "--args",
            "[1",
            "--args [1 is no JSON: Expecting ',' delimiter: line 1 column 3 (char 2). Nothing was queued.",
        ),
        ("--args", "1", "--args 1 is not an array: '[2, 3]'. Nothing was queued."),
        ("--kwargs", "[]", "--kwargs [] is not an object: '{\"x\": 2}'. Nothing was queued."),
    ],
)
def test_arguments_that_are_none_are_refused(run, add, work, app, option, text, message):
    failed = add.delay(1, "x")
    work(app)

    assert run("requeue", failed.id, option, text) == Said(1, "", f"ImproperlyConfigured: {message}\n")
    assert app.control.dead()[0].requeued_as == ""


@pytest.mark.parametrize("way", [["--all"], ["--rejected", "1"]])
@pytest.mark.parametrize("option", [["--args", "[1]"], ["--kwargs", "{}"], ["--queue", "low"], ["--countdown", "9"]])
def test_what_is_posted_as_it_was_is_not_to_be_changed(run, add, work, app, way, option):
    add.delay(1, "x")
    work(app)

    said = run("requeue", *way, *option)

    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(
        f"pmtq requeue: {way[0]} posts calls as they were, and {option[0]} would change nothing. Nothing was queued. "
        "Name the tasks by their ids, or leave it out."
    )
    assert app.control.dead()[0].requeued_as == ""


def test_requeue_must_say_what(run):
    assert run("requeue").err.startswith("pmtq requeue: name tasks by their ids, or give --all or --rejected.")


def test_a_rejected_line_is_mended_on_the_command_line(run, folder, hand):
    post_by_hand(folder, "{nonsense}\n")
    worker = hand()
    worker.run_all()
    assert "(line 1 of rejected.jsonl)" in run("dead").out

    said = run("requeue", "--rejected", "1", '{"function":"tasks.add",', '"params":[1]}')

    assert said.out.startswith("line 1 is queued again as ")
    assert worker.run_all() == [said.out.split()[-1]]
    assert run("requeue", "--rejected", "1").err.startswith("NotRequeuedError: line 1 of ")


@pytest.mark.parametrize("saved", [True, False])
def test_a_rejected_line_is_mended_in_the_editor(run, folder, hand, monkeypatch, tmp_path, saved):
    post_by_hand(folder, '{"function":"tasks.add",}\n')
    worker = hand()
    worker.run_all()
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys, os\nfrom pathlib import Path\nfile = Path(sys.argv[1])\n"
        + (
            "text = file.read_text().replace(',}', '}')\nfile.write_text(text)\nos.utime(file, (1, 1))\n"
            if saved
            else ""
        )
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} {editor}")

    said = run("requeue", "--rejected", "1", "--edit")

    assert said.status == (not saved)
    assert len(worker.run_all()) == saved
    if not saved:
        assert said.err == (
            "NotRequeuedError: line 1 of rejected.jsonl was left as it is. Nothing was queued. Save it when it is mended\n"
        )


def test_the_commands_name_the_folder_that_is_not_there(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for command in (["dead"], ["requeue", "x"], ["pause", "-Q", "a"], ["move", "x", "--front"], ["revoke", "x"]):
        assert main(command) == 1
        assert "there is no queue folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_purge_leaves_out_the_queues_it_is_told(run, folder):
    with PMTQ(broker=f"file://{folder.path}") as app:
        app.send_task("tasks.add", [1], queue="low")
        app.send_task("tasks.add", [1], priority=3)

    assert run("purge", "-f", "-X", "low").out == f"1 waiting task called off (REVOKED) in {folder.path}\n"
    assert run("purge", "-f").out == f"1 waiting task called off (REVOKED) in {folder.path}\n"
    assert {line["error"]["message"] for line in read_lines(folder.results)} == {"purged"}
