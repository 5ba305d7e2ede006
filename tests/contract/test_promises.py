"""One test for each promise of README.md, in its order, with the public API, real processes and the two files.

The first paragraph of each docstring is the README's own sentence, or a clause of it; ``test_every_promise_is_tested`` sees
to that. Time is passed in or moved, so that nothing here waits for a clock.
"""

import fcntl
import os
import pickle
import random
import resource
import signal
import stat
import sys
import time
from collections import Counter

import pytest

from pmtq import PMTQ, sealing
from pmtq.clock import moved_clock
from pmtq.exceptions import TaskError, WorkerLostError
from pmtq.folder import Folder
from pmtq.records import epoch
from pmtq.states import FAILURE, IGNORED, LOST, STARTED, SUCCESS
from pmtq.watch import Watch
from tests.crash.careless import Recorder, build
from tests.crash.points import PowerCut, World
from tests.crash.worker_process import make_app
from tests.projects import Project
from tests.support import NOW, Hand, all_states, eventually, in_child, life, post_by_hand, queued, read_lines

DAY = 86400.0
MEETING = """
import asyncio
from pmtq import PMTQ

app = PMTQ("tasks")
present, all_present = [], asyncio.Event()

@app.task
async def meet():
    present.append(1)
    if len(present) == 1000:
        all_present.set()
    try:
        await asyncio.wait_for(all_present.wait(), 10)
    finally:
        all_present.set()
    return len(present)
"""
"""Tasks that end only when a thousand of them have begun."""


@pytest.fixture
def clock():
    """A clock that stands still until the test moves it."""
    with moved_clock(NOW) as clock:
        yield clock


def entries(folder):
    """Return what the tasks of ``make_app`` have left in their log, in that order."""
    log = folder.path.parent / "runs.log"
    return log.read_text().split() if log.exists() else []


def hang(app, folder, processes):
    """Have the worker process ``w1`` run a task that ends when the gate is there; return its result, and the gate."""
    gate = folder.path.parent / "gate"
    result = app.send_task("tasks.hang", ["hang", str(gate)])
    processes.start("w1")
    assert eventually(lambda: entries(folder) == ["hang"], 20)
    return result, gate


# What is better on one machine


def test_a_rate_limit_and_a_pause_hold_for_all_workers_together(app, add, hand, run):
    """a rate limit of `"10/m"` and a paused queue (`pmtq pause`) hold for all workers together,"""
    app.control.rate_limit("tasks.add", "10/m")
    for number in range(100):
        add.apply_async([number], task_id=f"t{number}")
    workers = [hand("w1"), hand("w2"), hand("w3")]

    starts = [second for second in range(60) for worker in workers for _ in worker.claim(count=100, now=NOW + second)]
    run("pause", "-Q", "celery")
    paused = [worker.claim(now=NOW + DAY) for worker in workers]
    run("resume", "-Q", "celery")
    resumed = [len(worker.claim(now=NOW + DAY)) for worker in workers]

    assert starts == [0, 6, 12, 18, 24, 30, 36, 42, 48, 54]
    assert (paused, resumed) == ([[], [], []], [1, 0, 0])


def test_a_rate_limit_and_a_pause_survive_restarts(app, run, work, clock, monkeypatch):
    """and survive restarts;

    Each worker here is a new one, which starts the results afresh as well.
    """
    monkeypatch.setattr(sealing, "SEAL_BYTES", 0)
    ran = []
    app.task(name="tasks.limited", rate_limit="10/m")(ran.append)
    app.send_tasks([("tasks.limited", [number]) for number in range(4)])

    for name in ("w1", "w2"):
        work(app, name)
    clock.advance(6)
    for name in ("w3", "w4"):
        work(app, name)
    run("pause", "-Q", "celery")
    clock.advance(60)
    for name in ("w5", "w6"):
        work(app, name)
    while_paused = list(ran)
    run("resume", "-Q", "celery")
    work(app, "w7")

    assert (while_paused, ran) == ([0, 1], [0, 1, 2])


