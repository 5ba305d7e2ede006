"""``make crash`` prints one table, fails when a promise was broken, and says how to see that again."""

import subprocess
import sys

import pytest
from hypothesis import strategies as st

from tests.crash.__main__ import Sizes, run
from tests.crash.table import Row, show


def test_every_harness_has_a_row_and_a_clean_run_ends_well(pytestconfig):
    sizes = ["--tasks", "200", "--kills", "2", "--states", "100", "--examples", "1", "--seed", "7"]

    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", *sizes],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )

    heading, *rows = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.split()[0] for row in rows[:4]] == ["model", "points", "storm", "fuzz"]
    assert [
        word in heading for word in ("kills", "lost", "doubled", "needless re-runs", "redelivery p50 / p99 ms")
    ] == [True] * 5
    assert rows[-1] == "Seed 7"


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

    (row,) = run(Sizes(1, 1, 1, 100, 40), ["fuzz"])

    assert (row.unexpected, row.fault.splitlines()[0]) == (1, "AssertionError: a line was lost")
    assert "broken(\n    number=0," in row.fault
    assert row.again == "python -m tests.crash --only fuzz --seed 40 --examples 50"
    assert row.count == "50 examples of 1 checks"
