"""``pmtq events``: one line an event, as it happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from pmtq.cli.events import line_of
from pmtq.events import Event
from tests.support import post_by_hand

AT = "2026-11-20T15:04:05.123Z"


@pytest.fixture
def listen(here) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that starts ``pmtq events`` and returns when it listens; it is ended by its pid."""
    post_by_hand(here, "")
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pmtq", "events", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr
        while not process.stderr.readline().startswith("Following "):
            pass
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("options", [[], ["--dump"], ["-F", "0.05"], ["-c", "mine.Camera", "-r", "10/m"]])
def test_events_are_told_as_they_happen_until_ctrl_c(listen, pmtq, options):
    listening = listen(*options)
    task_id = pmtq("call", "tasks.add", "[2, 3]").out.strip()
    assert listening.stdout

    line = listening.stdout.readline()
    listening.send_signal(signal.SIGINT)

    assert line.split()[1:] == ["task-sent", "tasks.add", task_id, "[2,3]"]
    assert listening.wait(20) == 0


def test_events_in_json_have_celerys_field_names(listen, pmtq):
    listening = listen("--json")
    pmtq("call", "tasks.add", "[2, 3]", "--task-id", "t")
    assert listening.stdout

    found = json.loads(listening.stdout.readline())
    at = found.pop("timestamp")

    assert found == {
        "type": "task-sent", "uuid": "t", "name": "tasks.add", "args": [2, 3], "kwargs": {}, "queue": "celery"
    }  # fmt: skip
    assert at.endswith("Z")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Event(type="task-sent", timestamp=AT, uuid="t", name="a", args=[1], kwargs={"x": "\x1b"}, eta="2100"),
            f'{AT} task-sent      a t [1] {{"x":"\\u001b"}} not before 2100',
        ),
        (
            Event(type="task-succeeded", timestamp=AT, uuid="t", name="a", result="v", runtime=0.5, hostname="w@h"),
            f'{AT} task-succeeded a t "v" in 0.5000 s on w@h',
        ),
        (
            Event(type="task-retried", timestamp=AT, uuid="t", exception="E: no\x1b", eta="2100", hostname="w@h"),
            f"{AT} task-retried   t E: no\\x1b again at 2100 on w@h",
        ),
        (
            Event(type="task-failed", timestamp=AT, uuid="t", name="a", exception="E: no", hostname="w@h"),
            f"{AT} task-failed    a t E: no on w@h",
        ),
        (
            Event(type="task-progress", timestamp=AT, uuid="t", name="a", result={"current": 1}, hostname="w@h"),
            f'{AT} task-progress  a t {{"current":1}} on w@h',
        ),
        (Event(type="worker-online", timestamp=AT, hostname="w@h"), f"{AT} worker-online  on w@h"),
        (Event(type="task-\x07", timestamp="\x1b[2J\n", hostname="\u202e"), "\\x1b[2J\\n task-\\x07      on \\u202e"),
    ],
)
def test_an_event_is_one_line(event, line):
    assert line_of(event) == line