def test_priorities_are_exact_however_much_waits(app, add, hand):
    """priorities are exact, however much waits;"""
    worker = hand()
    app.send_tasks([(add, [number], {}, {"task_id": f"t{number}"}) for number in range(20_000)])
    worker.settle(*worker.claim(100))
    for priority in (3, 9, 5):
        add.apply_async([0], priority=priority, task_id=f"p{priority}")

    assert [claim.record.task_id for claim in worker.claim(5)] == ["p9", "p5", "p3", "t100", "t101"]


def test_of_equal_calls_unique_debounce_and_throttle_run_fewer(app, work, clock):
    """of equal calls `unique=True`, `debounce=` and `throttle=` run fewer;

    A unique call is judged when a worker comes to it: it is none if an equal one is owed at that moment.
    """
    ran = []
    for option in ({"unique": True}, {"debounce": 5.0}, {"throttle": 5.0}):
        (name,) = option
        app.task(name=name, **option)(lambda x, name=name: ran.append((name, x)))

    def call(*names):
        for name in names:
            results.extend(app.tasks[name].delay(1) for _ in range(3))
        work(app)
        return ran[:]

    results = []
    at_once = call("unique", "debounce", "throttle")
    clock.advance(4)
    too_soon = call("debounce", "throttle")
    clock.advance(5)
    later = call("throttle")

    assert at_once == [("unique", 1), ("throttle", 1)]
    assert too_soon == at_once
    assert later == [*at_once, ("debounce", 1), ("throttle", 1)]
    assert Counter(result.state for result in results) == Counter({SUCCESS: 4, IGNORED: 14})


def test_async_def_tasks_run_as_they_are(app, work):
    """`async def` tasks run as they are,"""

    @app.task
    async def add_later(x, y):
        return x + y

    result = add_later.delay(2, 3)
    work(app)

    assert result.get(timeout=0) == 5


def test_with_the_asyncio_pool_a_thousand_tasks_run_at_once(project, run):
    """a thousand at once with `-P asyncio`;"""
    (project / "tasks.py").write_text(MEETING)
    with PMTQ(broker=f"file://{project}/queue_dir") as client:
        results = client.send_tasks([("tasks.meet", [])] * 1000)

        run("worker", "-A", "tasks", "-P", "asyncio", "--burst")

        assert Counter(result.state for result in results) == Counter({SUCCESS: 1000})
        assert results[0].get(timeout=0) == 1000


def test_a_failed_call_is_kept_with_its_reason_and_posted_again_also_with_other_arguments(app, run, work):
    """a failed call is kept with its reason (`pmtq dead`) and posted again (`pmtq requeue ID`), also with other arguments."""
    paper = []

    @app.task(name="tasks.print")
    def print_pages(pages):
        if pages > len(paper):
            raise ValueError(f"no paper for {pages} pages")
        return pages

    failed = [print_pages.delay(pages) for pages in (1, 2)]
    work(app)
    told = run("dead").out
    paper.append("a sheet")
    again = [
        run("requeue", failed[0].id).out.split()[-1],
        run("requeue", failed[1].id, "--args", "[0]").out.split()[-1],
    ]
    work(app)

    for result, pages in zip(failed, (1, 2), strict=True):
        assert f"{result.id}  FAILURE   tasks.print  [{pages}]" in told
        assert f"ValueError: no paper for {pages} pages" in told
    assert [app.AsyncResult(task_id).get(timeout=0) for task_id in again] == [1, 0]


# A task is not lost


