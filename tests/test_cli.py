"""The command line: what it prints, what it returns, and that every error is one readable paragraph."""

from __future__ import annotations

import json
import logging
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import msgspec
import pytest

from pmtq import PMTQ, cli
from pmtq.cli import logs, look, text
from pmtq.cli.commands import COMMANDS
from pmtq.cli.finding import find_app
from pmtq.exceptions import ImproperlyConfigured
from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.presence import Presence
from pmtq.records import StateRecord, encode_lines, timestamp
from tests.support import Said, all_states, life, post_by_hand, queued, read_lines


def settle(folder: Folder, *lines: StateRecord) -> None:
    Journal(folder.results).append(encode_lines(list(lines)))


# How a command is understood


def test_without_a_command_there_is_a_list_of_them(run):
    said = run()

    assert (said.status, said.err) == (0, "")
    for name in ("worker", "call", "result", "status", "queue", "inspect", "purge", "demo", "help"):
        assert f"\n  {name} " in said.out


def test_help_explains_a_command_and_a_command_within_a_command(run):
    assert run("help", "call").out == run("call", "--help").out
    assert "Show which functions each worker knows" in run("help", "inspect", "registered").out


@pytest.mark.parametrize(
    ("arguments", "paragraph"),
    [
        (["dead", "nope"], "pmtq dead: got unexpected extra argument (nope). All options: pmtq dead --help\n"),
        (["wroker"], "pmtq: there is no command 'wroker'. Did you mean 'pmtq worker'? All options: pmtq --help\n"),
        (
            ["inspect", "actve"],
            (
                "pmtq inspect: there is no command 'actve'. Did you mean 'pmtq inspect active'? "
                "All options: pmtq inspect --help\n"
            ),
        ),
        (
            ["xyzzy"],
            (
                "pmtq: there is no command 'xyzzy'. There are: worker, beat, multi, call, schedule, result, logs, requeue, "
                "revoke, edit, move, pause, resume, control, purge, status, queue, dead, list, inspect, events, doctor, report, demo, shell, "
                "completion, help. All options: pmtq --help\n"
            ),
        ),
        (
            ["help", "wroker"],
            "pmtq: there is no command 'wroker'. Did you mean 'pmtq worker'? All options: pmtq --help\n",
        ),
        (
            ["worker", "-P", "solo", "-c", "2"],
            (
                "pmtq worker: -P solo is one process, and -c asks for several. Leave one of them out. "
                "All options: pmtq worker --help\n"
            ),
        ),
    ],
)
def test_a_misunderstood_command_says_what_could_be_meant(run, arguments, paragraph):
    assert run(*arguments) == Said(2, "", paragraph)


def test_a_misspelt_option_says_what_could_be_meant(run):
    said = run("worker", "--brust")

    assert (said.status, said.out) == (2, "")
    assert "--burst" in said.err


@pytest.mark.parametrize("order", [["-A", "tasks", "call"], ["call", "-A", "tasks"]])
def test_the_app_may_stand_before_or_behind_the_command(run, here, order):
    assert run(*order, "tasks.add", "[2, 3]").status == 0
    assert queued(here) == [("tasks.add", [2, 3])]


def test_the_broker_option_overrides_the_environment_and_that_the_code(run, project, monkeypatch):
    monkeypatch.setenv("PMTQ_BROKER_URL", "file://second")

    run("-A", "tasks", "call", "tasks.add", "[1, 1]")
    run("-b", "file://third", "-A", "tasks", "call", "tasks.add", "[2, 2]")
    run("call", "-b", "file://fourth", "tasks.add", "[3, 3]")

    folders = {name: queued(Folder(project / name)) for name in ("queue_dir", "second", "third", "fourth")}
    assert folders == {
        "queue_dir": [],
        "second": [("tasks.add", [1, 1])],
        "third": [("tasks.add", [2, 2])],
        "fourth": [("tasks.add", [3, 3])],
    }


# Finding the app


