"""Round after round nothing is lost, and what is kept for a while is given back; the checker sees what is not so."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.crash.rounds import WHIMS, Rounds, label_of


def test_clients_that_revoke_forget_and_read_while_many_tasks_run_get_what_they_were_promised(tmp_path, pytestconfig):
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.rounds", "--tasks", "3000", "--rounds", "3", str(tmp_path)],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert (report["lost"], report["doubled"], report["unexpected"], report["first"]) == (0, 0, 0, "")
    assert (done.returncode, report["tasks"]) == (0, 3000 + 3 * WHIMS)
    assert len(report["sizes"]) == 3


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, (0, 0, 0)),
        ({label_of("r", 0, 1): -1}, (1, 0, 0)),
        ({label_of("r", 0, 1): 1}, (0, 1, 0)),
        ({label_of("s", 0, 2): -1}, (1, 0, 0)),
        ({"called off": 1}, (0, 0, 1)),
    ],
)
def test_each_task_that_ran_too_often_or_never_is_counted(tmp_path, change, wrong):
    rounds = Rounds(tmp_path, tasks=4, rounds=1)
    ran = Counter([*(label_of("r", 0, one) for one in range(4)), *(label_of("s", 0, one) for one in range(WHIMS))])
    ran.update(change)
    (tmp_path / "runs.log").write_text("".join(f"{label}\n" for label in ran.elements()))

    rounds._count()

    report = rounds.report
    assert ((report.lost, report.doubled, report.unexpected), report.tasks) == (wrong, 4 + WHIMS)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([20, 50, 70, 90], ""),
        ([20, 40, 50, 58], ""),
        ([20, 21, 30, 90], "unexpected: the folder grows: [20, 21, 30, 90] MB in the rounds"),
        ([90], ""),
    ],
)
def test_a_folder_that_grows_from_round_to_round_is_said_to(tmp_path, sizes, said):
    rounds = Rounds(tmp_path, tasks=4, rounds=len(sizes))
    rounds.report.sizes = sizes

    rounds._end_workers()

    assert rounds.report.first == said
