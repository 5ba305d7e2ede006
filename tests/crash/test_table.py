"""``make crash`` prints one table, fails when a promise was broken, and says how to see that again."""

import subprocess
import sys

import pytest
from hypothesis import strategies as st

from tests.crash import faults, kills, power_cut
from tests.crash.__main__ import Sizes, run
from tests.crash.counts import Counts
from tests.crash.table import Row, show

SIZES = Sizes(tasks=1, kills=1, states=1, examples=1, cuts=1, seed=1)


def test_a_harness_has_a_row_and_a_clean_run_ends_well(pytestconfig):
    names = ["model", "points", "storm", "rounds", "fuzz"]
    sizes = ["--tasks", "200", "--kills", "2", "--states", "100", "--examples", "1", "--seed", "7"]
    only = [word for name in names for word in ("--only", name)]

    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", *only, *sizes],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )

    heading, *rows = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.split()[0] for row in rows[: len(names)]] == names
    assert [
        word in heading for word in ("kills", "lost", "doubled", "needless re-runs", "redelivery p50 / p99 ms")
    ] == [True] * 5
    assert rows[-1] == "Seed 7"


def test_a_row_of_a_survey_sums_up_what_it_has_counted(monkeypatch):
    found = {
        "client": Counts(states=9, kills=8),
        "worker": Counts(
            states=5, kills=4, lost=1, doubled=2, needless=3, troubles=["worker, write 2: 1 lost", "more"]
        ),
    }
    monkeypatch.setattr(kills, "why_not", lambda: "")
    monkeypatch.setattr(kills, "survey_all", lambda _: found)
    monkeypatch.setattr(faults, "survey_all", lambda _: {"client": found["client"]})

    calls, failed = run(SIZES._replace(seed=7), ["calls", "faults"])

    again = "python -m tests.crash --only calls --seed 7"
    counted = Row(
        "calls", "12 system calls of 2 programs", 12, 1, 2, 3, 2, [], calls.seconds, found["worker"].troubles[0], again
    )
    assert calls == counted
    assert (failed.count, failed.is_broken) == ("8 failed calls in 1 scenarios", False)


def test_where_something_is_missing_the_row_says_what(monkeypatch, capsys):
    seen = power_cut.Counts(cuts=3, acknowledged=9, lost=1, unpromised=5, gone=2, older=1, troubles=["xfs: lost d1"])
    monkeypatch.setattr(kills, "why_not", lambda: "strace is not installed")
    monkeypatch.setattr(
        power_cut, "why_not", lambda file_system: "" if file_system == "xfs" else "there is no /dev/fuse"
    )
    monkeypatch.setattr(power_cut, "cut_power", lambda *asked: seen if asked == ("xfs", 3, 7) else 1 / 0)

    calls, power = run(SIZES._replace(cuts=3, seed=7), ["calls", "power"])

    assert (calls.count, calls.is_broken) == ("not run: strace is not installed", False)
    assert power.count == "3 cuts each under xfs; ext4 not: there is no /dev/fuse; btrfs not: there is no /dev/fuse"
    assert (power.lost, power.unexpected, power.fault) == (1, 2, "xfs: lost d1")
    assert power.again == "python -m tests.crash --only power --seed 7 --cuts 3"


@pytest.mark.parametrize(
    "broken", [{"lost": 1}, {"doubled": 1}, {"needless": 1}, {"unexpected": 1}, {"fault": "it hangs"}]
)
def test_a_broken_promise_is_named_with_the_command_that_shows_it_again(broken, capsys):
    fine, bad = Row("fuzz"), Row("storm", again="python -m tests.crash --only storm --seed 3", **broken)

    status = show([fine, bad])

    said = capsys.readouterr().out
    assert status == 1
    assert f"BROKEN: storm: {bad.fault}\nRun it again: python -m tests.crash --only storm --seed 3\n" in said
    assert "BROKEN: fuzz" not in said


def test_delays_are_shown_in_milliseconds(capsys):
    show([Row("storm", kills=1200, redelivery=[number / 1000 for number in range(1, 101)])])

    row = capsys.readouterr().out.splitlines()[1]

    assert row.split() == ["storm", "1,200", "0", "0", "0", "0", "51", "/", "100", "0"]


def test_a_harness_that_breaks_names_the_batch_it_broke_in(monkeypatch):
    from tests.crash import fuzz

    def broken(number):
        raise AssertionError("a line was lost")

    monkeypatch.setattr(fuzz, "CHECKS", {broken: {"number": st.integers()}})

    (row,) = run(SIZES._replace(examples=100, seed=40), ["fuzz"])

    assert (row.unexpected, row.fault.splitlines()[0]) == (1, "AssertionError: a line was lost")
    assert "broken(\n    number=0," in row.fault
    assert row.again == "python -m tests.crash --only fuzz --seed 40 --examples 50"
    assert row.count == "50 examples of 1 checks"
