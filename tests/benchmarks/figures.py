"""The figures: how each is measured. README.md says the same to a reader who does not read Python.

1. Everything is measured at its user's door: a client process calls, a worker process works, files are looked at.
2. Contenders take turns, round by round, so that a busy minute of the machine falls on all of them.
3. What cannot be measured here becomes a row that says why.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.presence import living
from tests.benchmarks.contenders import Contender, FileQueue, Pmtq, Prototype, worker_command
from tests.benchmarks.files import Backlog, ResultsFollower
from tests.benchmarks.peers import all_peers
from tests.benchmarks.processes import Process, Unmeasured, Workshop, cpu_seconds, peak_megabytes, python
from tests.benchmarks.table import Limit, Row, duration, paired_ratio, rate

FINE = 0.0005
"""Seconds between two looks where a moment is to be caught."""
SMALL = 1_000
"""So many tasks wait in the small backlog that the big one is compared with."""
CELERY = "Celery on Redis"
PAUSE = 0.01
"""Seconds before a round trip in which a worker goes idle."""
TIDYING = 2.5
"""Seconds in which a worker that has become idle clears the files: work that is not counted as idling."""
SETTLING = 1.0
"""Seconds after which a worker that has just taken its name is at work."""
TOO_BUSY = "the machine was too busy"
ATTEMPTS = 4
HANDOVER = 0.4
"""The share of the big backlog after which another worker goes on with it."""
LONGEST = 120.0
"""Seconds after which a worker that is still at work is given up."""
CHORD_WORKERS = 4
THREADS, BATCH = 8, 1_000
"""Of a client that waits for the disk: how many do so at once, and how many calls go into one write."""
TENTH = 10
"""A chord is compared with so many, one after the other, of a header so much smaller: as many tasks in all."""
WORKFLOW_PATIENCE = 300.0
"""Seconds for the client of a workflow, which itself waits for workers, for a small workflow, and for the one that counts."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int
    peer_rounds: int
    enqueue_seconds: float
    drain_share: float
    """Of the tasks in ``Contender.drain_tasks``."""
    drain_seconds: float
    """A drain that takes longer is cut off: its rate is known by then."""
    trips: int
    trip_seconds: float
    backlog: int
    window: tuple[int, int]
    """The cost of a task is measured from the first to the second number of tasks after the start. They are so few
    that nothing is sealed meanwhile: a small backlog and a big one do that at different times, neither at each task."""
    whole_rounds: int
    """So often the whole backlog is run to its end."""
    idle_seconds: float
    kills: int
    chord: int
    """The tasks in the header of a chord."""
    chain: int
    """The steps of a chain."""


FULL = Scale(5, 3, 1.0, 1.0, 6.0, 200, 3.0, 1_000_000, (10_000, 50_000), 2, 8.0, 7, 10_000, 1_000)
QUICK = Scale(2, 1, 0.3, 0.2, 2.0, 40, 1.0, 100_000, (5_000, 25_000), 1, 2.0, 2, 2_000, 200)