@pytest.mark.parametrize("name", ["tasks:app", "tasks", "tasks.app"])
def test_an_app_is_found_by_module_and_attribute_or_by_module(project, name):
    assert isinstance(find_app(name), PMTQ)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"one.py": "import pmtq\nother = pmtq.PMTQ('other')\ncelery = pmtq.PMTQ('found')"}, "one"),
        ({"two.py": "import pmtq\napp = 'a web app'\nqueue = pmtq.PMTQ('found')"}, "two"),
        ({"shop/__init__.py": "", "shop/celery.py": "import pmtq\napp = pmtq.PMTQ('found')"}, "shop"),
        ({"deep.py": "import pmtq\nclass Queues: shop = pmtq.PMTQ('found')"}, "deep:Queues.shop"),
    ],
)
def test_an_app_is_looked_for_where_celery_looks(project, files, name):
    for path, code in files.items():
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text(code)

    assert find_app(name).main == "found"


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("taks", "", "there is no module 'taks' in {here} or among the installed packages. Nothing was started. Did you mean tasks?"),
        ("zzzz", "", "there is no module 'zzzz' in {here} or among the installed packages. Nothing was started. There is an app in tasks.py: -A tasks"),
        ("tasks:ap", "", "module tasks ({here}/tasks.py) has no 'ap'. Nothing was started. Did you mean -A tasks:app?"),
        ("tasks:add", "", "tasks:add is a Task, not a PMTQ app. Nothing was started. Did you mean -A tasks:app?"),
        ("tasks:", "", "-A 'tasks:' is no module or module:attribute. Write it like -A tasks:app"),
        ("mine", "x = 1", 'module mine ({here}/mine.py) holds no PMTQ app. Nothing was started. Make one in it: app = PMTQ("mine")'),
        ("mine", "def f():\n    return {}['x']\nf()", "importing mine failed with KeyError: 'x', at {here}/mine.py:2, `return {}['x']`. {mend}"),
        ("mine", "x = = 1", "importing mine failed with SyntaxError: invalid syntax, at {here}/mine.py:1, `x = = 1`. {mend}"),
        ("mine", "import nowhere", "importing mine failed with ModuleNotFoundError: No module named 'nowhere', at {here}/mine.py:1, `import nowhere`. {mend}"),
        ("mine", "import pmtq\npmtq.PMTQ(task_time_limit=-1)", "importing mine failed with pmtq.exceptions.ImproperlyConfigured: task_time_limit=-1 is no time span. It was not set. Give seconds, or a timedelta, at {here}/mine.py:2, `pmtq.PMTQ(task_time_limit=-1)`. {mend}"),
        ("mine", "raise SystemExit('usage')", "importing mine failed with SystemExit: usage, at {here}/mine.py:1, `raise SystemExit('usage')`. {mend}"),
    ],
)  # fmt: skip
def test_an_app_that_is_not_found_is_explained(project, name, code, message):
    (project / "mine.py").write_text(code)
    mend = (
        "Nothing was started. Mend that and try again; PMTQ_DEBUG=1 in front of the command shows the whole traceback"
    )

    with pytest.raises(ImproperlyConfigured) as caught:
        find_app(name)

    assert str(caught.value) == message.replace("{here}", str(project)).replace("{mend}", mend)


def test_a_worker_without_an_app_is_told_where_one_is(run):
    assert run("worker") == Said(
        1,
        "",
        "ImproperlyConfigured: a worker needs the code of your tasks, and no -A says where it is. There is an app in "
        "tasks.py: pmtq worker -A tasks\n",
    )


# The worker


def test_a_burst_runs_what_is_there_and_says_so_line_by_line(pmtq, project, here):
    pmtq("call", "tasks.add", "[2, 3]", "--task-id", "one")
    pmtq("call", "tasks.fail", '["no\\u001b[31m\\u202e good"]', "--task-id", "two")

    said = pmtq("worker", "-A", "tasks", "--burst", "-n", "w@h")

    banner, events = said.err.splitlines()[:6], said.err.splitlines()[6:]
    assert (said.status, said.out) == (0, "")
    assert [line.split()[0] for line in banner] == ["pmtq", "folder", "queues", "tasks", "pool", "stop"]
    assert banner[1:4] == [f"  folder  {here.path}", "  queues  celery", "  tasks   tasks.add, tasks.fail"]
    (_, *first), (_, *second) = (line.split() for line in events)
    assert (first[:5], first[-1]) == (["INFO", "w@h", "tasks.add", "one", "SUCCESS"], "5")
    assert second[:5] == ["ERROR", "w@h", "tasks.fail", "two", "FAILURE"]
    assert events[1].endswith("ValueError: no\\x1b[31m\\u202e good")


