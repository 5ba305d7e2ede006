"""The benchmark measures what it says: tried on a handful of tasks, with nothing asserted about time."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pmtq.folder import Folder
from pmtq.result import EagerResult
from tests.benchmarks import figures, history, kill_peers, kills, table, workflows
from tests.benchmarks.contenders import Contender
from tests.benchmarks.files import Backlog, ResultsFollower
from tests.benchmarks.processes import ROOT, Unmeasured, Workshop, python

TINY = figures.Scale(
    rounds=1,
    peer_rounds=1,
    enqueue_seconds=0.01,
    drain_share=0.001,
    drain_seconds=5.0,
    trips=2,
    trip_seconds=1.0,
    backlog=50_000,
    window=(1_000, 40_000),
    whole_rounds=1,
    idle_seconds=0.05,
    kills=1,
    chord=50,
    chain=5,
)


@pytest.fixture
def shop(tmp_path):
    """A workshop in the test's own folder."""
    with Workshop(tmp_path) as shop:
        yield shop


@pytest.fixture
def bench(shop, monkeypatch):
    """A benchmark of few tasks, in which nothing takes its time."""
    monkeypatch.setattr(figures, "TIDYING", 0.0)
    monkeypatch.setattr(figures, "SETTLING", 0.1)
    monkeypatch.setattr(figures, "SMALL", 10_000)  # however busy the machine is, so many are not done at once
    return figures.Bench(shop, TINY, lambda _: None, with_peers=False)


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_can_be_measured(bench, name):
    rows = figures.measure(bench, [name])
    troubles = [row.note for row in rows if row.failed or (row.beside and row.ratio is None)]
    if troubles and (sys.platform != "linux" or troubles[0].startswith(figures.TOO_BUSY)):
        pytest.skip(troubles[0])
    assert troubles == []
    assert all(value > 0 for row in rows for values in row.samples.values() for value in values)


def test_a_figure_without_anything_to_compare_it_with_stands_alone(bench):
    (row,) = bench.compare("chain", lambda one: 0.007, table.duration, {}, [])
    assert (row.figure, row.pmtq, row.beside, row.ratio, row.samples) == (
        "chain",
        "7.00 ms",
        "",
        None,
        {"pmtq": [0.007]},
    )


def test_a_workflow_that_has_another_value_is_not_measured():
    call = SimpleNamespace(apply_async=lambda: EagerResult("id", 5, "SUCCESS"))
    with pytest.raises(RuntimeError) as refused:
        workflows.seconds(workflows.Workflow("a sum", call, 6))
    assert str(refused.value) == "the value of a sum is 5 instead of 6"


def test_a_chord_whose_body_runs_twice_is_not_measured(bench, monkeypatch):
    def ask(command, environment, patience):
        Path(command[-1]).write_text("1\n1\n")
        return 0.1

    monkeypatch.setattr(bench.shop, "ask", ask)
    with pytest.raises(Unmeasured) as refused:
        figures.workflow_seconds(bench.pmtq, "chord", 10, workers=0)
    assert str(refused.value) == "the bodies of 1 chords of 10 ran 2 times"


def test_a_queue_that_is_not_installed_gets_a_row_that_says_how_to_install_it(bench):
    class Absent(Contender):
        name = "another queue"

        def missing(self):
            return "not installed: pip install another"

    (row,) = bench.compare("enqueue", lambda one: 7.0, table.rate, {}, [Absent(bench.shop)])
    assert (row.figure, row.pmtq, row.beside, row.other, row.ratio, row.met, row.note) == (
        "enqueue", "7 /s", "another queue", "", None, None, "not installed: pip install another",
    )  # fmt: skip


def test_a_figure_that_cannot_be_measured_says_why_and_does_not_stop_the_others(bench, monkeypatch):
    def fail(_):
        raise Unmeasured("no such luck")

    monkeypatch.setattr(figures, "FIGURES", {"one": fail, "two": lambda _: [table.Row("two", "2")]})
    rows = figures.measure(bench, ["one", "two"])
    assert [(row.figure, row.note, row.failed) for row in rows] == [("one", "no such luck", True), ("two", "", False)]