class Bench:
    """One run: the place, the contenders, the scale."""

    def __init__(self, shop: Workshop, scale: Scale, say: Callable[[str], None], *, with_peers: bool = True) -> None:
        """Make the backlog of which all queues are copies. ``say`` is told what is going on."""
        self.shop, self.scale, self.say = shop, scale, say
        most = max(scale.backlog, int(FileQueue.drain_tasks * scale.drain_share))
        self.backlog = Backlog(shop.new_folder(), most)
        self.pmtq = Pmtq(shop, self.backlog)
        self.prototype = Prototype(shop, self.backlog)
        self.peers = all_peers(shop) if with_peers else []
        self.celery = [one for one in self.peers if one.name == CELERY]
        """What workflows are compared with."""

    def compare(
        self,
        figure: str,
        measure: Callable[[Contender], float],
        shown: Callable[[float], str],
        targets: dict[str, Limit],
        others: list[Contender],
    ) -> list[Row]:
        """Measure pmtq and ``others`` in turn, round by round; return a row for each that stands beside pmtq."""
        contenders = [self.pmtq, *others]
        troubles = {one.name: trouble for one in contenders if (trouble := one.missing())}
        samples: dict[str, list[float]] = {one.name: [] for one in contenders}
        absent = set(troubles)
        for number in range(self.scale.rounds):
            for one in contenders:
                if one.name in absent or (one in self.peers and number >= self.scale.peer_rounds):
                    continue
                self.say(f"{figure}: {one.name}, round {number + 1}")
                try:
                    samples[one.name].append(measure(one))
                except Unmeasured as error:
                    if one is self.pmtq:
                        raise
                    troubles[one.name] = f"round {number + 1}: {error}"
        if not others:
            return [Row(figure, shown(statistics.median(samples["pmtq"])), samples=samples)]
        rows = []
        for one in others:
            row = beside(figure, samples["pmtq"], one.name, samples[one.name], shown, targets.get(one.name))
            row.note = troubles.get(one.name, "")
            rows.append(row)
        return rows


def beside(
    figure: str, ours: list[float], name: str, theirs: list[float], shown: Callable[[float], str], target: Limit | None
) -> Row:
    """Return the row of a comparison; without a ratio if there is nothing to compare with."""
    row = Row(figure, shown(statistics.median(ours)), name, samples={"pmtq": ours, name: theirs})
    if target:
        row.target = str(target)
    if 0 in theirs:
        raise Unmeasured(f"{TOO_BUSY} for {name} to get anything done")
    if theirs:
        row.other = shown(statistics.median(theirs))
        row.ratio = paired_ratio(ours, theirs)
        row.met = target.is_met_by(row.ratio) if target else None
    return row


def enqueue(bench: Bench) -> list[Row]:
    """How many tasks a second one client posts, one ``delay()`` at a time, while no worker runs."""

    def measure(one: Contender) -> float:
        with one.queue() as folder:
            return float(one.ask(folder, "enqueue", bench.scale.enqueue_seconds))

    targets = {"prototype": Limit(least=0.5), CELERY: Limit(least=40)}
    return bench.compare("enqueue", measure, rate, targets, [bench.prototype, *bench.peers])


def durable(bench: Bench) -> list[Row]:
    """How many tasks a second one client posts that waits for the disk, beside one that does not, and beside the disk."""
    shapes = {"durable": (1, 1), f"… by {THREADS} threads": (THREADS, 1), f"… {BATCH:,} at once": (1, BATCH)}
    samples: dict[tuple[str, str], list[float]] = {}
    for number in range(bench.scale.rounds):
        for shape, (threads, batch) in shapes.items():
            for how in ("durable", "plain", *(["fsync"] if threads == batch == 1 else [])):
                bench.say(f"enqueue, {shape}: {how}, round {number + 1}")
                numbers = map(str, (threads, batch, bench.scale.enqueue_seconds))
                with bench.pmtq.queue() as folder:
                    command = python("tests.benchmarks.durable", how, *numbers)
                    posted = float(bench.shop.ask(command, bench.pmtq.environment(folder)))
                samples.setdefault((shape, how), []).append(posted)
    shown = {"plain": "not durable", "fsync": "write and fsync"}
    return [
        beside(
            f"enqueue, {shape}" if shape == "durable" else shape,
            samples[shape, "durable"],
            shown[how],
            theirs,
            rate,
            None,
        )
        for (shape, how), theirs in samples.items()
        if how != "durable"
    ]


def drain_rate(one: Contender, tasks: int, workers: int, longest: float) -> float:
    """Return how many empty tasks a second ``workers`` processes run.

    The tasks are there when the workers start. The clock begins when there was no result for the last time, so
    starting a process is no part of it, and ends when the last result is there.
    """
    with one.queue() as folder:
        one.fill(folder, tasks)
        with one.counting(folder) as count, one.workers(folder, workers):
            begun = time.perf_counter()

            def has_begun() -> int:
                nonlocal begun
                if done := count():
                    return done
                begun = time.perf_counter()
                return 0

            done: int = one.shop.wait_for(has_begun, f"the first result of {one.name}")
            spent = time.perf_counter() - begun
            while done < tasks and spent < longest:
                time.sleep(one.poll)
                done = count()
                spent = time.perf_counter() - begun
    return done / spent