def test_included_modules_are_imported_by_the_worker(pmtq, project, here):
    (project / "shop.py").write_text("from pmtq import PMTQ\napp = PMTQ('shop', include=['more'])")
    (project / "more.py").write_text("from shop import app\n@app.task\ndef ship(): return 'sent'")
    pmtq("call", "more.ship", "--task-id", "t")

    pmtq("worker", "-A", "shop", "--burst")

    assert life(here, "t") == [("STARTED", 1), ("SUCCESS", 1)]


def test_a_queue_that_tasks_go_to_and_nobody_serves_is_noted_in_the_banner(pmtq, project):
    (project / "shop.py").write_text("from pmtq import PMTQ\napp = PMTQ()\n@app.task(queue='slow')\ndef ship(): ...")

    said = pmtq("worker", "-A", "shop", "--burst")

    assert "  note    nobody here serves slow: -Q celery,slow\n" in said.err


def test_slow_shows_the_stages_of_a_task(pmtq):
    pmtq("call", "tasks.add", "[2, 3]", "--task-id", "t")

    said = pmtq("worker", "-A", "tasks", "--burst", "--slow", "0")

    stages = [line.split()[0] for line in said.err.splitlines() if " t: " in line]
    assert stages == ["seen", "claimed", "running", "result", "cleared"]


def test_a_taken_name_is_refused_and_nothing_is_started(run, lives):
    said = run("worker", "-A", "tasks", "-n", "w@h")

    assert said == Said(
        1,
        "",
        "WorkerNameTaken: a worker called 'w@h' is already running here. Nothing was changed. Give this one a name of its "
        "own: pmtq worker -n wb@%h\n",
    )


# Calling


def test_call_posts_and_prints_the_id(run, here):
    said = run("call", "tasks.add", "[2, 3]")

    (line,) = read_lines(here.queue())
    assert said == Said(0, f"{line['task_id']}\n", "")
    assert (line["function"], line["params"]) == ("tasks.add", [2, 3])


@pytest.mark.parametrize(
    ("parameters", "params"),
    [([], None), (["[]"], None), (['{"x": 2}'], {"x": 2}), (["[2,", "3]"], [2, 3]), (['["ü"]'], ["ü"])],
)
def test_call_takes_an_array_an_object_or_nothing(run, here, parameters, params):
    run("call", "Image.resize", *parameters)

    assert queued(here) == [("Image.resize", params)]


def test_call_hands_its_options_on(run, here):
    run("call", "a", "--task-id", "t", "--eta", "2030-01-01", "--expires", "2031-01-01", "-Q", "slow")

    (line,) = read_lines(here.queue("slow"))
    assert (line["task_id"], line["eta"], line["expires"]) == (
        "t",
        "2030-01-01T00:00:00.000Z",
        "2031-01-01T00:00:00.000Z",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["tasks.add", "[2 3]"],
            (
                "ImproperlyConfigured: the arguments are no JSON: expecting ',' delimiter, line 1 column 4. Nothing was queued. "
                "Put single quotes around JSON, so that the shell leaves its double quotes alone: '[2, \"text\"]'\n"
                "    [2 3]\n"
                "       ^\n"
            ),
        ),
        (
            ["tasks.add", "5"],
            (
                "ImproperlyConfigured: the arguments are 5, which is neither an array nor an object. Nothing was queued. Write one "
                "positional argument as '[5]'\n"
            ),
        ),
        (
            ["tasks.add", "[NaN]"],
            "ImproperlyConfigured: the arguments are no JSON: NaN is not a JSON number. Nothing was queued.\n",
        ),
        (
            ["tasks.add", '["\udcff"]'],
            "ImproperlyConfigured: the arguments hold bytes that are no UTF-8 text. Nothing was queued.\n",
        ),
        (
            ["-A", "tasks", "tasks.ad", "[2, 3]"],
            (
                "NotRegistered: no task is called 'tasks.ad'; this app has: tasks.add, tasks.fail. Did you mean 'tasks.add'? "
                "Nothing was queued. For a task of another program leave -A out.\n"
            ),
        ),
        (
            ["-A", "tasks", "tasks.add", "[2]"],
            "pmtq: tasks.add(x, y) missing a required argument: 'y'. Nothing was queued.\n",
        ),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused_and_nothing_is_queued(run, here, arguments, message):
    assert run("call", *arguments) == Said(1, "", message)
    assert queued(here) == []


