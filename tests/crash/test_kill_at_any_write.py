"""``kill -9`` at writes, renames, removals and locks of a client, a worker, a sealer and their heirs, done by strace.

The ordinary run visits a handful of calls; ``PMTQ_CRASH=large`` in front of pytest visits every one.
"""

import pytest

from pmtq.folder import Folder
from tests.crash.counts import LARGE
from tests.crash.kills import PROGRAMS, client, survey, traced, why_not
from tests.support import read_lines

WHY_NOT = why_not()
needs_strace = pytest.mark.skipif(bool(WHY_NOT), reason=f"needs strace: {WHY_NOT}")
STEP = {"client": 2}
"""Every so many-th call of a kind is visited in the ordinary run; of most programs every fifth."""


@needs_strace
@pytest.mark.timeout(900 if LARGE else 120)
@pytest.mark.parametrize("program", PROGRAMS)
def test_whoever_is_killed_at_any_effect_loses_nothing_and_repeats_at_most_what_was_running(tmp_path, program):
    counts = survey(tmp_path, program, 1 if LARGE else STEP.get(program, 5))

    assert counts.troubles == []
    assert (counts.lost, counts.doubled, counts.needless) == (0, 0, 0)
    assert counts.kills >= 5


@needs_strace
@pytest.mark.parametrize("call", ["write 1", "write 3", "flock 2", "fsync 1"])
def test_a_call_that_a_signal_interrupts_is_made_again(tmp_path, call):
    effect, number = call.split()
    path = tmp_path / "queue_dir"

    status, said = traced(lambda: client(path), effect, int(number), "error=EINTR")

    assert (status, said) == (0, "")
    assert [line["task_id"] for line in read_lines(Folder(path).queue())] == ["t0", "t1", "t2"]
    assert (tmp_path / "acknowledged").read_text().split() == ["t0", "t1", "t2"]
