"""``kill -9`` on workers in the middle of workflows: every step runs, nothing that waits is lost, no end comes twice."""

import random
import time
from collections import Counter

import pytest

from pmtq.canvas import chain, chord, group
from pmtq.inheritance import MAX_STARTS
from pmtq.states import FINAL_STATES, STARTED, SUCCESS
from tests.crash.counts import LARGE
from tests.crash.kills import Program, entries, survey, worker
from tests.crash.test_kill_at_any_write import needs_strace
from tests.crash.worker_process import make_app
from tests.support import all_states, eventually


def workflow(app, tag, *, width=12, ends=3, seconds=0.0):
    """Return a chain with a chord in it, and a group at its end; each step writes its name."""
    log = app.tasks["tasks.log"]
    members = [log.si(f"{tag}-header-{number}", seconds) for number in range(width)]
    last = group([log.si(f"{tag}-end-{number}", seconds) for number in range(ends)])
    return chain(log.si(f"{tag}-begin"), chord(members, log.si(f"{tag}-body")), log.si(f"{tag}-after"), last)


def steps_of(tag, width=12, ends=3):
    return {
        f"{tag}-begin",
        *(f"{tag}-header-{number}" for number in range(width)),
        f"{tag}-body",
        f"{tag}-after",
        *(f"{tag}-end-{number}" for number in range(ends)),
    }


def to_be_spared(folder):
    """Return the workers that run a task of which two have died: the third death would be its failure, as promised."""
    last = {line["task_id"]: line for line in all_states(folder)}.values()
    return {line["worker"] for line in last if line["status"] == STARTED and line.get("deaths", 0) >= MAX_STARTS - 1}


def test_a_storm_of_kills_over_workflows_loses_nothing(processes, folder, tmp_path):
    app = make_app(folder.path)
    results = [workflow(app, f"w{number}", seconds=0.04).delay() for number in range(6)]
    chance, kills, names = random.Random(7), 0, iter(range(1000))
    for _ in range(3):
        processes.start(f"w-{next(names)}")

    deadline = time.monotonic() + 60
    while not all(result.ready() for result in results) and time.monotonic() < deadline:
        time.sleep(chance.uniform(0.05, 0.3))
        if kills < 12 and (victims := sorted(processes.running.keys() - to_be_spared(folder))):
            processes.kill(chance.choice(victims))
            processes.start(f"w-{next(names)}")
            kills += 1

    assert kills > 3
    assert eventually(lambda: all(result.ready() for result in results), 30)
    ran = Counter(entries(tmp_path / "runs.log"))
    assert set(ran) == set().union(*(steps_of(f"w{number}") for number in range(6)))
    assert sum(ran.values()) <= len(ran) + kills
    finals = Counter(
        line["task_id"] for line in all_states(folder) if line["status"] in FINAL_STATES and not line.get("kept")
    )
    assert set(finals.values()) == {1}
    assert all(line["status"] == SUCCESS for line in all_states(folder) if line["status"] in FINAL_STATES)
    app.close()


def test_without_a_kill_no_step_of_a_workflow_runs_twice(processes, folder, tmp_path):
    app = make_app(folder.path)
    for number in range(4):
        processes.start(f"w-{number}")

    results = [workflow(app, f"w{number}", width=50).delay() for number in range(10)]

    assert eventually(lambda: all(result.ready() for result in results), 30)
    ran = Counter(entries(tmp_path / "runs.log"))
    assert ran == Counter(set().union(*(steps_of(f"w{number}", 50) for number in range(10))))
    app.close()


@needs_strace
@pytest.mark.timeout(900 if LARGE else 120)
def test_a_worker_killed_at_any_effect_leaves_a_workflow_that_goes_on(tmp_path):
    def prepare(path):
        path.parent.mkdir()
        app = make_app(path)
        workflow(app, "w", width=2, ends=1).delay()
        app.close()
        return 0

    counts = survey(tmp_path, "workflow", 1 if LARGE else 7, Program(worker, prepare, frozenset(steps_of("w", 2, 1))))

    assert counts.troubles == []
    assert (counts.lost, counts.doubled, counts.needless) == (0, 0, 0)
    assert counts.kills >= 5
