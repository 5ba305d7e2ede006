"""Many producers, many workers, and tasks that end or freeze them: nothing is lost, and nothing runs twice without a crash."""

import subprocess
import sys
import time
from collections import Counter

import pytest

from pmtq.folder import Folder
from pmtq.states import FAILURE, FINAL_STATES, LOST, STARTED, SUCCESS
from tests.crash.worker_process import make_app
from tests.support import all_lines, all_states, eventually, life

PRODUCERS, WORKERS, TASKS = 8, 4, 10_000
PRODUCER = """
import sys
from pathlib import Path
from tests.crash.worker_process import make_app
log = make_app(Path(sys.argv[1])).tasks["tasks.log"]
number, count = int(sys.argv[2]), int(sys.argv[3])
for one in range(count):
    entry = f"p{number}-{one}"
    log.apply_async([entry], task_id=entry)
"""


@pytest.fixture
def produce(folder, pytestconfig):
    """A function that starts the producers; each posts its share, every task under an id that says which it is."""
    started = []

    def produce():
        share = str(TASKS // PRODUCERS)
        for number in range(PRODUCERS):
            command = [sys.executable, "-c", PRODUCER, str(folder.path), str(number), share]
            started.append(subprocess.Popen(command, cwd=pytestconfig.rootpath))
        return started

    yield produce
    for process in started:
        process.kill()
        process.wait()


EXPECTED = sorted(f"p{number}-{one}" for number in range(PRODUCERS) for one in range(TASKS // PRODUCERS))


def runs(folder: Folder) -> list[str]:
    """Return the entries that the tasks wrote when they ran, in that order."""
    log = folder.path.parent / "runs.log"
    return log.read_text().split() if log.exists() else []


def ended(folder: Folder) -> int:
    return sum(line["status"] in FINAL_STATES for line in all_states(folder))


def enough_ended(folder, count):
    """Return a fact that is cheap to ask often: the log is looked at first, the states only when it is long enough."""
    return lambda: len(runs(folder)) >= count and ended(folder) >= count


def test_with_eight_producers_and_four_workers_each_task_runs_exactly_once(folder, processes, produce):
    for number in range(WORKERS):
        processes.start(f"w{number}")
    producers = produce()

    finished = eventually(enough_ended(folder, TASKS), 60)
    statuses = [processes.stop(f"w{number}") for number in range(WORKERS)]

    assert finished, f"{ended(folder)} of {TASKS} have ended"
    assert [producer.wait() for producer in producers] == [0] * PRODUCERS
    assert statuses == [0] * WORKERS
    assert sorted(runs(folder)) == EXPECTED
    finals = Counter(line["task_id"] for line in all_states(folder) if line["status"] == SUCCESS)
    assert finals == Counter(EXPECTED)
    assert list(folder.workers.iterdir()) == []


def test_a_task_that_kills_its_worker_each_time_ends_after_three_starts_and_takes_no_neighbour_with_it(
    folder, processes
):
    app = make_app(folder.path)
    log, die = app.tasks["tasks.log"], app.tasks["tasks.die"]
    before = [log.delay(f"before{number}") for number in range(20)]
    killer = die.delay("killer")
    after = [log.delay(f"after{number}") for number in range(20)]
    for start in range(4):
        processes.start(f"w{start}", "burst").wait(timeout=30)

    results = [result.state for result in before + after]

    assert results == [SUCCESS] * 40
    assert Counter(runs(folder)) == Counter(
        [*["killer"] * 3, *(f"{when}{number}" for when in ("before", "after") for number in range(20))]
    )
    assert killer.state == FAILURE
    assert type(killer.result).__name__ == "WorkerLostError"
    assert "3 workers died while running it" in str(killer.result)
    assert life(folder, killer.id) == [
        (STARTED, 1), (LOST, 1), (STARTED, 2), (LOST, 2), (STARTED, 3), (LOST, 3), (FAILURE, 3)
    ]  # fmt: skip
    app.backend.close()


def test_with_acks_late_false_a_task_that_kills_its_worker_starts_once(folder, processes):
    app = make_app(folder.path)
    killer = app.tasks["tasks.die_once"].delay("killer")
    neighbour = app.tasks["tasks.log"].delay("neighbour")
    for start in range(3):
        processes.start(f"w{start}", "burst").wait(timeout=30)

    assert Counter(runs(folder)) == Counter(["killer", "neighbour"])
    assert (killer.state, neighbour.state) == (FAILURE, SUCCESS)
    assert type(killer.result).__name__ == "WorkerLostError"
    app.backend.close()


def test_a_killed_workers_task_is_taken_over_by_one_that_lives(folder, processes, tmp_path):
    app = make_app(folder.path)
    gate = tmp_path / "gate"
    processes.start("w1")
    result = app.tasks["tasks.hang"].delay("hang", str(gate))
    assert eventually(lambda: runs(folder) == ["hang"], 20)
    processes.start("w2")
    assert eventually(lambda: folder.worker("w2").exists(), 20)

    processes.kill("w1")
    taken_over = eventually(lambda: runs(folder) == ["hang", "hang"], 20)
    gate.touch()

    assert taken_over, all_lines(folder)
    assert result.get(timeout=20) == "hang"
    assert life(folder, result.id) == [(STARTED, 1), (LOST, 1), (STARTED, 2), (SUCCESS, 2)]
    app.backend.close()


def test_a_stopped_worker_that_is_frozen_but_alive_keeps_its_task(folder, processes, tmp_path):
    """Neither a long pause nor a debugger makes a task run twice: the kernel lock is held all the while."""
    import signal

    app = make_app(folder.path)
    gate = tmp_path / "gate"
    frozen = processes.start("w1")
    result = app.tasks["tasks.hang"].delay("hang", str(gate))
    assert eventually(lambda: runs(folder) == ["hang"], 20)
    frozen.send_signal(signal.SIGSTOP)
    processes.start("w2")
    others = [app.tasks["tasks.log"].delay(f"n{number}") for number in range(50)]
    assert eventually(lambda: all(other.ready() for other in others), 20)
    looked_since = time.time() + 1.2  # two roll calls of the other worker
    assert eventually(lambda: time.time() > looked_since)

    ran = Counter(runs(folder))
    gate.touch()
    frozen.send_signal(signal.SIGCONT)

    assert ran["hang"] == 1
    assert result.get(timeout=20) == "hang"
    assert life(folder, result.id) == [(STARTED, 1), (SUCCESS, 1)]
    app.backend.close()