def test_nothing_outlives_the_workshop(tmp_path):
    with Workshop(tmp_path) as shop:
        process = shop.start([sys.executable, "-c", "import time; time.sleep(60)"])
        folder = shop.path
    assert process.returncode is not None
    assert not folder.exists()


def test_results_are_counted_on_when_another_file_takes_their_place(tmp_path):
    results = Folder(tmp_path).results
    seen = ResultsFollower(tmp_path)
    assert seen.count() == 0
    results.write_text('{"task_id":"a","status":"STARTED"}\n{"task_id":"a","status":"SUCCESS"}\n{"task_id":"b","sta')
    assert (seen.count(), seen.started) == (1, 1)
    with results.open("a") as file:
        file.write('tus":"SUCCESS"}\n')
    results.rename(tmp_path / "old")
    results.write_text('{"task_id":"c","status":"SUCCESS"}\n')
    assert seen.count() == 3
    seen.close()


def test_a_queue_is_filled_with_the_first_records_of_the_backlog(tmp_path):
    for name in ("all", "some"):
        (tmp_path / name).mkdir(mode=0o700)
    backlog = Backlog(tmp_path / "all", 30)
    backlog.copy_to(tmp_path / "some", 20)
    lines = Folder(tmp_path / "some").queue().read_bytes()
    assert lines == backlog.lines(0, 20)
    assert [json.loads(line)["function"] for line in lines.splitlines()] == ["nothing"] * 20


def test_a_ratio_is_the_median_of_the_rounds():
    assert table.paired_ratio([10.0, 20.0, 90.0], [10.0, 10.0, 10.0]) == 2.0
    row = figures.beside("figure", [10.0, 20.0, 90.0], "other", [10.0, 10.0, 10.0], table.rate, table.Limit(least=2))
    assert (row.pmtq, row.other, row.ratio, row.target, row.met) == ("20 /s", "10 /s", 2.0, "≥ 2", True)


@pytest.mark.parametrize(("value", "text"), [(1.5, "1.50 s"), (0.0123, "12.30 ms"), (4.2e-6, "4.20 µs")])
def test_durations_are_shown_in_a_fitting_unit(value, text):
    assert table.duration(value) == text


def test_the_table_and_the_file_hold_what_was_measured(tmp_path, capsys):
    rows = [table.Row("a [figure]", "1 /s", "prototype", "2 /s", 0.5, "≥ 0.5", met=True, samples={"pmtq": [1.0]})]
    facts = table.circumstances()
    table.show(rows)
    table.save(rows, [], facts, tmp_path / "out.json")
    assert "a [figure]  1 /s  prototype        2 /s    0.5   ≥ 0.5  yes" in capsys.readouterr().out
    saved = json.loads((tmp_path / "out.json").read_text())
    assert (saved["cores"], saved["rows"][0]["samples"]) == (os.cpu_count(), {"pmtq": [1.0]})


def test_the_line_below_the_tables_names_the_machine_and_the_other_queues(capsys):
    facts = {"python": "3.11.7", "versions": {"rq": "3.0.0"}, "cores": 2, "load_before": 0.5, "at": "now"}
    table.show_circumstances(facts)
    assert capsys.readouterr().out == "Python 3.11.7, rq 3.0.0, 2 cores, load 0.5 before, now\n"


HISTORY = [
    history.Note("start", "0", 1, 10.0),
    history.Note("start", "1", 2, 10.0),
    history.Note("end", "1", 2, 10.1),
    history.Note("start", "2", 2, 10.1),
    history.Note("start", "0", 2, 10.7),  # after the death of worker 1
    history.Note("end", "0", 2, 10.8),
    history.Note("start", "0", 3, 11.0),  # once more: that death excuses one start only
    history.Note("end", "0", 3, 11.1),
    history.Note("start", "3", 3, 11.2),
    history.Note("end", "3", 3, 11.3),  # and worker 3 dies before it has told anybody
    history.Note("start", "3", 4, 12.5),
    history.Note("end", "3", 4, 12.6),
    history.Note("start", "4", 4, 12.7),
    history.Note("start", "4", 5, 12.8),  # while worker 4 lives
]
KILLS = [history.Kill(1, 10.05), history.Kill(3, 11.5), history.Kill(9, 11.6)]  # number 9 had not begun anything


