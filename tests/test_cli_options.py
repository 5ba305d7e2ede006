"""The options that all commands share."""

from __future__ import annotations

import importlib
import os

import pytest

from pmtq import signals
from pmtq.cli.options import chosen_queues
from pmtq.folder import Folder
from tests.support import Said, all_states, life, post_by_hand, queued


@pytest.mark.parametrize("before", [True, False])
def test_global_options_stand_before_or_behind_the_command(run, project, before):
    (project / "inner").mkdir()
    (project / "tasks.py").rename(project / "inner" / "tasks.py")
    shared, command = ["--workdir", "inner", "-A", "tasks", "-b", "file://there"], ["call", "tasks.add", "[2, 3]"]

    assert run(*([*shared, *command] if before else [*command, *shared])).status == 0
    assert queued(Folder(project / "inner" / "there")) == [("tasks.add", [2, 3])]


def test_a_folder_that_is_not_there_is_no_place_to_work(run):
    assert run("--workdir", "nowhere", "status") == Said(
        1, "", "FileNotFoundError: the system refused nowhere: No such file or directory. Look at it: ls -la nowhere\n"
    )


def test_no_color_reaches_the_processes_that_are_started(run, here, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    post_by_hand(here, "")

    run("-C", "status")

    assert os.environ["NO_COLOR"] == "1"


def test_what_celerys_program_takes_is_taken(run, here):
    post_by_hand(here, "")

    assert run("--loader", "default", "-q", "status").status == 0


def test_config_and_result_backend_change_the_settings(run, project):
    (project / "settings.py").write_text("timezone = 'Europe/Oslo'")

    lines = run("--config", "settings", "--result-backend", "disabled://", "report").out.splitlines()

    assert lines[-2:] == ["result_backend: disabled://", "timezone: Europe/Oslo"]


def test_a_queue_is_named_together_with_its_higher_priorities(here):
    for name in ("celery", "p9", "low", "low.p1"):
        post_by_hand(here, "", name)

    assert chosen_queues(here, "") == ["celery", "low"]
    assert chosen_queues(here, "low") == ["low"]
    assert chosen_queues(here, "", "low") == ["celery"]


@pytest.mark.parametrize(
    ("arguments", "posted"),
    [
        (["-a", "[2, 3]"], [2, 3]),
        (["-k", '{"x": 2}'], {"x": 2}),
        (["[2]", "-k", '{"y": 3}'], {"y": 3}),
        (["-a", "[]", "-k", "{}"], None),
        (["-a", "[1]", "--serializer", "json", "--exchange", "tasks"], [1]),
    ],
)
def test_call_takes_its_arguments_as_celerys_does(run, here, arguments, posted):
    assert run("call", "tasks.add", *arguments).status == 0
    assert queued(here) == [("tasks.add", posted)]


def test_a_routing_key_is_a_queue(run, here):
    run("call", "a", "--routing-key", "low")
    run("call", "b", "--routing-key", "low", "-Q", "high")

    assert (queued(here, "low"), queued(here, "high")) == ([("a", None)], [("b", None)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-a", '{"x": 1}'], "ImproperlyConfigured: -a {\"x\": 1} is not an array, such as '[2, 3]'. Nothing was queued.\n"),
        (["-k", "[1]"], "ImproperlyConfigured: -k [1] is not an object, such as '{\"x\": 2}'. Nothing was queued.\n"),
        (
            ["--serializer", "pickle"],
            ("pmtq call: invalid value for '--serializer': 'pickle' is not possible: a queue file holds JSON, so that anyone can "
            "read it. Nothing was queued. All options: pmtq call --help\n"),
        ),
    ],
)  # fmt: skip
def test_arguments_in_the_wrong_place_are_refused_and_nothing_is_queued(run, here, arguments, message):
    said = run("call", "tasks.add", *arguments)

    assert (said.out, said.err, queued(here)) == ("", message, [])


def test_purge_spares_the_queues_that_are_excluded(run, here):
    run("call", "a", "--task-id", "stays", "-Q", "low")
    run("call", "b", "--task-id", "goes")

    run("purge", "-f", "-X", "low")

    assert [line["task_id"] for line in all_states(here)] == ["goes"]


@pytest.mark.parametrize(
    ("options", "shown"), [([], False), (["-t"], True), (["--traceback"], True), (["-t", "tasks.fail"], False)]
)
def test_result_shows_the_traceback_when_asked(run, here, pmtq, options, shown):
    run("call", "tasks.fail", '["no"]', "--task-id", "t")
    pmtq("worker", "-A", "tasks", "--burst")

    assert ("Traceback" in run("result", "t", *options).out) is shown


def test_a_receiver_hears_once_which_command_begins_and_what_it_was_asked(project, run):
    told = []

    @signals.user_preload_options.connect
    def hear(sender, app, options, **_):
        told.append((sender.name, app.main, options))

    assert run("-A", "tasks", "call", "tasks.add", "[1, 2]", "--countdown", "5").status == 0

    ((name, main, options),) = told
    assert (name, main, options["app"], options["countdown"]) == ("call", "tasks", "tasks", 5.0)


def test_a_receiver_may_import_more_modules_of_tasks(project, here, run):
    (project / "more.py").write_text("from tasks import app\n\n@app.task(name='more.one')\ndef one():\n    return 1\n")
    told = []

    @signals.import_modules.connect
    def more(sender, **_):
        told.append(sender.main)
        importlib.import_module("more")

    assert run("call", "more.one", "--task-id", "x").status == 0
    assert run("-A", "tasks", "worker", "--burst", "-q").status == 0
    assert life(here, "x")[-1][0] == "SUCCESS"
    assert told == ["tasks"]