def test_call_waits_for_the_value_and_prints_nothing_else_to_stdout(run, here):
    post_by_hand(here, "")
    settle(here, StateRecord("t", "SUCCESS", {"a": [1, "ü"]}))

    assert run("call", "tasks.add", "--task-id", "t", "--wait") == Said(0, '{"a":[1,"ü"]}\n', "t\n")


def test_call_tells_a_failure_as_an_error(run, here):
    post_by_hand(here, "")
    settle(here, StateRecord("t", "FAILURE", error={"type": "ValueError", "message": "bad"}, traceback="…"))

    assert run("call", "tasks.add", "--task-id", "t", "--wait") == Said(
        1, "", "t\npmtq: task t ended as FAILURE: ValueError: bad. Its traceback: pmtq result t --traceback\n"
    )


def test_call_that_waited_long_enough_says_why_there_is_no_result(run):
    assert run("call", "tasks.add", "--task-id", "t", "--wait", "--timeout", "0") == Said(
        2,
        "",
        "t\ntask t has not ended after 0 s; no worker is running. Ask again: pmtq result t --wait\n",
    )


# The result


def test_result_of_a_task_that_went_well(run, here):
    post_by_hand(here, "")
    settle(here, StateRecord("t", "SUCCESS", "\u202e5", 1, "w@h", timestamp(0), 0.5))

    assert run("result", "t") == Said(
        0,
        "task      t\n"
        "state     SUCCESS\n"
        'value     "\\u202e5"\n'
        "worker    w@h, attempt 1, 0.5000 s\n"
        "at        1970-01-01T00:00:00.000Z\n",
        "",
    )


def test_result_of_a_task_that_failed_with_its_traceback(run, here):
    post_by_hand(here, "")
    error = {"type": "ValueError", "message": "bad"}
    settle(here, StateRecord("t", "FAILURE", error=error, traceback="Traceback:\n  x\x1b\n"))

    said = run("result", "t", "--traceback")

    assert said == Said(1, "task      t\nstate     FAILURE\nerror     ValueError: bad\nTraceback:\n  x\\x1b\n", "")


def test_result_of_a_task_that_waits_says_what_for(run):
    run("call", "tasks.add", "[2, 3]", "--task-id", "t")

    assert run("result", "t") == Said(
        2, "task      t\nstate     PENDING\nfunction  tasks.add [2,3]\nwaits     no worker is running\n", ""
    )


def test_result_shows_the_workflow_as_a_tree_and_of_many_alike_the_first_few(run, here):
    header = [f"h{number}" for number in range(12)]
    lines = [
        {"task_id": "a", "function": "begin"},
        *({"task_id": one, "function": "each", "after": "a"} for one in header),
        {"task_id": "z", "function": "end", "after": header},
    ]
    post_by_hand(here, "".join(json.dumps(line) + "\n" for line in lines))
    settle(here, StateRecord("a", "SUCCESS", 1))

    said = run("result", "z", "--tree")

    assert said.out.splitlines()[-14:] == [
        "waits     task h0 and 11 more have not ended yet",
        "begin a SUCCESS",
        *(f"  each {one} PENDING" for one in header[:10]),
        "  … and 2 more of these",
        "    end z PENDING  <- this one",
    ]


def test_result_of_an_unknown_id_says_that_nothing_is_known(run, here):
    post_by_hand(here, "")

    said = run("result", "t")

    assert (said.status, said.out.splitlines()[2]) == (
        2,
        f"waits     nothing is known of this id in {here.path}; was it sent to another folder?",
    )


def test_history_shows_each_line_of_a_tasks_life(run, here):
    post_by_hand(here, "")
    settle(
        here,
        StateRecord("t", "STARTED", None, 1, "w@h", timestamp(0)),
        StateRecord("t", "SUCCESS", 5, 1, "w@h", timestamp(1)),
    )

    said = run("result", "t", "--history")

    assert said.out.splitlines()[-3:] == [
        "AT                        STATE    WORKER",
        "1970-01-01T00:00:00.000Z  STARTED  w@h attempt 1",
        "1970-01-01T00:00:01.000Z  SUCCESS  w@h attempt 1  5",
    ]