def test_a_history_of_kills_is_counted_by_task():
    tally = history.tally(["0", "1", "2", "3", "4", "5"], HISTORY, KILLS)
    assert tally == history.Tally(("2", "4", "5"), 2, (10.7 - 10.05, 12.5 - 11.5))


def test_a_start_before_the_kill_is_not_excused_by_it():
    notes = [history.Note("start", "0", 1, 1.0), history.Note("start", "0", 2, 2.0)]
    assert history.tally(["0"], notes, [history.Kill(1, 3.0)]) == history.Tally(("0",), 1, ())


@pytest.mark.parametrize(("kept", "late", "lost"), [("", 0, 3), ("0124", 2, 1), ("245", 3, 0)])
def test_what_has_not_ended_is_late_if_the_queue_still_has_it_and_lost_otherwise(tmp_path, kept, late, lost):
    target = SimpleNamespace(name="another queue", settings="as installed", kept=lambda _: set(kept))
    outcome = kills.judge(target, tmp_path, 6, HISTORY, KILLS)
    back = [10.7 - 10.05, 12.5 - 11.5]
    assert outcome == table.Outcome("another queue", 6, 3, late, lost, 2, back, "as installed")
    assert (outcome.median, outcome.worst) == (sum(back) / 2, back[1])


def test_a_task_notes_its_start_and_its_end_in_the_diary(tmp_path, monkeypatch):
    monkeypatch.setenv(history.DIARY, str(tmp_path / "diary"))
    assert history.read(tmp_path / "diary") == []
    history.mark("7", 0.0)
    with (tmp_path / "diary").open("a") as file:
        file.write("start 8 12")  # is being written
    assert [note[:3] for note in history.read(tmp_path / "diary")] == [
        ("start", "7", os.getsid(0)),
        ("end", "7", os.getsid(0)),
    ]


def test_the_kill_test_can_be_made(shop):
    scale = kills.Scale(tasks=60, kills=1, seconds=0.05, long_seconds=0.1, patience=20.0, grace=0.1)
    (outcome,) = kills.measure(shop, [kill_peers.KilledPmtq(shop)], scale, lambda _: None)
    if not outcome.kills:
        pytest.skip(f"{figures.TOO_BUSY} to have two workers at work at a time")
    assert outcome == table.Outcome("pmtq", 61, 1, 0, 0, 0, outcome.back, "as installed")
    assert len(outcome.back) <= 1  # none if the worker died between two tasks


def test_a_queue_that_goes_on_for_ever_is_given_up(shop, monkeypatch):
    monkeypatch.setattr(kills, "LONGEST", 0.0)
    scale = kills.Scale(tasks=1, kills=0, seconds=0.0, long_seconds=60.0, patience=60.0, grace=60.0)
    (outcome,) = kills.measure(shop, [kill_peers.KilledPmtq(shop)], scale, lambda _: None)
    assert (outcome.tasks, outcome.kills, outcome.lost, outcome.doubled) == (2, 0, 0, 0)
    assert outcome.note == "as installed; given up after 0 s, when it still went on"


def test_a_task_is_kept_until_it_has_ended(shop):
    target = kill_peers.KilledPmtq(shop)
    folder = target.new_folder()
    shop.ask(python("tests.benchmarks.kill_client", "pmtq", "0", "3", "0.0"), target.environment(folder))
    assert target.kept(folder) == {"0", "1", "2"}
    with target.workers(folder):
        shop.wait_for(lambda: not target.kept(folder), "three tasks to end")
    assert sorted(note.task for note in history.read(folder / "diary") if note.what == "end") == ["0", "1", "2"]


