"""Many producers, many workers, and a hand on the power switch: nothing is lost, and nothing runs twice without a crash."""

import random
import subprocess
import sys
import time
from collections import Counter

import pytest

from pmtq.folder import Folder
from pmtq.states import FAILURE, FINAL_STATES, LOST, RELEASED, STARTED, SUCCESS
from tests.crash.worker_process import make_app
from tests.support import all_lines, all_states, eventually, life

PRODUCERS, WORKERS, TASKS, KILLS = 8, 4, 10_000, 50
PRODUCER = """
import sys
from pathlib import Path
from tests.crash.worker_process import make_app
log = make_app(Path(sys.argv[1])).tasks["tasks.log"]
number, count, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
for one in range(count):
    entry = f"p{number}-{one}"
    log.apply_async([entry, seconds], task_id=entry)
"""


@pytest.fixture
def produce(folder, pytestconfig):
    """A function that starts the producers; each posts its share, every task under an id that says which it is."""
    started = []

    def produce(seconds=0.0):
        share = str(TASKS // PRODUCERS)
        for number in range(PRODUCERS):
            command = [sys.executable, "-c", PRODUCER, str(folder.path), str(number), share, str(seconds)]
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


def check_history(folder: Folder, expected: list[str]) -> None:
    """Check each task's life: attempts rise by one, a start follows no end, and a final state never changes."""
    lives: dict[str, list[dict]] = {}
    for line in all_states(folder):
        lives.setdefault(line["task_id"], []).append(line)
    assert sorted(lives) == expected
    for task_id, lines in lives.items():
        attempt, holder = 0, None
        for number, line in enumerate(lines):
            story = [(line["status"], line.get("attempt", 0), line["worker"]) for line in lines]
            assert number == 0 or lines[number - 1]["status"] not in FINAL_STATES, (task_id, story)
            if line["status"] == STARTED:
                assert (line["attempt"], holder) == (attempt + 1, None), (task_id, story)
                attempt, holder = attempt + 1, line["worker"]
            elif line["status"] == RELEASED:
                assert (line.get("attempt", 0), line["worker"]) == (attempt - 1, holder), (task_id, story)
                attempt, holder = attempt - 1, None
            else:
                assert line["status"] in {LOST, SUCCESS}, (task_id, story)
                assert (line["attempt"], line["worker"]) == (attempt, holder), (task_id, story)
                holder = None
        assert lines[-1]["status"] == SUCCESS, (task_id, lines)


def test_under_fifty_kills_no_task_is_lost_and_re_runs_are_no_more_than_the_kills(folder, processes, produce):
    chance = random.Random(20261120)
    names = [f"w{number}" for number in range(WORKERS)]
    for name in names:
        processes.start(name)
    producers = produce(seconds=0.002)
    assert eventually(lambda: len(runs(folder)) > 0, 30)

    killed_at_work = 0
    for _ in range(KILLS):
        before = len(runs(folder))
        moment = before + chance.randint(0, 150)
        eventually(lambda moment=moment: len(runs(folder)) >= min(moment, TASKS), chance.uniform(0.05, 0.3))
        killed_at_work += before < TASKS
        name = chance.choice(names)
        processes.kill(name)
        processes.start(name)
    finished = eventually(enough_ended(folder, TASKS), 60)
    for name in names:
        processes.stop(name)

    assert [producer.wait() for producer in producers] == [0] * PRODUCERS
    assert finished, f"{ended(folder)} of {TASKS} have ended"
    ran = Counter(runs(folder))
    assert sorted(ran) == EXPECTED
    assert sum(ran.values()) - TASKS <= KILLS
    assert killed_at_work > KILLS // 2, "the machine is too fast for this test: most kills met an idle worker"
    check_history(folder, EXPECTED)


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
