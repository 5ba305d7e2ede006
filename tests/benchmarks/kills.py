"""The kill test: what becomes of tasks whose workers are killed, in every queue alike.

1. Two workers run the tasks. One of them, drawn by lot, is killed with everything it started, at a random moment while both
   are at work, and replaced at once; and so on. The lots are the same for every queue, and in every run.
2. Then a long task is posted, and nobody is killed any more. It shows who takes a long task for a lost one.
3. It is over ``Scale.grace`` after all tasks have ended, or when nothing has moved for ``Scale.patience``. Queues that still
   wait do so side by side.

It does not know how a queue works: only its workers, its tasks' diary, and which tasks its store still has.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.history import END, START, Kill, Note, read, tally
from tests.benchmarks.kill_peers import Target
from tests.benchmarks.processes import Process, Unmeasured, Workshop, python
from tests.benchmarks.table import Outcome

SEED = 20
"""Of the lots: who is killed, and when."""
LONGEST_LIFE = 0.5
"""Seconds: a worker is killed at most so long after both were seen at work."""
COMING = 30.0
"""Seconds for a worker to start its first task; after that nobody is killed any more."""
LONGEST = 600.0
"""Seconds after which a queue in which there is always something going on is given up."""
REPLACEMENTS = 10
"""So many workers that ended by themselves are replaced, as whoever supervises them would do."""
LOOK = 0.02
"""Seconds between two looks at the diary of a queue whose workers are killed."""
GLANCE = 0.5
"""Seconds between two looks at the diary of one that waits."""
WORKERS = 2


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    tasks: int
    kills: int
    seconds: float
    """What a task takes."""
    long_seconds: float
    """What the long task takes that is posted at the end."""
    patience: float
    grace: float


FULL = Scale(tasks=400, kills=6, seconds=0.05, long_seconds=8.0, patience=60.0, grace=10.0)
QUICK = Scale(tasks=100, kills=2, seconds=0.05, long_seconds=8.0, patience=15.0, grace=10.0)


class Storm:
    """The test of one queue."""

    def __init__(self, shop: Workshop, target: Target, scale: Scale) -> None:
        """Prepare an empty queue."""
        self.outcome: Outcome | None = None
        """What came of it, once it is over."""
        self._shop, self._target, self._scale = shop, target, scale
        self._folder = target.new_folder()
        self._diary = self._folder / "diary"
        self._environment = target.environment(self._folder)
        self._workers: list[Process] = []
        self._kills: list[Kill] = []
        self._started = self._replaced = self._posted = 0
        self._begun = self._moved = self._looked = time.monotonic()

    def rage(self, meanwhile: Callable[[], None]) -> None:
        """Post the tasks, kill workers while there are tasks to be started, and post the long task."""
        self._post(self._scale.tasks, self._scale.seconds)
        for _ in range(WORKERS):
            self._workers.append(self._new_worker())
        lots = random.Random(SEED)
        for _ in range(self._scale.kills):
            if not self._all_at_work(meanwhile):
                break
            time.sleep(lots.uniform(0, LONGEST_LIFE))
            victim = lots.randrange(WORKERS)
            self._kills.append(Kill(self._workers[victim].pid, time.monotonic()))
            self._replace(victim)
        self._post(1, self._scale.long_seconds)
        self._moved = time.monotonic()

    def look(self) -> None:
        """See whether it is over; if so, end the workers and count."""
        now = time.monotonic()
        if self.outcome or now - self._looked < GLANCE:
            return
        self._looked = now
        self._replace_the_dead()
        notes = read(self._diary)
        first_ends = {note.task: note.at for note in reversed(notes) if note.what == END}
        if len(first_ends) == self._posted:
            over = now - max(first_ends.values()) > self._scale.grace
        else:
            over = now - max([self._moved, *(note.at for note in notes)]) > self._scale.patience
        if over:
            self._end(notes, "")
        elif now - self._begun > LONGEST:
            self._end(notes, f"; given up after {LONGEST:g} s, when it still went on")

    def give_up(self, error: Unmeasured) -> None:
        """Say that it cannot be measured, and end the workers: they would work beside those of the next queues."""
        self._end_workers()
        self.outcome = Outcome(self._target.name, note=str(error), failed=True)

    def _end_workers(self) -> None:
        while self._workers:
            self._shop.kill(self._workers.pop())

    def _end(self, notes: list[Note], remark: str) -> None:
        self._end_workers()
        self.outcome = judge(self._target, self._folder, self._posted, notes, self._kills)
        self.outcome.note += remark
        if self._replaced:
            self.outcome.note += f"; {self._replaced} workers ended by themselves and were replaced"

    def _post(self, count: int, seconds: float) -> None:
        command = python(
            "tests.benchmarks.kill_client", self._target.client, str(self._posted), str(count), str(seconds)
        )
        self._shop.ask(command, self._environment)
        self._posted += count

    def _new_worker(self) -> Process:
        self._started += 1
        return self._shop.start(self._target.worker_command(self._folder, self._started), self._environment)

    def _all_at_work(self, meanwhile: Callable[[], None]) -> bool:
        """Wait until each worker has started a task; say no if there is none left for it, or it takes too long."""
        deadline = time.monotonic() + COMING
        while time.monotonic() < deadline:
            meanwhile()
            self._replace_the_dead()
            starts = [note for note in read(self._diary) if note.what == START]
            if {worker.pid for worker in self._workers} <= {start.worker for start in starts}:
                return True
            if len({start.task for start in starts}) == self._posted:
                return False
            time.sleep(LOOK)
        return False

    def _replace_the_dead(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker.poll() is not None and self._replaced < REPLACEMENTS:
                self._replaced += 1
                self._replace(place)

    def _replace(self, place: int) -> None:
        self._shop.kill(self._workers.pop(place))
        self._workers.insert(place, self._new_worker())


def judge(target: Target, folder: Path, posted: int, notes: list[Note], kills: list[Kill]) -> Outcome:
    """Return what came of the first ``posted`` tasks: what is in no store any more is lost, the rest is only late."""
    found = tally([str(number) for number in range(posted)], notes, kills)
    missing = set(found.unended)
    lost = missing - target.kept(folder)
    late = missing - lost
    return Outcome(
        target.name, posted, len(kills), len(late), len(lost), found.needless, list(found.back), target.settings
    )


def measure(shop: Workshop, targets: list[Target], scale: Scale, say: Callable[[str], None]) -> list[Outcome]:
    """Test one queue after the other; let those wait together that have to."""
    outcomes: dict[str, Outcome] = {}
    storms: dict[str, Storm] = {}

    def look() -> None:
        for storm in storms.values():
            try:
                storm.look()
            except Unmeasured as error:
                storm.give_up(error)

    for target in targets:
        if trouble := target.missing():
            outcomes[target.name] = Outcome(target.name, note=trouble)
            continue
        say(f"kills: {target.name}")
        try:
            storm = Storm(shop, target, scale)
        except Unmeasured as error:
            outcomes[target.name] = Outcome(target.name, note=str(error), failed=True)
            continue
        try:
            storm.rage(look)
        except Unmeasured as error:
            storm.give_up(error)
        storms[target.name] = storm
    while waiting := [name for name, storm in storms.items() if not storm.outcome]:
        say(f"kills: waiting for the tasks of {', '.join(waiting)}")
        look()
        time.sleep(LOOK)
    outcomes |= {name: storm.outcome for name, storm in storms.items() if storm.outcome}
    return [outcomes[target.name] for target in targets]