def test_an_absent_queue_and_one_that_fails_have_rows_in_the_kill_test_that_say_so(shop, capsys):
    class Absent(kill_peers.Target):
        name = "absent"

        def missing(self):
            return "not installed: pip install absent"

    class Failing(kill_peers.Target):
        name, client = "failing", "none"

    outcomes = kills.measure(shop, [Absent(shop), Failing(shop)], kills.QUICK, lambda _: None)
    assert outcomes == [
        table.Outcome("absent", note="not installed: pip install absent"),
        table.Outcome("failing", note="tests.benchmarks.kill_client none failed: KeyError: 'none'", failed=True),
    ]
    table.show_kills([outcomes[0], table.Outcome("queue", 7, 2, 1, 0, 0, [0.5], "as installed")], 60.0)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown[1:3] == [
        ["absent", "not", "installed:", "pip", "install", "absent"],
        ["queue", "7", "2", "1", "0", "0", "500.00", "ms", "500.00", "ms", "as", "installed"],
    ]


class FakeShop:
    """Starts and ends workers in name only; each ends by itself at once, and no more than ``most`` are started of one."""

    def __init__(self, most):
        self.most, self.started, self.alive = most, [], []

    def ask(self, command, environment):
        if command[-1] == "1.0":
            raise Unmeasured("the long task was refused")

    def start(self, command, environment):
        self.started.append(command)
        if self.started.count(command) > self.most:
            raise Unmeasured(f"{command} did not start")
        self.alive.append(SimpleNamespace(pid=-len(self.started), poll=lambda: 1))
        return self.alive[-1]

    def kill(self, worker):
        self.alive.remove(worker)


def fake_target(folder, name):
    """Return a queue of which nothing is real but its diary."""
    (folder / name).mkdir()
    (folder / name / "diary").write_text("")
    return SimpleNamespace(
        name=name, client=name, settings="", missing=str, new_folder=lambda: folder / name,
        environment=lambda folder: {}, worker_command=lambda folder, number: name, kept=lambda folder: set(),
    )  # fmt: skip


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A function that makes the kill test with two fake queues."""
    monkeypatch.setattr(kills, "GLANCE", 0.0)

    def measure(shop, long_seconds):
        targets = [fake_target(tmp_path, name) for name in ("one", "two")]
        scale = kills.Scale(tasks=5, kills=0, seconds=0.0, long_seconds=long_seconds, patience=0.0, grace=0.0)
        return kills.measure(shop, targets, scale, lambda _: None)

    return measure


def test_no_worker_of_a_queue_that_cannot_be_measured_goes_on_beside_the_next(fake):
    shop = FakeShop(most=2)

    outcomes = fake(shop, 1.0)

    assert [(one.note, one.failed) for one in outcomes] == [("the long task was refused", True)] * 2
    assert shop.alive == []


def test_a_queue_that_cannot_be_measured_any_more_while_others_wait_says_so_and_stops_none_of_them(fake):
    """Its workers end by themselves, and the next one does not start."""
    shop = FakeShop(most=2)

    outcomes = fake(shop, 2.0)

    assert [(one.queue, one.note, one.failed) for one in outcomes] == [
        ("one", "one did not start", True),
        ("two", "two did not start", True),
    ]
    assert shop.alive == []


def test_what_was_killed_once_is_not_killed_again_when_another_may_have_its_number(shop, monkeypatch):
    with shop.running([sys.executable, "-c", "input()"]) as process:
        shop.kill(process)
        monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("killed again"))


@pytest.mark.skipif(sys.platform != "linux", reason="finds what left its process group in /proc")
def test_what_a_killed_process_forked_into_a_group_of_its_own_ends_with_it(shop, tmp_path):
    code = (
        "import fcntl, os, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setpgrp()\n"
        "    file = open(sys.argv[1], 'w')\n"
        "    fcntl.flock(file, fcntl.LOCK_EX)\n"
        "    print('locked', file=file, flush=True)\n"
        "time.sleep(60)\n"
    )
    path = tmp_path / "lock"
    process = shop.start([sys.executable, "-c", code, str(path)])
    shop.wait_for(lambda: path.exists() and path.read_text(), "the child to lock its file")

    shop.kill(process)

    with path.open() as file:
        shop.wait_for(lambda: is_free(file), "the child's lock to be free")


def is_free(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_an_unknown_figure_is_refused_with_the_names_there_are():
    done = subprocess.run([*python("tests.benchmarks", "--only", "speed")], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 2
    assert all(name in done.stderr.decode() for name in [*figures.FIGURES, "kills"])
