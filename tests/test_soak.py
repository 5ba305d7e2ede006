"""The long run notes what it says, and finds what grows and what is missing: tried for a second, with no word about time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from pmtq import PMTQ
from tests.benchmarks.plots import share_of
from tests.benchmarks.processes import ROOT, Unmeasured, Workshop
from tests.benchmarks.soak import __main__ as soak
from tests.benchmarks.soak import client, growth, tasks
from tests.benchmarks.soak.growth import Verdict, Watched, judge, slope
from tests.benchmarks.soak.watching import Diaries, Note, family, kind_of, sizes_of

NOTE = Note(0.0, [40.0, 41.0], 35.0, 50, {"queue": 1.0, "results": 2.0, "sealed": 3.0, "workers": 4.0, "other": 0.0},
            12, 100, 5.0, 0.002, 0.02)  # fmt: skip
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which only Linux has")


def notes(memory, count=12):
    """Return notes of a minute in which the memory of the first worker is what the function says."""
    return [
        Note(at, [memory(at), *NOTE.workers[1:]], *[getattr(NOTE, name) for name in Note.__struct_fields__[2:]])
        for at in (5.0 * number for number in range(count))
    ]


def shown(run):
    """Return whether all is well with a run, and the table."""
    text = StringIO()
    well = soak.show(run, Console(file=text, width=140))
    return well, text.getvalue()


@linux
def test_a_run_in_which_all_is_well_has_notes_and_no_troubles(tmp_path):
    said, kept = [], []
    terms = soak.Terms(seconds=1.0, workers=1, clients=1, every=0.25, expires=60.0)

    with Workshop(tmp_path) as shop:
        run = soak.soak(shop, terms, said.append, kept.append)

    assert (run.troubles, run.pools, kept[-1].done) == ([], ["solo"], run.done)
    assert run.done > client.SHORT
    last = run.notes[-1]
    assert (last.workers[0] > 1, last.client > 1, last.opened > 3, last.files > 3) == (True, True, True, True)
    assert soak.read_json(soak.as_json(run, terms, {"cores": 2})) == run
    assert "Memory of each worker" in soak.picture(run)


@linux
def test_a_run_whose_worker_ends_by_itself_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "_worker_command", lambda *_: ("tests.benchmarks.no_such_module",))

    with Workshop(tmp_path) as shop, pytest.raises(Unmeasured, match=r"ended with status 1\..*no_such_module"):
        soak.soak(shop, soak.Terms(1.0, 1, 1, 0.25), lambda _: None, lambda _: None)


def test_flat_is_what_goes_up_and_down_and_growing_is_what_only_goes_up():
    times = [float(number) for number in range(400)]
    saw = [number % 10 for number in times]
    leak = [saw_tooth + number / 10 for saw_tooth, number in zip(saw, times, strict=True)]

    assert [judge(times, Watched("x", "MB", values, 0.1, 2.0)).grows for values in (saw, leak)] == [False, True]


def test_only_the_second_half_counts_and_one_strange_moment_does_not():
    times = [float(number) for number in range(20)]
    values = [number * 5.0 for number in range(10)] + [50.0] * 10
    values[17] = 5000.0

    assert judge(times, Watched("x", "MB", values, 0.1, 2.0)) == Verdict("x", "MB", 50.0, 0.0, 5.0, False)


def test_of_what_should_stay_high_it_is_falling_that_is_bad():
    times = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    falling = [100.0 - 10 * time for time in times]

    assert slope(times, falling) == -10.0
    assert [judge(times, Watched("x", "/s", falling, 0.1, 2.0, falls=way)).grows for way in (True, False)] == [
        True,
        False,
    ]


def test_of_a_long_run_as_many_points_are_compared_as_of_a_short_one(monkeypatch):
    """The pairs of ten thousand points would fill the memory."""
    times = [float(number) for number in range(10_000)]
    compared, real = [], growth.slope
    monkeypatch.setattr(growth, "slope", lambda late, values: compared.append(len(late)) or real(late, values))

    verdict = judge(times, Watched("x", "MB", [number / 100 for number in times], 0.1, 2.0))

    assert compared == [500]
    assert (verdict.grows, round(verdict.rise, 1), round(verdict.median, 1)) == (True, 50.0, 75.0)
    assert (growth.thinned([1.0] * 4), growth.thinned(times[:1000])) == ([1.0] * 4, times[:1000:2])


def test_of_too_few_notes_nothing_is_said():
    assert judge([0.0, 1.0, 2.0], Watched("x", "MB", [1.0, 2.0, 3.0], 0.1, 2.0)) is None
    assert judge([], Watched("x", "MB", [], 0.1, 2.0)) is None


def test_the_table_names_what_grows_and_what_is_missing():
    flat = soak.Run(notes(lambda at: 40.0), ["solo", "solo"], [], 1200)
    growing = soak.Run(notes(lambda at: 40.0 + at), ["solo", "solo"], [], 1200)
    missing = flat._replace(troubles=["missing: the task a"])
    short = flat._replace(notes=flat.notes[:3])

    assert [shown(run)[0] for run in (flat, growing, missing, short)] == [True, False, False, False]
    assert [line.split()[-1] for line in shown(growing)[1].splitlines() if line.startswith("memory of worker")] == [
        "GROWS",
        "flat",
    ]
    assert "missing or wrong results: 1\nmissing: the task a" in shown(missing)[1]
    assert "The run was too short to say whether anything grows: 3 notes." in shown(short)[1]


class Given:
    """A result that is what the test says."""

    id = "a"

    def __init__(self, value, state="PENDING"):
        self.value, self.state = value, state

    def get(self, timeout):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def forget(self):
        pass


@pytest.mark.parametrize(
    ("kind", "result", "value", "trouble"),
    [
        ("short", Given(5), 5, ""),
        ("short", Given(6), 5, "wrong: the task a that is short gave 6 instead of 5"),
        ("failing", Given(ValueError("x")), "ValueError: x", ""),
        ("short", Given(TimeoutError("no")), 5, "missing: the result of a task that is short: no"),
        ("revoked", Given(ValueError("x")), "TaskRevokedError: ",
         "wrong: the task a that is revoked gave 'ValueError: x' instead of 'TaskRevokedError: '"),
        ("forgotten", Given(5), 5, ""),
        ("forgotten", Given(5, "SUCCESS"), 5, "wrong: the task a is SUCCESS after its result was forgotten"),
    ],
)  # fmt: skip
def test_a_client_says_what_is_wrong_with_a_result(kind, result, value, trouble):
    assert client.trouble(client.Expected(kind, result, value), 1.0) == trouble


@pytest.mark.parametrize(
    ("result", "trouble"),
    [
        (Given(TimeoutError("no")), "missing: the result of a task that is asked for at once: no"),
        (Given(ValueError("no")), "wrong: the task a that is asked for at once gave 'ValueError: no' instead of 0"),
    ],
)
def test_a_round_trip_without_its_result_is_a_trouble_and_not_the_end_of_the_client(monkeypatch, result, trouble):
    monkeypatch.setattr(client, "post", lambda number: [])
    monkeypatch.setattr(client, "PACE", 0.0)
    monkeypatch.setattr(client.tasks, "same", SimpleNamespace(delay=lambda value: result))
    clock = iter([0.0] * 2 + [9.0] * 100)
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: next(clock), perf_counter=lambda: 0.0,
                                                        sleep=lambda seconds: None))  # fmt: skip
    told = []

    client.rounds(1.0, 60.0, told.append)

    assert told == [{"done": 0, "trips": [], "troubles": [trouble]}, {"over": True}]


def test_a_result_that_is_gone_before_its_time_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "app", PMTQ("tests", broker=f"file://{tmp_path}/queue"))
    kept = deque([client.Kept("a", client.time.monotonic() - 40)])

    assert [*client.lost_again(kept, 60.0)] == [
        "missing: the task a is PENDING 40 s after its result was there; it is kept for 60 s"
    ]
    assert not kept


def test_files_are_added_up_by_what_they_are_for(tmp_path):
    for name, size in {"queue.jsonl": 1, "queue.p9.jsonl": 2, "results.jsonl": 4, "sealed/results.0.jsonl": 8,
                       "workers/w.json": 16, "rejected.jsonl": 32}.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size * 1000)

    sizes, count = sizes_of(tmp_path)

    assert (sizes, count) == (
        {"queue": 0.003, "results": 0.004, "sealed": 0.008, "workers": 0.016, "other": 0.032},
        6,
    )
    assert [kind_of(name) for name in ("results.jsonl.lock", "logs/a.log")] == ["results", "other"]


def test_diaries_are_read_on_from_where_they_were_read_to(tmp_path):
    diaries = Diaries([tmp_path / "1", tmp_path / "2"])
    (tmp_path / "1").write_text('{"done":3,"trips":[0.1],"troubles":["x"]}\n{"do')
    first = diaries.read_on()
    with (tmp_path / "1").open("a") as file:
        file.write('ne":4,"trips":[],"troubles":[]}\n{"over":true}\n')

    assert (first, diaries.read_on()) == ((3, [0.1], ["x"], 0), (4, [], [], 1))


def test_the_share_of_few_values_is_one_of_them():
    assert [share_of([3.0, 1.0, 2.0], 0.5), share_of([1.0], 0.99), share_of([], 0.5)] == [2.0, 1.0, 0.0]


@linux
def test_a_family_is_a_process_and_its_descendants():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert {os.getpid(), child.pid} <= set(family(os.getpid()))
    finally:
        child.communicate(b"\n")


def test_a_run_that_is_ended_while_notes_are_written_keeps_those_before(tmp_path, monkeypatch):
    first, second = (soak.Run(notes(lambda at: 40.0, count), ["solo"], [], count) for count in (4, 8))
    soak.save(first, soak.Terms(), {}, tmp_path)
    real = Path.write_text

    def ended_in_the_middle(path, text):
        real(path, text[: len(text) // 2])
        raise SystemExit(143)

    monkeypatch.setattr(Path, "write_text", ended_in_the_middle)
    with pytest.raises(SystemExit):
        soak.save(second, soak.Terms(), {}, tmp_path)
    monkeypatch.setattr(Path, "write_text", real)

    assert soak.read_json((tmp_path / soak.NOTES).read_text()) == first
    soak.save(second, soak.Terms(), {}, tmp_path)
    assert soak.read_json((tmp_path / soak.NOTES).read_text()) == second
    assert [path.name for path in tmp_path.iterdir()] == [soak.NOTES]


def test_a_run_can_be_shown_again(tmp_path):
    run = soak.Run(notes(lambda at: 40.0 + at), ["solo", "solo"], [], 1200)
    Path(tmp_path / soak.NOTES).write_text(soak.as_json(run, soak.Terms(), {}))

    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.soak", "--redraw", "--into", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr, "GROWS" in done.stdout) == (1, "", True)
    assert (tmp_path / soak.PICTURE).read_text() == soak.picture(run)
