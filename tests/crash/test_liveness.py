"""Who is alive: tasks that fork, numbers that are used again, processes that stand still, clocks that jump."""

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from pmtq import PMTQ, clock, disk, sealing, watch
from pmtq.presence import Presence, living
from pmtq.states import LOST, PENDING, STARTED, SUCCESS
from pmtq.worker.consumer import Consumer
from tests.crash.worker_process import make_app
from tests.support import WORKER_PROCESS, all_lines, all_states, eventually, life, read_lines


@pytest.fixture
def runs(tmp_path):
    """A file beside the folder, in which the tasks leave a line each."""
    return tmp_path / "runs.log"


def note(runs, entry) -> None:
    descriptor = os.open(runs, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{entry}\n".encode())
    os.close(descriptor)


def entries(runs) -> list[str]:
    return runs.read_text().split() if runs.exists() else []


@contextmanager
def worker_in_child(app, name="w1", prepare=lambda consumer: None):
    """A worker in a forked child, until nothing is left to run; it is killed at the end if it still lives."""
    child = os.fork()
    if not child:
        status = 1
        try:
            here = Presence(app.folder, name, {"pid": os.getpid()})
            consumer = Consumer(app.folder, here, ["celery"], app.tasks)
            prepare(consumer)
            consumer.run(burst=True)
            here.leave()
            status = 0
        finally:
            os._exit(status)
    try:
        yield child
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def run_to_the_end(app, **options) -> int:
    """Run a worker in a child until nothing is left to run; return its exit status."""
    with worker_in_child(app, **options) as child:
        return os.waitstatus_to_exitcode(os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT).si_status << 8)


# Tasks that fork


def returns_twice() -> str:
    os.fork()
    return "done"


def exits_in_the_child() -> str:
    if not os.fork():
        sys.exit(0)
    return "done"


def raises_in_the_child() -> str:
    if not os.fork():
        raise ValueError("child")
    return "done"


def daemonises_the_old_way() -> str:
    """The first process leaves, as in every recipe for daemons; it is the worker."""
    if os.fork():
        sys.exit(0)
    os.setsid()
    return "daemon"