# Looking


def test_a_folder_that_nobody_made_is_an_error_that_says_where_it_was_looked_for(run, here):
    for command in (["status"], ["queue"], ["inspect", "active"], ["purge"], ["result", "x"]):
        assert run(*command) == Said(
            1,
            "",
            f"OperationalError: there is no queue folder {here.path}: nothing was ever sent there, and no worker was "
            "started. Go to the directory of your program, or name the folder: --broker file:///path/to/queue_dir\n",
        )


def test_queue_shows_what_waits_and_why_without_a_worker(run, here):
    run("call", "tasks.add", "[2, 3]", "--task-id", "one")
    run("call", "tasks.add", '{"x": "\\u202e"}', "--task-id", "two", "--eta", "2100-01-01")
    run("call", "tasks.add", "--task-id", "three")

    assert run("queue", "--limit", "2") == Said(
        0,
        f"3 in queue celery ({here.queue()})\n"
        "TASK  FUNCTION   ARGUMENTS       WHY IT WAITS\n"
        "one   tasks.add  [2,3]           no worker is running\n"
        'two   tasks.add  {"x":"\\u202e"}  it is not to run before 2100-01-01T00:00:00.000Z\n'
        "… and 1 more; see them with --limit 3\n",
        "",
    )


def test_queue_as_json_is_one_object_a_line(run):
    run("call", "tasks.add", "[2, 3]", "--task-id", "one")

    (line,) = run("queue", "--json").out.splitlines()

    owed = msgspec.json.decode(line)
    owed.pop("sent")
    assert owed == {
        "task_id": "one",
        "function": "tasks.add",
        "args": [2, 3],
        "kwargs": {},
        "queue": "celery",
        "priority": 0,
        "eta": "",
        "state": "PENDING",
        "why": "no worker is running",
    }


def test_status_shows_who_lives_what_runs_and_how_long_the_queues_are(run, here, lives):
    run("call", "tasks.add", "[2, 3]", "--task-id", "one")
    run("call", "tasks.add", "[2, 3]", "--task-id", "two")
    settle(here, StateRecord("one", "STARTED", None, 1, "w@h", timestamp(time.time() - 65)))

    assert run("status") == Said(
        0,
        f"folder {here.path}\n"
        "\n"
        "WORKER  PID  UP         POOL  QUEUES  RUNS\n"
        "w@h     7    2 min 5 s  solo  celery  tasks.add one for 1 min 5 s\n"
        "\n"
        "QUEUE   WAITING  RUNNING  FILE\n"
        "celery  1        1        queue.jsonl\n",
        "",
    )


def test_inspect_answers_without_the_app(run, here, lives):
    run("call", "tasks.add", "[2, 3]", "--task-id", "one")
    settle(here, StateRecord("one", "STARTED", None, 1, "w@h", timestamp(time.time() - 5)))

    assert run("inspect", "registered").out == "WORKER  FUNCTION\nw@h     tasks.add\n"
    assert run("inspect", "active").out == (
        "WORKER  TASK  FUNCTION   ARGUMENTS  FOR  ATTEMPT\nw@h     one   tasks.add  [2,3]      5 s  1\n"
    )


def test_inspect_without_a_worker_is_an_error(run, here):
    post_by_hand(here, "")

    assert run("inspect", "active") == Said(
        1,
        "",
        f"OperationalError: no worker is running on {here.path}, so there is nobody to ask. Start one: pmtq worker -A tasks\n",
    )


# Purging


def test_purge_calls_off_what_waits_and_leaves_alone_what_runs(run, here, lives):
    for name in ("runs", "waits", "retries", "done"):
        run("call", "tasks.add", "--task-id", name)
    run("call", "tasks.add", "--task-id", "elsewhere", "-Q", "slow")
    settle(
        here,
        StateRecord("runs", "STARTED", None, 1, "w@h"),
        StateRecord("retries", "RETRY", attempt=1, eta=timestamp(time.time() + 60)),
        StateRecord("done", "SUCCESS", 5),
    )

    assert run("purge", "-f") == Said(0, f"3 waiting tasks called off (REVOKED) in {here.path}\n", "")

    revoked = [line for line in all_states(here) if line["status"] == "REVOKED"]
    assert [line["task_id"] for line in revoked] == ["waits", "retries", "elsewhere"]
    assert [line["error"] for line in revoked] == [
        {"type": "pmtq.exceptions.TaskRevokedError", "message": "purged"}
    ] * 3
    assert run("purge", "-f").out == f"0 waiting tasks called off (REVOKED) in {here.path}\n"