@pytest.mark.parametrize("moment", ["before it writes", "after it has written", "after it was told"])
def test_a_task_is_not_lost_when_a_client_is_killed(app, add, work, moment):
    """A task is not lost when a client, a worker or a child process is killed at any moment.

    Here it is the client, at three moments of its last call; the calls before have returned, so they are not lost.
    """
    write = os.write

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def post_and_die():
        for number in range(7):
            add.apply_async([number], task_id=f"told{number}")
        if moment != "after it was told":
            os.write = die if moment == "before it writes" else lambda *line: die(write(*line))
        add.apply_async([7], task_id="last")
        die()

    assert in_child(post_and_die) == "", "it was killed"
    neighbour = add.delay(8)
    work(app)

    assert [app.AsyncResult(f"told{number}").get(timeout=0) for number in range(7)] == list(range(7))
    assert app.AsyncResult("last").state == ("PENDING" if moment == "before it writes" else SUCCESS)
    assert neighbour.get(timeout=0) == 8


def test_a_task_is_not_lost_when_a_worker_is_killed(folder, processes, work):
    """A task is not lost when a client, a worker or a child process is killed at any moment.

    Here it is the worker, while it runs the task.
    """
    with make_app(folder.path) as app:
        result, gate = hang(app, folder, processes)
        processes.kill("w1")
        gate.touch()
        work(app, "w2")

        assert result.get(timeout=0) == "hang"


def test_a_task_is_not_lost_when_a_child_process_is_killed(tmp_path):
    """A task is not lost when a client, a worker or a child process is killed at any moment.

    Here it is one of two children of a worker, while it runs the task.
    """
    project = Project(tmp_path)
    try:
        project.worker("-c", "2")
        task_id = project.hold()
        killed = project.pids()[project.runner(task_id)]
        os.kill(killed, signal.SIGKILL)
        project.open_gate()

        assert project.result(task_id) not in {None, killed, project.started[0].pid}
    finally:
        project.close()


def test_a_worker_is_alive_exactly_as_long_as_the_kernel_lock_on_its_file_is_held(app, folder, processes):
    """Its worker was alive exactly as long as the kernel lock on `queue_dir/workers/<name>.json` was held,"""
    path = folder.path / "workers" / "w1.json"

    def look():
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return "held", app.control.ping()
        return "free", app.control.ping()

    alive, dead = ("held", [{"w1": {"ok": "pong"}}]), ("free", [])
    process = processes.start("w1")
    assert eventually(app.control.ping, 20)

    running = look()
    process.send_signal(signal.SIGSTOP)
    frozen = look()
    processes.kill("w1")
    killed = look()
    with path.open() as stranger:
        fcntl.flock(stranger, fcntl.LOCK_EX)
        held_by_anybody = look()

    assert (running, frozen, killed, held_by_anybody, look()) == (alive, alive, dead, alive, dead)


def test_within_a_second_a_busy_worker_takes_over_what_a_dead_one_had(add, hand):
    """so the next one takes over within a second,

    That is the time from its last look at who is alive, by the clock it is told, to a look that finds the dead one.
    """
    for task_id in "abcd":
        add.apply_async([1], task_id=task_id)
    first, heir = hand("w1"), hand("w2")
    first.claim()
    one_before = heir.claim(now=NOW)
    first.die()

    one_after = heir.claim(now=NOW + 1.0)

    assert [claim.record.task_id for claim in one_before + one_after] == ["b", "a"]


def test_within_a_second_an_idle_worker_takes_over_what_a_dead_one_had(
    app, add, hand, folder, work_until, clock, monkeypatch
):
    """so the next one takes over within a second,

    The worker hears of no change, so it waits as long as it ever does; the other one dies when that begins.
    """
    result = add.apply_async([2, 3], task_id="t")
    first = hand("w1")
    first.claim()
    deaths = []

    def wait_in_vain(watch, seen, seconds):
        if not deaths:
            deaths.append(first.die())
        clock.advance(seconds)

    monkeypatch.setattr(Watch, "wait", wait_in_vain)
    work_until(app, result.ready, "w2")

    starts = [(line["worker"], epoch(line["at"]) - NOW) for line in all_states(folder) if line["status"] == STARTED]
    assert [worker for worker, _ in starts] == ["w1", "w2"]
    assert 0 < starts[1][1] <= 1


