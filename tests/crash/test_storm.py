"""Kills, freezes and ends over a busy folder break no promise; and a history that breaks one is found out."""

import json
import subprocess
import sys

import pytest

from pmtq.folder import Folder
from pmtq.records import StateRecord
from pmtq.states import FAILURE, LOST, RELEASED, STARTED, SUCCESS
from tests.crash.storm import BEGIN, END, Event, Report, check_lives, check_runs, read_states

COUNTS = ("lost", "unexpected", "overlapping", "doubled", "needless", "unruly")


def test_a_storm_of_kills_and_freezes_loses_nothing_and_runs_nothing_twice_without_a_kill(tmp_path, pytestconfig):
    command = [
        "-m",
        "tests.crash.storm",
        "--tasks",
        "6000",
        "--kills",
        "50",
        "--seconds",
        "0.002",
        "--seed",
        "20261120",
    ]

    done = subprocess.run(
        [sys.executable, *command, str(tmp_path)],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert {name: report[name] for name in COUNTS} == dict.fromkeys(COUNTS, 0), report["first"]
    assert done.returncode == 0
    assert report["tasks"] == 6000
    assert report["kills"] >= 20, "the machine is too fast for this storm: it was over before it had begun"
    assert report["reruns"] <= report["kills"]


def events(text):
    """Return the events in ``"B a w1, E a w1"``, each a second after the one before it."""
    return [Event(*one.split(), number * 10**9) for number, one in enumerate(text.split(", "))]


@pytest.mark.parametrize(
    ("history", "killed", "wrong"),
    [
        ("B a w1, E a w1", {}, {}),
        ("B a w1, B a w2, E a w2", {"w1": 0}, {}),
        ("B a w1, E a w1, B a w2, E a w2", {"w1": 1}, {}),
        ("B b w1, E b w1, B a w1, E a w1", {}, {"unexpected": 1}),
        ("B a w1, E a w1, B a w2, E a w2", {}, {"doubled": 1}),
        ("B a w1, B a w2, E a w1, E a w2", {"w1": 0}, {"overlapping": 1}),
        ("B a w1, E a w1, B a w1, B a w2, E a w2", {"w1": 9}, {"needless": 1}),
    ],
)
def test_the_history_tells_what_ran_and_should_not_have(history, killed, wrong):
    report = Report()

    check_runs(events(history), {"a"}, {"a"}, killed, report)

    assert {name: getattr(report, name) for name in COUNTS} == dict.fromkeys(COUNTS, 0) | wrong


def test_a_task_that_was_told_and_never_ran_is_lost():
    report = Report()

    check_runs(events("B a w1, E a w1"), {"a", "b", "c"}, {"a", "b"}, {}, report)

    assert (report.lost, report.first) == (1, "lost: b never ran")


def test_redelivery_is_measured_from_the_kill_to_the_second_begin_of_what_was_broken_off():
    report = Report()
    history = events("B a w1, E a w1, B b w1, B b w2, E b w2")

    check_runs(history, {"a", "b"}, {"a", "b"}, {"w1": int(2.5e9)}, report)

    assert (report.redelivery, report.reruns, report.faults) == ([0.5], 1, 0)


def lines(text):
    """Return the states in ``"STARTED 1 w1, SUCCESS 1 w1"``."""
    return [
        StateRecord("a", status, None, int(attempt), worker, f"{number}")
        for number, (status, attempt, worker) in enumerate(one.split() for one in text.split(", "))
    ]


DEATH = f"{STARTED} {{0}} w{{0}}, {LOST} {{0}} w{{0}}"


@pytest.mark.parametrize(
    ("life", "wrong"),
    [
        (f"{STARTED} 1 w1, {SUCCESS} 1 w1", {}),
        (f"{STARTED} 1 w1, {RELEASED} 0 w1, {STARTED} 1 w2, {SUCCESS} 1 w2", {}),
        (f"{DEATH.format(1)}, {STARTED} 2 w2, {SUCCESS} 2 w2", {}),
        (f"{DEATH.format(1)}, {DEATH.format(2)}, {DEATH.format(3)}, {FAILURE} 3 w3", {}),
        (f"{DEATH.format(1)}, {FAILURE} 1 w1", {"unruly": 1}),
        (f"{DEATH.format(1)}, {STARTED} 1 w2, {SUCCESS} 1 w2", {"unruly": 1}),
        (f"{STARTED} 1 w1, {STARTED} 2 w2, {SUCCESS} 2 w2", {"unruly": 1}),
        (f"{STARTED} 1 w1, {SUCCESS} 1 w2", {"unruly": 1}),
        (f"{STARTED} 1 w1, {RELEASED} 1 w1, {STARTED} 2 w1, {SUCCESS} 2 w1", {"unruly": 1}),
        (f"{STARTED} 1 w1, {SUCCESS} 1 w1, {FAILURE} 1 w1", {"unruly": 1}),
        (f"{STARTED} 1 w1, {FAILURE} 1 w1", {"unruly": 1}),
        (f"{STARTED} 1 w1", {"lost": 1}),
    ],
)
def test_a_life_that_no_task_may_have_is_found_in_the_results(life, wrong):
    report = Report()

    check_lives(lines(life), {"a"}, report)

    assert {name: getattr(report, name) for name in COUNTS} == dict.fromkeys(COUNTS, 0) | wrong


def test_a_line_that_was_written_once_more_when_the_results_started_afresh_is_no_new_one():
    report = Report()
    started, success = lines(f"{STARTED} 1 w1, {SUCCESS} 1 w1")

    check_lives([started, started, success, success], {"a"}, report)

    assert report.faults == 0


def test_begin_and_end_are_what_the_task_writes(tmp_path, folder, work):
    from tests.crash.storm import read_history
    from tests.crash.worker_process import make_app

    app = make_app(folder.path)
    app.tasks["tasks.tell"].apply_async(["a"], task_id="a")
    work(app, "w1@test")
    app.close()

    assert [event[:3] for event in read_history(tmp_path / "history.log")] == [
        (BEGIN, "a", "w1@test"),
        (END, "a", "w1@test"),
    ]


def test_half_a_line_that_a_kill_has_left_is_passed_by(tmp_path):
    folder = Folder(tmp_path)
    folder.results.write_text(
        '{"task_id":"a","status":"STARTED","attempt":1}\n{"task_id":"p0\n{"task_id":"a","status":"SUCCESS"}\n'
    )

    assert [(state.task_id, state.status) for state in read_states(folder)] == [("a", STARTED), ("a", SUCCESS)]
