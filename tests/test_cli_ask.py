"""``pmtq inspect`` and ``pmtq status``: what the living workers know and do, read from the folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from pmtq.cli import ask
from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.presence import Presence
from pmtq.records import StateRecord, encode_lines, timestamp
from tests.support import Said, post_by_hand


@pytest.fixture
def pool(here: Folder) -> Iterator[None]:
    """Two living workers, ``p@h`` with a pool of one process and ``s@h`` without, and some tasks in every state."""
    started = time.time() - 125
    known = {"queues": ["celery", "low"], "functions": ["tasks.add", "tasks.nap"], "started": timestamp(started)}
    facts = {
        "p@h": known | {"pid": 7, "host": "h", "pool": "prefork", "concurrency": 2},
        "p@h#1": known | {"pid": os.getpid(), "pool": "prefork", "parent": "p@h"},
        "s@h": known | {"pid": 9, "queues": ["celery"], "functions": [], "host": "h", "pool": "solo"},
    }
    presences = [Presence(here, name, {"name": name, **more}) for name, more in facts.items()]
    later = '"eta":"2100-01-01T00:00:00Z"'
    for task_id, more in (("runs", ""), ("next", ""), ("waits", ""), ("later", f",{later}"), ("again", "")):
        post_by_hand(here, f'{{"task_id":"{task_id}","function":"tasks.add","params":[1,2]{more}}}\n')
    post_by_hand(here, '{"task_id":"low","function":"tasks.nap"}\n', "low")
    at = timestamp(started + 120)
    lines = [
        StateRecord("old", "SUCCESS", 1, 1, "s@h", timestamp(started - 10)),
        StateRecord("done", "SUCCESS", 1, 1, "p@h#1", at),
        StateRecord("failed", "FAILURE", None, 1, "p@h#1", at),
        StateRecord("off", "REVOKED", at=at),
        StateRecord("runs", "STARTED", None, 1, "p@h#1", at),
        StateRecord("next", "STARTED", None, 1, "p@h#1", at),
        StateRecord("again", "RETRY", None, 1, "p@h#1", at, eta="2101-01-01T00:00:00Z"),
    ]
    Journal(here.results).append(encode_lines(lines))
    yield
    for presence in presences:
        presence.leave()


def task(task_id: str) -> dict[str, object]:
    return {"id": task_id, "name": "tasks.add", "args": [1, 2], "kwargs": {}}


@pytest.mark.parametrize(
    ("question", "table"),
    [
        ("registered", "WORKER  FUNCTION\np@h     tasks.add\np@h     tasks.nap\ns@h     -\n"),
        (
            "active",
            "WORKER  TASK  FUNCTION   ARGUMENTS  FOR  ATTEMPT\np@h#1   runs  tasks.add  [1,2]      5 s  1\n",
        ),
        (
            "reserved",
            "WORKER  TASK  FUNCTION   ARGUMENTS  FOR  ATTEMPT\np@h#1   next  tasks.add  [1,2]      5 s  1\n",
        ),
        (
            "active_queues",
            "WORKER  QUEUE   FILE\np@h     celery  queue.jsonl\np@h     low     queue.low.jsonl\ns@h     celery  queue.jsonl\n",
        ),
        (
            "scheduled",
            (
                "TASK   FUNCTION   ARGUMENTS  QUEUE   ETA\n"
                "later  tasks.add  [1,2]      celery  2100-01-01T00:00:00Z\n"
                "again  tasks.add  [1,2]      celery  2101-01-01T00:00:00Z\n"
            ),
        ),
        ("revoked", "TASK\noff\n"),
        ("ping", "WORKER  ANSWER\np@h     pong\ns@h     pong\n"),
        ("query_task runs next x", "WORKER  TASK  STATE     FUNCTION\np@h     runs  active    tasks.add\np@h     next  reserved  tasks.add\n"),
    ],
)  # fmt: skip
def test_an_answer_is_a_table(run, pool, question, table):
    assert run("inspect", *question.split()) == Said(0, table, "")


@pytest.mark.parametrize(
    ("question", "replies"),
    [
        ("registered", {"p@h": ["tasks.add", "tasks.nap"], "s@h": []}),
        ("ping", {"p@h": {"ok": "pong"}, "s@h": {"ok": "pong"}}),
        ("revoked", {"p@h": ["off"], "s@h": ["off"]}),
        (
            "scheduled",
            {
                "p@h": [
                    {"eta": "2100-01-01T00:00:00Z", "request": task("later")},
                    {"eta": "2101-01-01T00:00:00Z", "request": task("again")},
                ],
                "s@h": [],
            },
        ),
        (
            "active_queues",
            {
                "p@h": [{"name": "celery", "file": "queue.jsonl"}, {"name": "low", "file": "queue.low.jsonl"}],
                "s@h": [{"name": "celery", "file": "queue.jsonl"}],
            },
        ),
        (
            "stats",
            {
                "p@h": {"pid": 7, "uptime": 125, "pool": "prefork", "concurrency": 2, "processes": [7, os.getpid()],
                        "total": {"FAILURE": 1, "SUCCESS": 1}},
                "s@h": {"pid": 9, "uptime": 125, "pool": "solo", "concurrency": 1, "processes": [9], "total": {}},
            },
        ),
    ],
)  # fmt: skip
def test_an_answer_in_json_has_the_workers_as_keys(run, pool, question, replies):
    assert json.loads(run("inspect", question, "-j").out) == replies
    assert run("inspect", "-j", question).out == run("inspect", question, "--json", "-t", "1").out


def test_what_runs_is_told_in_celerys_words(run, pool):
    (found,) = json.loads(run("inspect", "-j", "active").out)["p@h"]
    since = found.pop("time_start")

    assert found == task("runs") | {"hostname": "p@h#1", "attempt": 1}
    assert since.endswith("Z")
    assert json.loads(run("inspect", "-j", "query_task", "next").out) == {
        "p@h": {"next": ["reserved", found | {"id": "next", "time_start": since}]},
        "s@h": {},
    }


def test_a_destination_narrows_the_answer_and_must_be_alive(run, here, pool):
    assert run("inspect", "-d", "s@h", "ping").out == "WORKER  ANSWER\ns@h     pong\n"
    assert run("inspect", "ping", "-d", "x@h,s@h") == Said(
        1, "", f"OperationalError: no worker called 'x@h' is running on {here.path}. Running: p@h, p@h#1, s@h\n"
    )


def test_memory_is_told_where_the_system_tells_it(run, pool):
    found = json.loads(run("inspect", "memdump", "-j").out)

    assert (found["p@h"]["p@h#1"] > 1000, set(found["p@h"])) == (True, {"p@h", "p@h#1"})
    assert ask.memory_of(2**30) == 0


def test_the_clock_is_how_far_the_results_go(run, here, pool):
    size = here.results.stat().st_size

    assert json.loads(run("inspect", "clock", "-j").out) == {"p@h": {"clock": size}, "s@h": {"clock": size}}


def test_conf_adds_the_settings_of_the_code_that_is_named(run, project, pool):
    (project / "shop.py").write_text(
        "from pmtq import PMTQ\napp = PMTQ('s')\napp.conf.update(timezone='Europe/Oslo', secret_key='x')"
    )

    assert json.loads(run("inspect", "-d", "s@h", "-j", "conf").out)["s@h"].keys() == {
        "host", "pid", "started", "queues", "pool", "concurrency"
    }  # fmt: skip
    found = json.loads(run("inspect", "-d", "s@h", "-j", "conf", "-A", "shop").out)["s@h"]
    assert (found["timezone"], found["secret_key"]) == ("Europe/Oslo", "********")


def test_a_report_has_versions(run, pool):
    assert json.loads(run("inspect", "report", "-j").out)["s@h"]["pmtq"].count(".") == 2


def test_what_is_absent_says_why(run):
    assert run("inspect", "objgraph", "20") == Said(
        1,
        "",
        "pmtq: inspect objgraph is not there: it draws objects inside the worker, which only reads files. In the task itself: "
        "import objgraph\n",
    )
    assert run("inspect", "memsample").err.endswith("The memory as it is now: pmtq inspect memdump\n")


def test_what_can_be_asked_is_listed(run):
    assert run("inspect", "--list").out.split() == (
        [
            "registered",
            "active",
            "reserved",
            "active_queues",
            "scheduled",
            "revoked",
            "ping",
            "query_task",
            "stats",
            "memdump",
            "clock",
            "conf",
            "report",
        ]
    )


def test_nothing_is_said_in_words(run, here, lives):
    post_by_hand(here, "")

    assert run("inspect", "active").out == "1 living, and none runs anything.\n"
    assert run("inspect", "reserved").out == "Nothing is claimed that has not begun.\n"
    assert run("inspect", "scheduled").out == "No task waits for its time.\n"
    assert run("inspect", "revoked").out == "No task was called off.\n"
    assert run("inspect", "query_task", "x").out == "No living worker has it. Ask: pmtq result ID\n"


def test_status_answers_in_celerys_form(run, pool):
    assert json.loads(run("status", "--json").out) == {"p@h": {"ok": "pong"}, "s@h": {"ok": "pong"}}
    assert run("status", "-d", "s@h").out.splitlines()[3].split()[0] == "s@h"