def test_what_is_taken_over_has_an_attempt_one_higher(folder, processes, work):
    """with `attempt` one higher."""
    with make_app(folder.path) as app:
        result, gate = hang(app, folder, processes)
        processes.kill("w1")
        gate.touch()
        work(app, "w2")

        assert life(folder, result.id) == [(STARTED, 1), (LOST, 1), (STARTED, 2), (SUCCESS, 2)]


def test_a_live_task_is_never_given_to_a_second_worker(folder, processes, hand):
    """A live task is never given to a second worker.

    Not even if its worker is frozen, and a year passes on the clock of the other one.
    """
    with make_app(folder.path) as app:
        result, gate = hang(app, folder, processes)
        process = processes.running["w1"]
        process.send_signal(signal.SIGSTOP)
        other = hand("w2", {"tasks.hang": True})
        given = [other.claim(now=time.time() + days * DAY) for days in (0, 1, 365)]
        process.send_signal(signal.SIGCONT)
        gate.touch()

        assert given == [[], [], []]
        assert result.get(timeout=20) == "hang"
        assert life(folder, result.id) == [(STARTED, 1), (SUCCESS, 1)]


def test_a_kill_repeats_at_most_the_one_task_that_was_running(app, folder, hand, tmp_path, work):
    """A kill repeats at most the one task that was running.

    The worker has taken many at once by then, and has run about half of them.
    """
    ran = (tmp_path / "ran").open("a", buffering=1)

    @app.task(name="tasks.log")
    def log(label):
        ran.write(f"{label}\n")
        if label == "killer":
            os.kill(os.getpid(), signal.SIGKILL)

    labels = [*(f"t{number}" for number in range(150)), "killer", *(f"t{number}" for number in range(150, 300))]
    app.send_tasks([(log, [label], {}, {"task_id": label}) for label in labels])

    assert in_child(lambda: work(app, "w1")) == "", "it was killed"
    begun = (tmp_path / "ran").read_text().split()
    given = [claim.record.task_id for claim in hand("w2", {"tasks.log": True}).claim(1000)]
    ran.close()

    assert begun == labels[:151]
    assert sorted(given) == sorted(labels[150:])


def test_a_task_that_kills_its_worker_three_times_has_failed(folder, processes, hand):
    """A task that kills its worker three times has failed."""
    with make_app(folder.path) as app:
        killer = app.tasks["tasks.die"].delay("killer")

        statuses = [processes.start(name).wait(timeout=20) for name in ("w1", "w2", "w3")]
        given = hand("w4", {"tasks.die": True}).claim()

        assert (statuses, entries(folder)) == ([-signal.SIGKILL] * 3, ["killer"] * 3)
        assert (given, killer.state) == ([], FAILURE)
        with pytest.raises(WorkerLostError, match="3 workers died while running it"):
            killer.get(timeout=0)


def test_with_acks_late_false_a_task_starts_once_at_most(folder, processes, hand):
    """With `@app.task(acks_late=False)` a task starts once at most;"""
    with make_app(folder.path) as app:
        assert app.tasks["tasks.die_once"].acks_late is False
        killer = app.tasks["tasks.die_once"].delay("killer")

        status = processes.start("w1").wait(timeout=20)
        heir = hand("w2", {"tasks.die_once": False})
        given = [heir.claim(now=time.time() + days * DAY) for days in (0, 1, 365)]

        assert (status, entries(folder)) == (-signal.SIGKILL, ["killer"])
        assert given == [[], [], []]
        assert [status for status, _ in life(folder, killer.id)].count(STARTED) == 1


def test_with_acks_late_false_a_task_whose_worker_died_has_failed(app, hand, folder, work):
    """if its worker dies, it has failed."""
    task = app.task(name="tasks.pay", acks_late=False)(lambda: "paid")
    result = task.delay()
    dead = hand("w1", {"tasks.pay": False})
    dead.claim()
    dead.die()
    work(app, "w2")

    assert life(folder, result.id) == [(STARTED, 1), (LOST, 1), (FAILURE, 1)]
    with pytest.raises(WorkerLostError, match="with acks_late=False a task is started once at most"):
        result.get(timeout=0)