@pytest.mark.parametrize(
    ("function", "state"),
    [
        (returns_twice, "SUCCESS"),
        (exits_in_the_child, "SUCCESS"),
        (raises_in_the_child, "SUCCESS"),
        (daemonises_the_old_way, "FAILURE"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_child_that_comes_back_from_a_task_is_no_second_worker(folder, runs, function, state, tmp_path):
    app = PMTQ("tasks", broker=f"file://{folder.path}")
    app.task(name="tasks.fork")(function)
    app.task(name="tasks.log")(lambda entry: note(runs, entry))
    for number in range(3):
        app.send_task("tasks.log", [number], task_id=f"t{number}")
    app.send_task("tasks.fork", task_id="fork")
    for number in range(3, 9):
        app.send_task("tasks.log", [number], task_id=f"t{number}")

    log = tmp_path / "worker.log"

    def all_in_one_batch(consumer):
        consumer._expected = dict.fromkeys(consumer._expected, 0.0)
        logging.getLogger("pmtq.worker").addHandler(logging.FileHandler(log))

    status = run_to_the_end(app, prepare=all_in_one_batch)
    assert eventually(lambda: "came back from the function. It was ended; the worker goes on" in log.read_text())

    assert status == 0
    assert Counter(entries(runs)) == Counter(map(str, range(9)))
    ends = Counter((line["task_id"], line["status"]) for line in all_states(folder) if line["status"] != STARTED)
    assert ends == Counter([("fork", state), *((f"t{number}", SUCCESS) for number in range(9))])
    assert living(folder) == []
    app.backend.close()


def by_fork(until) -> None:
    if not os.fork():
        wait_and_end(until)


def by_double_fork(until) -> None:
    child = os.fork()
    if not child:
        os.setsid()
        if os.fork():
            os._exit(0)
        wait_and_end(until)
    os.waitpid(child, 0)


def by_subprocess(until) -> None:
    subprocess.Popen(["sh", "-c", f"until [ -e {until} ]; do sleep 0.05; done"], close_fds=False)


def by_multiprocessing(until) -> None:
    multiprocessing.get_context("fork").Process(target=wait_and_end, args=(until,)).start()


def wait_and_end(until) -> None:
    eventually(lambda: os.path.exists(until), 20)
    os._exit(0)


@pytest.mark.parametrize("way", [by_fork, by_double_fork, by_subprocess, by_multiprocessing])
def test_what_a_task_has_started_outlives_its_worker_and_does_not_make_it_look_alive(folder, runs, tmp_path, way):
    app, gate, left = PMTQ("tasks", broker=f"file://{folder.path}"), tmp_path / "gate", tmp_path / "left"

    @app.task(name="tasks.start")
    def start():
        way(left)
        note(runs, "started")
        eventually(gate.exists, 20)

    app.send_task("tasks.start", task_id="t")
    with worker_in_child(app):
        assert eventually(lambda: entries(runs) == ["started"])
    gate.touch()

    status = run_to_the_end(app, name="w2")

    left.touch()
    assert status == 0
    assert entries(runs) == ["started", "started"]
    assert life(folder, "t") == [(STARTED, 1), (LOST, 1), (STARTED, 2), (SUCCESS, 2)]
    app.backend.close()


# Numbers that are used again


@pytest.fixture
def stranger():
    """A process that has nothing to do with any of this."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_dead_worker_whose_number_another_process_has_now_is_dead(folder, app, work, hand, stranger):
    app.send_task("tasks.add", [1, 2], task_id="t")
    dead = hand("w1")
    dead.claim()
    dead.die()
    facts = {
        "name": "w1",
        "pid": stranger.pid,
        "queues": ["celery"],
        "functions": ["tasks.add"],
        "host": os.uname().nodename,
    }
    folder.worker("w1").write_text(json.dumps(facts))

    fate = app.control.revoke("t", terminate=True, signal="SIGKILL")
    seen = living(folder)
    work(app, "w2")

    assert seen == []
    assert stranger.poll() is None, fate
    assert not folder.worker("w1").exists()
    assert (STARTED, 2) not in life(folder, "t")


# Processes that stand still

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom pmtq.journal import Journal\n"
    "with Journal(Path(sys.argv[1])).hold():\n    print(flush=True)\n    sys.stdin.readline()\n"
)


@pytest.mark.parametrize("name", ["queue.jsonl", "results.jsonl"])
def test_a_stopped_process_that_has_a_lock_is_waited_for_and_named(folder, app, work_until, monkeypatch, caplog, name):
    folder.make()
    path = folder.path / name
    command = [sys.executable, "-c", HOLD, str(path)]
    monkeypatch.setattr(disk, "TOLD_AFTER", 0.0)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        assert eventually(lambda: "T" in Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2])
        results = []

        def go_on_when_it_was_named():
            if "which is stopped" in caplog.text and holder.poll() is None and not results:
                assert not [line for line in read_lines(folder.results) if line["task_id"] == "t"]
                holder.send_signal(signal.SIGCONT)
                holder.communicate(b"\n")
                results.append(app.AsyncResult("t"))
            return results and results[0].ready()

        client = threading.Thread(target=lambda: app.send_task("tasks.add", [1, 2], task_id="t"))
        client.start()
        work_until(app, go_on_when_it_was_named)
        client.join()

    assert app.AsyncResult("t").get(timeout=0) == 3
    assert f"{path}.lock has been locked for 0 s by process {holder.pid} (" in caplog.text
    assert life(folder, "t") == [(STARTED, 1), (SUCCESS, 1)]


# Watchers that hear nothing


@pytest.mark.parametrize("limit", ["max_inotify_instances", "max_inotify_watches"])
def test_a_worker_that_may_watch_nothing_looks_for_itself_and_says_so_once(folder, tmp_path, limit):
    """The limit is a real one, of a user namespace of its own, so that nobody else has it."""
    folder.make()
    inside = f'echo 0 > /proc/sys/user/{limit} && touch "$1" && shift && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", inside, "sh", tmp_path / "limited"]
    probe = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if not (tmp_path / "limited").exists():
        pytest.skip(f"cannot make a user namespace with limits of its own here: {probe.stderr.strip()}")
    app = make_app(folder.path)
    with (tmp_path / "log").open("w") as log:
        worker = [sys.executable, str(WORKER_PROCESS), str(folder.path), "w1"]
        with subprocess.Popen([*command, *worker], stderr=log) as process:
            assert eventually(lambda: "looking every" in (tmp_path / "log").read_text(), 30)
            values = [app.tasks["tasks.log"].delay(f"{number}").get(timeout=20) for number in range(3)]
            process.terminate()
            status = process.wait(timeout=20)

    assert values == ["0", "1", "2"]
    assert status == 0
    assert (tmp_path / "log").read_text().count("this system cannot watch") == 1
    app.backend.close()


class Deaf:
    """An observer that never calls anybody, as on a network file system."""

    daemon = True

    def start(self) -> None:
        """Do nothing."""

    def schedule(self, *_, **__):
        return object()

    def unschedule(self, _) -> None:
        """Do nothing."""

    stop = start

    def join(self, timeout=None) -> None:
        """Return at once."""


def test_a_worker_and_a_client_whose_observers_are_deaf_find_everything_by_looking(
    app, add, work_until, monkeypatch, caplog
):
    monkeypatch.setattr(watch, "_new_observer", Deaf)
    monkeypatch.setattr(watch, "SLOW_POLL", 0.02)
    results = []

    def post_one_after_the_other():
        if len(results) < 6 and all(result.ready() for result in results):
            results.append(add.delay(len(results), 1))
        return len(results) == 6 and results[-1].ready()

    work_until(app, post_one_after_the_other)

    assert [result.get(timeout=0) for result in results] == [1, 2, 3, 4, 5, 6]
    said = [record.getMessage() for record in caplog.records if record.name == "pmtq.watch"]
    assert said == [
        f"changes in {app.folder.path} are not notified (a network or container file system?); looking every 0.05 s instead"
    ]


# Clocks that jump

YEAR = 365 * 24 * 3600.0


@pytest.mark.parametrize("years", [1, -1])
def test_a_clock_that_jumps_a_year_starts_nothing_twice_and_takes_nobody_for_dead(folder, app, hand, years):
    for number in range(4):
        app.send_task("tasks.add", [number, 1], task_id=f"t{number}")
    one, other = hand("w1"), hand("w2")
    now = clock.now()
    held = one.claim(now=now)
    jumped = now + years * YEAR

    taken = [claim.record.task_id for claim in other.claim(9, now=jumped)]
    one.settle(*held, now=jumped)
    other.claimer.tidy(jumped, idle=True)
    again = [claim.record.task_id for claim in other.claim(9, now=now) + one.claim(9, now=jumped)]

    assert taken == ["t1", "t2", "t3"]
    assert again == []
    assert life(folder, "t0") == [(STARTED, 1), (SUCCESS, 1)]
    assert sorted(folder.worker_names()) == ["w1", "w2"]


@pytest.mark.parametrize(("years", "ran"), [(1, ["soon", "next month"]), (-1, [])])
def test_a_clock_that_jumps_a_year_changes_only_what_waits_for_a_time(app, hand, years, ran):
    now = clock.now()
    app.send_task("tasks.add", [1, 1], task_id="soon", countdown=60)
    app.send_task("tasks.add", [1, 1], task_id="next month", countdown=30 * 24 * 3600)
    app.send_task("tasks.add", [1, 1], task_id="in two years", countdown=2 * YEAR)
    one = hand("w1")

    before = one.run_all(now)
    after = one.run_all(now + years * YEAR)
    back = one.run_all(now + 61)

    assert (before, after) == ([], ran)
    assert back == [name for name in ["soon"] if name not in ran]
    assert app.AsyncResult("in two years").state == PENDING


@pytest.mark.parametrize("years", [1, -1])
def test_a_killed_workers_task_is_taken_over_at_once_though_the_clock_has_jumped(folder, app, hand, years):
    app.send_task("tasks.add", [1, 1], task_id="t")
    one, other = hand("w1"), hand("w2")
    now = clock.now()
    one.claim(now=now)
    other.claim(now=now)
    one.die()

    taken = [claim.record.task_id for claim in other.claim(now=now + years * YEAR)]

    assert taken == ["t"]
    assert life(folder, "t") == [(STARTED, 1), (LOST, 1), (STARTED, 2)]


@pytest.mark.parametrize("years", [1, -1])
def test_sealed_results_expire_when_a_year_seems_to_have_passed_and_are_kept_when_the_clock_is_set_back(
    folder, app, hand, years, monkeypatch
):
    monkeypatch.setattr(sealing, "IDLE_SEAL_BYTES", 0)
    app.send_task("tasks.add", [1, 1], task_id="t")
    one = hand("w1")
    now = clock.now()
    one.run_all(now)
    one.claimer.tidy(now, idle=True)
    assert folder.sealed_results()

    one.claimer.tidy(now + years * YEAR, idle=True)

    assert app.AsyncResult("t").state == (SUCCESS if years < 0 else PENDING), all_lines(folder)