def drain(bench: Bench) -> list[Row]:
    """How many empty tasks a second one worker process runs, results kept."""
    targets = {"prototype": Limit(least=0.3), CELERY: Limit(least=200)}
    return bench.compare("drain, 1 worker", _drain_with(bench, 1), rate, targets, [bench.prototype, *bench.peers])


def drain_by_two(bench: Bench) -> list[Row]:
    """The same with two worker processes on one queue."""
    return bench.compare("drain, 2 workers", _drain_with(bench, 2), rate, {}, [bench.prototype])


def _drain_with(bench: Bench, workers: int) -> Callable[[Contender], float]:
    scale = bench.scale
    return lambda one: drain_rate(one, int(one.drain_tasks * scale.drain_share), workers, scale.drain_seconds)


def round_trip(bench: Bench) -> list[Row]:
    """The time from ``delay()`` until ``get()`` has the result of an empty task, the worker being idle before."""
    targets = {"prototype": Limit(most=1.5), CELERY: Limit(most=0.5)}
    trips = _trips(bench, PAUSE)
    return bench.compare("round trip, idle worker", trips, duration, targets, [bench.prototype, *bench.peers])


def round_trip_at_once(bench: Bench) -> list[Row]:
    """The same, each call following the result before: worker and client have no time to fall asleep."""
    return bench.compare("… one right after the other", _trips(bench, 0.0), duration, {}, [bench.prototype])


def _trips(bench: Bench, pause: float) -> Callable[[Contender], float]:
    """Return a function that measures the median of some round trips with a pause before each."""

    def measure(one: Contender) -> float:
        with one.queue() as folder, one.workers(folder):
            taken = one.ask(folder, "round-trip", bench.scale.trips, bench.scale.trip_seconds, pause)
            return float(statistics.median(taken))

    return measure


def workflow_seconds(one: Contender, what: str, size: int, workers: int, times: int = 1) -> float:
    """Return the mean time from the call of a chord or chain to its value, ``workers`` processes being idle before.

    Raises ``Unmeasured`` if the value is another one, or the body of a chord did not run once each time.
    """
    with one.queue() as folder:
        diary = folder / "diary"
        numbers = [str(times), str(size), str(workers)]
        command = python(
            "tests.benchmarks.workflows", one.client, what, *numbers, *([diary] if what == "chord" else [])
        )
        with one.workers(folder, workers):
            spent = float(one.shop.ask(command, one.environment(folder), WORKFLOW_PATIENCE))
        if what == "chord" and (runs := diary.read_text().count("\n")) != times:
            raise Unmeasured(f"the bodies of {times} chords of {size:,} ran {runs} times")
    return spent


def chord(bench: Bench) -> list[Row]:
    """The time from the call of a big chord to the value of its body, and whether it only grows as its header does."""
    size, small = bench.scale.chord, bench.scale.chord // TENTH
    tenths: list[float] = []

    def measure(one: Contender) -> float:
        if one is bench.pmtq:
            tenths.append(workflow_seconds(one, "chord", small, CHORD_WORKERS, TENTH) / small)
        return workflow_seconds(one, "chord", size, CHORD_WORKERS)

    rows = bench.compare(f"chord of {size:,}", measure, duration, {}, bench.celery)
    whole = [spent / size for spent in rows[0].samples["pmtq"]]
    return [*rows, beside("… for each of its tasks", whole, f"chord of {small:,}", tenths, duration, Limit(most=1.2))]


def chain(bench: Bench) -> list[Row]:
    """The time from the call of a long chain to the value of its last step, with one worker."""
    size = bench.scale.chain
    measure = partial(workflow_seconds, what="chain", size=size, workers=1)
    return bench.compare(f"chain of {size:,}", measure, duration, {}, bench.celery)