# Disks, lines and people


@pytest.mark.parametrize("room", [0, 1, 60])
def test_a_full_disk_is_an_error_to_the_caller_and_the_file_ends_where_it_ended_before(app, add, folder, room):
    """A full disk is an error to the caller, and the file ends where it ended before.

    The system stops the write after ``room`` bytes, as a disk does that has no more.
    """
    add.delay(1)
    before = folder.queue().read_bytes()

    def post_without_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, resource.RLIM_INFINITY))
        return add.delay("x" * 100)

    said = in_child(post_without_room)

    assert said.startswith(f"OperationalError: cannot append to {folder.queue()}: ")
    assert folder.queue().read_bytes() == before
    add.delay(2)
    assert queued(folder) == [("tasks.add", [1]), ("tasks.add", [2])]


def test_a_bad_line_an_unknown_function_or_an_odd_result_never_stops_a_worker_and_never_costs_a_neighbour(
    app, add, folder, work
):
    """A bad line, an unknown function or a result that JSON cannot hold never stops a worker and never costs a neighbour."""
    odd = app.task(name="tasks.odd")(lambda: {1, 2})
    neighbours = [add.delay(0)]
    post_by_hand(folder, '{"function":"tasks.add","params":[1,]}\n')
    neighbours.append(add.delay(1))
    unknown = app.send_task("tasks.unknown", [1])
    neighbours.append(add.delay(2))
    unwritable = odd.delay()
    neighbours.append(add.delay(3))

    work(app)

    assert [result.get(timeout=0) for result in neighbours] == [0, 1, 2, 3]
    assert [(line["file"], line["line"]) for line in read_lines(folder.rejected)] == [("queue.jsonl", 2)]
    assert unknown.state == "PENDING"
    assert unknown.id in folder.queue().read_text()
    assert unwritable.state == FAILURE


def test_by_default_a_power_cut_may_cost_the_newest_lines_and_never_older_ones():
    """By default a power cut may cost the newest lines, never older ones;

    What one durable call has brought to the disk counts as old. What is left is what the next worker runs.
    """
    world, cut, log = World(), PowerCut(), []
    try:
        world.memory.log = log
        for label in "abcd":
            world.app.send_task("tasks.log", [label], durable=label == "b")
        world.memory.log = None
        for change in log:
            cut.apply(change)
        left = set()
        for state, _ in cut.outcomes(random.Random(1), 100):
            world.memory.boot(state)
            world.ran.clear()
            world.step(world.worker("heir"))
            left.add("".join(world.ran))
    finally:
        world.close()

    assert left == {"ab", "abc", "abcd"}


class Worst(random.Random):
    """Chance as bad as can be: whatever a power cut may take, it takes."""

    def random(self):
        return 0.99

    def randrange(self, *_):
        return 0


@pytest.fixture
def cut_power(folder, tmp_path, monkeypatch):
    """A function that does something on a folder under a cut that takes all that is not synced; returns what is left of it."""

    def cut(action):
        left = tmp_path / "left"
        left.mkdir()
        with monkeypatch.context() as patch:
            record = Recorder(patch)
            action()
        build(record.effects, Worst(), folder.path.parent, left)
        return Folder(left / "queue_dir")

    return cut


@pytest.mark.parametrize("durable", [False, True])
def test_durable_waits_for_the_disk(folder, cut_power, durable):
    """`PMTQ(durable=True)` waits for the disk."""

    def post():
        with PMTQ("client", broker=f"file://{folder.path}", durable=durable) as app:
            app.send_task("tasks.add", [2, 3])

    left = cut_power(post)

    assert queued(folder) == [("tasks.add", [2, 3])]
    assert queued(left) == (queued(folder) if durable else [])


