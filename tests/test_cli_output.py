"""``pmtq logs``: what a task printed, as far as it was kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pmtq.journal import Journal
from pmtq.output import output_path
from pmtq.records import StateRecord, encode_lines
from tests.support import Said, post_by_hand


@pytest.fixture
def keep(here):
    """A function that adds to what a task has printed."""
    post_by_hand(here, "")

    def add(task_id: str, text: str) -> None:
        path = output_path(here.logs, task_id)
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(text)

    return add


def test_what_a_task_printed_is_shown_and_cannot_steer_the_terminal(run, keep):
    keep("t", "one\nred \x1b[31m\nno end")

    assert run("logs", "t") == Said(0, "one\nred \\x1b[31m\nno end\n", "")


def test_of_a_task_whose_output_was_not_kept_it_is_said_how_to_keep_it(run, here, keep):
    assert run("logs", "t") == Said(
        1,
        "",
        f"OperationalError: nothing is kept of what task t printed ({here.path}/logs/t.log is not there; the task is PENDING). "
        "To keep it from now on: @app.task(keep_output=True)\n",
    )


def test_following_ends_with_the_task(here, keep):
    keep("t", "one\n")
    following = subprocess.Popen([sys.executable, "-m", "pmtq", "logs", "t", "-f"], stdout=subprocess.PIPE, text=True)
    assert following.stdout
    assert following.stdout.readline() == "one\n"

    keep("t", "two\nthr")
    assert following.stdout.readline() == "two\n"
    keep("t", "ee")
    Journal(here.results).append(encode_lines([StateRecord("t", "SUCCESS")]))

    assert following.communicate(timeout=20)[0] == "three\n"