class Course(NamedTuple):
    """What a worker showed while it worked. Times are seconds, memory is in megabytes."""

    start: float
    """From the start of its process to the first STARTED line."""
    peak: float
    per_task: float
    cpu_per_task: float
    starved: bool = False
    """The benchmark did not get to post more in time, so the worker waited for it: the times mean nothing."""


def with_few_waiting(bench: Bench) -> Course:
    """Watch a worker on a queue in which about ``SMALL`` tasks wait all the time, because more are posted.

    It starts on a single task; ``peak`` is the memory it has after that one, thus that of an idle worker.
    """
    with bench.pmtq.queue() as folder:
        bench.pmtq.fill(folder, 1)
        with closing(ResultsFollower(folder)) as seen, bench.pmtq.workers(folder) as (worker,):
            start = _first_start(bench, seen, worker)
            bench.shop.wait_for(lambda: seen.count() == 1, "the first result")
            peak = peak_megabytes(worker.pid)
            queue, posted, starved = Journal(Folder(folder).queue()), 1, False

            def top_up() -> None:
                nonlocal posted, starved
                starved = starved or bench.scale.window[0] <= seen.ended == posted
                while posted - seen.started < SMALL:
                    queue.append(bench.backlog.lines(posted, posted + SMALL // 2))
                    posted += SMALL // 2

            costs = _cost(bench, worker, seen, top_up)
            queue.close()
    return Course(start, peak, *costs, starved)


def with_many_waiting(bench: Bench) -> Course:
    """Watch a worker take the first tasks from a queue of ``Scale.backlog``."""
    with bench.pmtq.queue() as folder:
        bench.pmtq.fill(folder, bench.scale.backlog)
        with closing(ResultsFollower(folder)) as seen, bench.pmtq.workers(folder) as (worker,):
            start = _first_start(bench, seen, worker)
            costs = _cost(bench, worker, seen, lambda: None)
            return Course(start, peak_megabytes(worker.pid), *costs)


def until_none_waits(bench: Bench) -> Course:
    """Watch two workers run the whole backlog, the second one after the first was stopped at ``HANDOVER``.

    ``start`` is that of the second, which must learn what the first has done; ``peak`` is the larger of the two.
    """
    tasks = bench.scale.backlog
    goals, peaks, used = (int(HANDOVER * tasks), tasks), [], []
    done, spent = 0, 0.0
    with bench.pmtq.queue() as folder:
        bench.pmtq.fill(folder, tasks)
        with closing(ResultsFollower(folder)) as seen:
            for goal in goals:
                with bench.pmtq.workers(folder) as (worker,):
                    start = _first_start(bench, seen, worker)
                    first, begun, cpu = seen.ended, time.perf_counter(), cpu_seconds(worker.pid)
                    _wait_for_results(bench, seen, goal)
                    done, spent = done + seen.ended - first, spent + time.perf_counter() - begun
                    used.append(cpu_seconds(worker.pid) - cpu)
                    peaks.append(peak_megabytes(worker.pid))
                    bench.shop.stop(worker)
                seen.count()
    return Course(start, max(peaks), spent / done, sum(used) / done)


def _wait_for_results(bench: Bench, seen: ResultsFollower, number: int) -> None:
    bench.shop.wait_for(lambda: seen.count() >= number, f"result number {number}", LONGEST)


def _first_start(bench: Bench, seen: ResultsFollower, worker: Process) -> float:
    """Return the seconds from the start of a worker's process to its first STARTED line."""
    before = seen.started

    def started() -> bool:
        seen.count()
        return seen.started > before

    bench.shop.wait_for(started, "a worker to start its first task", every=FINE)
    return time.perf_counter() - bench.shop.begun[worker.pid]


def _cost(bench: Bench, worker: Process, seen: ResultsFollower, meanwhile: Callable[[], None]) -> tuple[float, float]:
    """Return seconds and processor seconds per task, in the window of the scale."""

    def reached(count: int) -> Callable[[], bool]:
        def look() -> bool:
            meanwhile()
            return seen.count() >= count

        return look

    marks = []
    for count in bench.scale.window:
        bench.shop.wait_for(reached(count), f"result number {count}", LONGEST, every=FINE)
        marks.append((time.perf_counter(), cpu_seconds(worker.pid), seen.ended))
    (at, cpu, ended), (at_last, cpu_last, ended_last) = marks
    if ended == ended_last:
        raise Unmeasured(f"the tasks from number {bench.scale.window[0]} on were all done at once: too few of them")
    return (at_last - at) / (ended_last - ended), (cpu_last - cpu) / (ended_last - ended)


def backlog(bench: Bench) -> list[Row]:
    """What a big backlog costs: time per task, memory, and time to start."""
    few: list[Course] = []
    many: list[Course] = []
    whole: list[Course] = []
    for number in range(bench.scale.rounds):
        bench.say(f"backlog, round {number + 1}")
        few.append(_not_starved(bench))
        many.append(with_many_waiting(bench))
        if number < bench.scale.whole_rounds:
            bench.say(f"backlog, round {number + 1}, until none is left")
            whole.append(until_none_waits(bench))

    def cost(figure: str, courses: list[Course], of: Callable[[Course], float]) -> Row:
        pairs = [(of(one), of(other)) for one, other in zip(courses, few, strict=False) if not other.starved]
        if not pairs:
            raise Unmeasured(f"{TOO_BUSY} to keep {SMALL:,} tasks waiting")
        ours, theirs = map(list, zip(*pairs, strict=True))
        return beside(figure, ours, f"{SMALL:,} waiting", theirs, duration, Limit(most=1.2))

    idle = statistics.median(one.peak for one in few)
    memory = at_most("worker's memory there, peak", [one.peak for one in whole], megabytes, 100)
    memory.note += f"; an idle worker {megabytes(idle)}"
    start = at_most("worker's start there", [one.start for one in many], duration, 1.0)
    start.note += f"; with one task waiting {duration(statistics.median(one.start for one in few))}"
    return [
        cost(f"task, {bench.scale.backlog:,} waiting", many, lambda one: one.per_task),
        cost("… its processor time", many, lambda one: one.cpu_per_task),
        cost("task, until none is left", whole, lambda one: one.per_task),
        cost("… its processor time", whole, lambda one: one.cpu_per_task),
        memory,
        start,
        at_most(f"… when {HANDOVER:.0%} is done", [one.start for one in whole], duration, 1.0),
    ]


def _not_starved(bench: Bench) -> Course:
    """Return a course with few tasks waiting in which there were always some; after a few attempts, any course."""
    for _ in range(ATTEMPTS - 1):
        course = with_few_waiting(bench)
        if not course.starved:
            return course
    return with_few_waiting(bench)


def idle(bench: Bench) -> list[Row]:
    """How much of a core a worker uses that has nothing to do, the busier one of two on the same queue."""
    seconds = bench.scale.idle_seconds
    bench.say(f"idle: {seconds:g} s")
    with bench.pmtq.queue() as folder:
        bench.pmtq.fill(folder, 100)
        with bench.pmtq.counting(folder) as count, bench.pmtq.workers(folder, 2) as workers:
            bench.shop.wait_for(lambda: count() == 100, "100 results")
            time.sleep(TIDYING)
            before = [cpu_seconds(worker.pid) for worker in workers]
            begun = time.perf_counter()
            time.sleep(seconds)
            spent = time.perf_counter() - begun
            shares = [(cpu_seconds(worker.pid) - used) / spent for worker, used in zip(workers, before, strict=True)]
    row = at_most("idle worker, of a core", [max(shares)], lambda share: f"{share:.2%}", 0.005)
    row.note = f"two on one queue, over {seconds:g} s; the other one {min(shares):.2%}"
    return [row]


class Hostage:
    """A task that is held by whichever process starts it first."""

    def __init__(self, bench: Bench, folder: Path, number: int) -> None:
        """Post the task and wait until it is held."""
        self._shop = bench.shop
        self._diary = folder / f"diary-{number}"
        line = b'{"function":"hold","params":["%s"]}\n' % os.fsencode(self._diary)
        Journal(Folder(folder).queue()).append(line)
        self._shop.wait_for(lambda: len(self.holders()) == 1, "a worker to take the task")

    def holders(self) -> list[int]:
        """Return the ids of the processes that have started it, in order."""
        text = self._diary.read_text() if self._diary.exists() else ""
        return [int(line) for line in text.split("\n")[:-1]]

    def seconds_until_it_is_taken_again(self) -> float:
        """Kill its holder as ``kill -9`` does, at no moment in particular, and wait for the next."""
        time.sleep(random.random())
        begun = time.perf_counter()
        os.kill(self.holders()[0], signal.SIGKILL)
        self._shop.wait_for(lambda: len(self.holders()) == 2, "another worker to take the task", every=FINE)
        return time.perf_counter() - begun


def redelivery(bench: Bench) -> list[Row]:
    """How long a task is not running whose worker was killed while another one is idle."""
    taken = []
    with bench.pmtq.queue() as folder, ExitStack() as stack:
        workers: list[Process] = []
        for number in range(bench.scale.kills):
            bench.say(f"redelivery: worker, round {number + 1}")
            while sum(worker.poll() is None for worker in workers) < 2:
                command = worker_command(len(workers) + 1, "-P", "solo")
                workers.append(stack.enter_context(bench.shop.running(command, bench.pmtq.environment(folder))))
            taken.append(_taken_again(bench, folder, number, 2))
    return [at_most("killed worker's task runs again", taken, duration, 1.0)]


def redelivery_in_pool(bench: Bench) -> list[Row]:
    """The same for one of two child processes of one worker."""
    taken = []
    with bench.pmtq.queue() as folder:
        command = worker_command(1, "--concurrency", "2")
        with bench.shop.running(command, bench.pmtq.environment(folder)):
            for number in range(bench.scale.kills):
                bench.say(f"redelivery: pool child, round {number + 1}")
                taken.append(_taken_again(bench, folder, number, 3))
    return [at_most("… killed child of a pool of two", taken, duration, 0.1)]


def _taken_again(bench: Bench, folder: Path, number: int, processes: int) -> float:
    """Kill a process that holds a task, once ``processes`` are alive; return the seconds until another runs it."""
    bench.shop.wait_for(lambda: len(living(Folder(folder))) == processes, f"{processes} processes")
    time.sleep(SETTLING)
    return Hostage(bench, folder, number).seconds_until_it_is_taken_again()


def at_most(figure: str, values: list[float], shown: Callable[[float], str], most: float) -> Row:
    """Return the row of a figure that stands alone: a limit is kept if the worst of all rounds keeps it."""
    worst = max(values)
    row = Row(figure, shown(worst), target=f"≤ {shown(most)}", met=worst <= most, samples={"pmtq": values})
    row.note = f"the worst of {len(values)}; median {shown(statistics.median(values))}"
    return row


def megabytes(value: float) -> str:
    """Show an amount of memory."""
    return f"{value:.1f} MB"


FIGURES: dict[str, Callable[[Bench], list[Row]]] = {
    "enqueue": enqueue,
    "durable": durable,
    "drain": drain,
    "drain-by-two": drain_by_two,
    "round-trip": round_trip,
    "round-trip-at-once": round_trip_at_once,
    "chord": chord,
    "chain": chain,
    "backlog": backlog,
    "idle": idle,
    "redelivery": redelivery,
    "redelivery-in-pool": redelivery_in_pool,
}
"""What can be measured, by the name that ``--only`` takes."""


def measure(bench: Bench, names: list[str]) -> list[Row]:
    """Measure the figures called ``names``; one that cannot be measured does not keep the others from it."""
    rows: list[Row] = []
    for name in names:
        try:
            rows += FIGURES[name](bench)
        except Unmeasured as error:
            rows.append(Row(name, "failed", note=str(error), failed=True))
    return rows
