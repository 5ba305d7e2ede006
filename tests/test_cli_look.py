"""``pmtq list``, and tables on narrow terminals."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from pmtq.records import StateRecord, TaskRecord, encode_lines
from tests.support import Said, post_by_hand


@pytest.mark.parametrize("what", [[], ["queues"], ["bindings"]])
def test_the_queues_are_listed_with_their_files_and_who_serves_them(run, here, lives, what):
    post_by_hand(here, '{"function":"tasks.add"}\n')
    post_by_hand(here, '{"function":"tasks.add"}\n' * 2, "low")

    assert run("list", *what) == Said(
        0,
        "QUEUE   WAITING  RUNNING  FILE             SERVED BY\n"
        "celery  1        0        queue.jsonl      w@h\n"
        "low     2        0        queue.low.jsonl  nobody: pmtq worker -Q low …\n",
        "",
    )


def on_a_terminal(columns, *arguments):
    """Return what a command shows on a terminal so wide."""
    terminal, inner = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": ""}

    done = subprocess.Popen([sys.executable, "-m", "pmtq", *arguments], stdout=inner, stderr=inner, env=environment)
    assert done.wait(20) == 0
    os.close(inner)
    said = os.read(terminal, 65536).decode()
    os.close(terminal)
    return said


@pytest.mark.parametrize("columns", [80, 120])
def test_an_id_stays_whole_on_a_narrow_terminal(project, here, columns):
    task_id = "45bc8d0ae7c9f8e810e8d"
    post_by_hand(
        here, f'{{"task_id":"{task_id}","function":"Image.resize","params":{{"file":"/tmp/{"x" * 60}.jpg"}}}}\n'
    )

    said = on_a_terminal(columns, "queue")

    assert task_id in said
    assert "Image.resize" in said


@pytest.mark.parametrize("columns", [80, 120])
def test_the_id_of_a_dead_task_stays_whole_on_a_narrow_terminal(project, here, columns):
    task_id = "45bc8d0ae7c9f8e810e8d"
    here.make()
    error = {"type": "TypeError", "message": "unsupported operand types " * 4}
    record = TaskRecord(task_id=task_id, function="Image.resize", params=["x" * 60])
    line = StateRecord(task_id, "FAILURE", error=error, record=record)
    here.results.write_bytes(encode_lines([line]))

    said = on_a_terminal(columns, "dead")

    assert task_id in said
    assert "Image.resize" in said
    assert "FAILURE" in said