def test_purge_takes_only_the_queues_it_is_told(run, here):
    run("call", "tasks.add", "--task-id", "stays")
    run("call", "tasks.add", "--task-id", "goes", "-Q", "slow")

    run("purge", "-f", "-Q", "slow")

    assert [(line["task_id"], line["status"]) for line in all_states(here)] == [("goes", "REVOKED")]


def test_purge_calls_off_what_a_dead_worker_held_unless_it_had_ended_it(run, here):
    for name in ("ended", "held"):
        run("call", "tasks.add", "--task-id", name)
    settle(here, *(StateRecord(name, "STARTED", None, 1, "dead@h") for name in ("ended", "held")))
    dead = Presence(here, "dead@h", {"name": "dead@h"})
    dead.notes.add(b'{"task_id":"ended","status":"SUCCESS","attempt":1,"worker":"dead@h"}\n')
    os.close(dead._descriptor)
    dead._descriptor = -1

    run("purge", "-f")

    assert (life(here, "ended"), life(here, "held")[-1]) == ([("STARTED", 1)], ("REVOKED", 0))


def test_purge_of_more_than_one_batch_takes_all(run, here):
    line = b'{"task_id":"%d","function":"tasks.add","sent":"2026-11-20T15:04:05.123Z"}\n'
    post_by_hand(here, b"".join(line % number for number in range(2500)))

    assert run("purge", "-f").out == f"2,500 waiting tasks called off (REVOKED) in {here.path}\n"
    assert len(all_states(here)) == 2500


@pytest.mark.parametrize(("answer", "status", "count"), [("y\n", 0, 1), ("n\n", 1, 0), ("", 1, 0)])
def test_purge_asks_first(pmtq, here, answer, status, count):
    pmtq("call", "tasks.add")

    said = pmtq("purge", stdin=answer)

    assert (said.status, len(all_states(here))) == (status, count)
    assert f"Call off 1 waiting task in celery of {here.path}? [y/N]: " in said.err
    if status:
        assert said.err.endswith("pmtq: nothing was called off, because nobody said yes. pmtq purge -f does not ask\n")


# Errors, and what reaches the terminal


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), Said(1, "", "\npmtq: interrupted before it was done\n")),
        (
            PermissionError(13, "Permission denied", "/x"),
            Said(1, "", "PermissionError: the system refused /x: Permission denied. Look at it: ls -la /x\n"),
        ),
    ],
)
def test_an_error_of_the_system_is_one_paragraph(run, monkeypatch, error, said):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(look.status, "callback", fail)

    assert run("status") == said


def test_a_bug_of_ours_is_one_paragraph_that_says_where(run, monkeypatch):
    def fail(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(look.status, "callback", fail)
    said = run("status")

    assert said.status == 1
    assert said.err.startswith("pmtq has a bug: KeyError: 'x', at ")
    assert said.err.count("\n") == 1


def test_the_traceback_is_shown_to_whoever_asks_for_it(run, monkeypatch):
    monkeypatch.setenv("PMTQ_DEBUG", "1")

    assert run("worker").err.startswith("Traceback (most recent call last):\n")


def test_a_reader_that_has_had_enough_is_no_error_worth_a_word(project):
    for number in range(300):
        post_by_hand(Folder(project / "queue_dir"), f'{{"function":"tasks.add","params":[{number}]}}\n')
    os.chmod(project / "queue_dir" / "queue.jsonl", 0o600)

    command = f"{sys.executable} -m pmtq queue --limit 300 --json | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=False)

    assert (done.stderr, done.stdout.count("\n")) == ("", 1)


def test_ctrl_c_while_waiting_for_a_result_is_one_line(project):
    process = subprocess.Popen(
        [sys.executable, "-m", "pmtq", "call", "tasks.add", "--wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr
    process.stderr.readline()  # the id: now it waits
    process.send_signal(signal.SIGINT)

    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (1, b"", b"pmtq: interrupted before it was done")


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("plain ü 漢 🎉", "plain ü 漢 🎉"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\u202eb\u2066", "a\\u202eb\\u2066"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\u200d\u200c", "\u200d\u200c"),
        ("\ud800\x9b\u2028", "\\ud800\\x9b\\u2028"),
    ],
)
def test_what_would_steer_the_terminal_is_shown_instead(raw, seen):
    assert text.visible(raw) == seen


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (4.4, "4 s"), (125, "2 min 5 s"), (7200, "2 h 0 min"), (100000, "1 d 3 h")]
)
def test_durations_are_told_in_two_units(seconds, words):
    assert text.duration(seconds) == words