@pytest.mark.parametrize("acks_late", [True, False])
@pytest.mark.parametrize("moment", [STARTED, SUCCESS])
def test_after_a_power_cut_what_had_just_started_or_ended_may_run_again(folder, cut_power, moment, acks_late):
    """What had just started or ended may run again, also with `acks_late=False`.

    At least once, then: it is given out again as if it had never been begun, and is not lost.
    """

    def work_on_it():
        with PMTQ("client", broker=f"file://{folder.path}", durable=True) as app:
            app.send_task("tasks.add", [2, 3], task_id="t")
        worker = Hand(folder, "w1", {"tasks.add": acks_late}, ["celery"])
        claims = worker.claim()
        if moment == SUCCESS:
            worker.settle(*claims)

    left = cut_power(work_on_it)
    (again,) = Hand(left, "w2", {"tasks.add": acks_late}, ["celery"]).claim()

    assert life(folder, "t")[-1] == (moment, 1)
    assert (again.record.task_id, again.started.attempt) == ("t", 1)


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A file that is there as soon as anybody has imported the module ``trap``, or called its ``spring``."""
    sprung = tmp_path / "sprung"
    (tmp_path / "trap.py").write_text(
        f"import pathlib\n\ndef spring(*_):\n    pathlib.Path({str(sprung)!r}).touch()\n\nclass Boom(Exception): pass\nspring()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield sprung
    sys.modules.pop("trap", None)


def test_whoever_can_write_the_folder_can_run_the_registered_functions_and_nothing_more(app, folder, work, trap):
    """Whoever can write the folder can run the registered functions, and nothing more:"""
    names = ["trap.spring", "os.mkdir", "pathlib.Path.touch", "tasks.add.__call__", "builtins.eval", "add"]
    for name in names:
        post_by_hand(folder, f'{{"task_id":"{name}","function":"{name}","params":["{trap}"]}}\n')
    post_by_hand(folder, '{"task_id":"typed","function":"tasks.add","params":[2,3]}\n')

    work(app)

    assert app.AsyncResult("typed").get(timeout=0) == 5
    assert [app.AsyncResult(name).state for name in names] == ["PENDING"] * len(names)
    assert not trap.exists()


def test_json_only_nothing_is_imported_or_evaluated_because_a_file_says_so(app, folder, work, trap):
    """JSON only, nothing is imported or evaluated because a file says so."""
    call = "__import__('trap').spring()"
    boom = type("Spring", (), {"__reduce__": lambda _: (eval, (call,))})()
    post_by_hand(folder, pickle.dumps(boom) + b"\n")
    post_by_hand(folder, f"{call}\n!!python/object/apply:trap.spring []\n")
    post_by_hand(folder, f'{{"task_id":"text","function":"tasks.add","params":["{call}", ""]}}\n')
    with folder.results.open("a") as file:
        file.write('{"task_id":"boom","status":"FAILURE","error":{"type":"trap.Boom","message":"no"}}\n')

    work(app)
    failure = app.AsyncResult("boom").result

    assert app.AsyncResult("text").get(timeout=0) == call
    assert (type(failure), str(failure)) == (TaskError, "trap.Boom: no")
    assert "trap" not in sys.modules
    assert not trap.exists()


def test_files_are_made_readable_to_their_owner_alone(folder, processes):
    """Files are made readable to their owner alone.

    Also where the system would let everybody read and write what a process makes.
    """
    before = os.umask(0)
    try:
        with make_app(folder.path) as app:
            result = app.send_task("tasks.log", ["ran"])
            processes.start("w1")
            assert result.get(timeout=20) == "ran"
    finally:
        os.umask(before)

    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in [folder.path, *folder.path.rglob("*")]}
    folders = {"queue_dir", "workers", "sealed"}
    assert modes == {name: "0o700" if name in folders else "0o600" for name in modes}
    assert modes.keys() >= {"queue_dir", "queue.jsonl", "results.jsonl", "w1.json", "w1.notes", "workers"}