def test_long_arguments_are_shortened_to_one_line():
    shown = text.arguments(["x" * 500], {})

    assert (len(shown), shown[-1]) == (text.LONGEST, "…")


def record(message: str, level: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord("pmtq", level, "", 0, message, None, None)
    made.created, made.msecs = time.mktime((2026, 11, 20, 15, 4, 5, 0, 0, -1)), 7
    return made


def test_a_log_line_has_time_level_worker_and_message():
    assert logs.Lines("w@h", coloured=False).format(record("hello")) == "15:04:05.007 INFO    w@h hello\n"


def test_the_level_is_coloured_on_a_terminal():
    line = logs.Lines("w@h", coloured=True).format(record("no", logging.ERROR))

    assert line == "15:04:05.007 \x1b[31mERROR  \x1b[0m w@h no\n"


def test_a_message_cannot_pass_for_another_event():
    line = logs.Lines("w@h", coloured=False).format(record("one\n15:04:05.007 INFO    w@h two\x1b[2J"))

    assert line == "15:04:05.007 INFO    w@h one\n    | 15:04:05.007 INFO    w@h two\\x1b[2J\n"


def test_a_log_that_cannot_be_written_stops_nobody(monkeypatch):
    def closed(*_: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(logs.os, "write", closed)

    logs.Lines("w@h", coloured=False).emit(record("hello"))


@pytest.mark.parametrize(("no_colour", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_whose_owner_wants_them(project, no_colour, coloured):
    post_by_hand(Folder(project / "queue_dir"), "")
    terminal, inner = pty.openpty()
    environment = os.environ | {"NO_COLOR": no_colour, "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-m", "pmtq", "status"], stdout=inner, stderr=inner, env=environment)
    assert process.wait(20) == 0
    os.close(inner)
    said = os.read(terminal, 65536)
    os.close(terminal)

    assert b"celery" in said
    assert (b"\x1b[" in said) is coloured


def test_demo_hands_its_options_to_the_demo(run, monkeypatch, project):
    import pmtq.demo

    given: list[object] = []
    monkeypatch.setattr(pmtq.demo, "run", lambda *arguments: given.extend(arguments) or 3)

    assert run("demo", "--plain", "--keep", "there").status == 3
    assert given == [Path("there"), True]


def test_the_package_can_be_run_as_a_module(pmtq):
    assert pmtq("--version").out.startswith("pmtq ")


def test_help_does_not_load_what_only_commands_need(pmtq, project):
    code = "import sys, pmtq.cli; pmtq.cli.main(['--help']); print([n for n in ('rich', 'multiprocessing.connection') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def all_commands(command: click.Command, path: str = "pmtq") -> dict[str, click.Command]:
    found = {path: command}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner
            found |= all_commands(inner, f"{path} {name}")
    return found


def test_every_command_and_every_option_says_what_it_does():
    commands = all_commands(cli.cli)
    options = {f"{path} {option.opts[-1]}": option for path, command in commands.items() for option in command.params
               if isinstance(option, click.Option)}  # fmt: skip

    assert [path for path, command in commands.items() if not command.get_short_help_str()] == []
    assert [path for path, option in options.items() if not option.help] == []


def test_the_list_of_commands_says_what_each_command_says_of_itself():
    own = {
        name: all_commands(cli.cli)[f"pmtq {name}"].get_short_help_str(200)
        for rows in COMMANDS.values()
        for name in rows
    }

    assert {name: sentence for rows in COMMANDS.values() for name, (_, sentence) in rows.items()} == own


def test_the_list_of_commands_fits_on_one_screen(run):
    lines = run("--help").out.splitlines()

    assert (len(lines) <= 49, max(map(len, lines)) <= 80) == (True, True), lines
