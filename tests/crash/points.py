"""Puts a crash between any two effects of a story, and into the middle of each, and looks what the next worker finds.

1. A story is what a few clients, people and workers do with one folder; a seed decides what, in which order.
2. After ``kill -9`` all that was written is there: up to any effect, and up to any byte of a write. After a power cut any
   part of what no fsync has covered may be missing.
3. On what is left a new worker runs all that is owed, and may be cut short as well. Then: nothing that was told to a client is
   lost or without its end, and nothing runs again whose end had been noted.

It does not know how the files come to be what they are: it runs the real client and the real worker, on a ``MemoryDisk``.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from unittest.mock import patch

from pmtq import PMTQ, presence, sealing
from pmtq.clock import moved_clock
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.ledger import Ledger
from pmtq.presence import Presence
from pmtq.records import StateRecord, decode_state
from pmtq.revoking import Revoking
from pmtq.scan import DERIVED_ID
from pmtq.states import FINAL_STATES, REJECTED
from pmtq.worker import consumer
from pmtq.worker.consumer import Consumer
from tests.crash.memory import ROOT, Change, MemoryDisk, State, installed
from tests.support import NOW


class Paths(Folder):
    """The folder, with names that are made once: making them anew took a third of the time."""

    queue, sealed_queue = cache(Folder.queue), cache(Folder.sealed_queue)
    worker, notes, inbox = cache(Folder.worker), cache(Folder.notes), cache(Folder.inbox)


FOLDER = Paths(Path(ROOT) / "queue_dir")
FILES = consumer.files_of(FOLDER, [DEFAULT_QUEUE])
HAND_MADE = [
    '{{"task_id":"{0}","function":"tasks.log","params":["{0}"]}}\n',
    '{{"function":"tasks.log","params":["{0}"]}}\n',
    '--{{\n"function":"tasks.log",\n"params":["{0}"]\n}}--\n',
    '\ufeff{{"function":"tasks.log","params":["{0}"]}}\r\n',
]
LATER = 3600.0
"""Seconds for which some tasks wait."""


class Broken(AssertionError):
    """A promise was not kept; the text says which, and after which crash."""


class World:
    """One folder in memory, with an app whose tasks say that they ran."""

    def __init__(self) -> None:
        """Install the memory disk; ``close`` takes it away."""
        self._stack = ExitStack()
        enter = self._stack.enter_context
        self.clock = enter(moved_clock(NOW))
        self.memory = MemoryDisk()
        enter(installed(self.memory))
        for owner, name, value in [
            (presence, "NOTES_BYTES", 4096),
            (sealing, "SEAL_BYTES", 1500),
            (sealing, "IDLE_SEAL_BYTES", 500),
            (consumer, "files_of", lambda *_: FILES),
        ]:
            enter(patch.object(owner, name, value))
        self.ran: list[str] = []
        self.app = PMTQ("tasks", broker=f"file://{FOLDER.path}", set_as_current=False)

        @self.app.task(name="tasks.log")
        def log(label):
            self.ran.append(label)
            self.memory.mark(f"began {label}")
            return label

    def close(self) -> None:
        self.app.close()
        self._stack.close()

    def worker(self, name: str) -> Consumer:
        """Return a worker that has begun, and is moved by ``step``, ``Consumer._settle`` and ``Consumer._tidy``."""
        here = Presence(FOLDER, name, {"name": name})
        worker = Consumer(FOLDER, here, [DEFAULT_QUEUE], self.app.tasks)
        worker._claimer.succeed_namesake(self.clock.now())
        return worker

    def step(self, worker: Consumer, most: float = 1000) -> bool:
        """Have it settle what it ran, claim up to ``most`` tasks and run them; say whether there were any."""
        worker.left = most
        worker._expected = dict.fromkeys(worker._expected, 0.0)
        worker._fill_batch()
        found = bool(worker._batch)
        worker._run_batch()
        return found


class Story:
    """What happens in one folder, and when what was told to whom."""

    def __init__(self, world: World, seed: int) -> None:
        """Let it happen."""
        self.world, self.seed = world, seed
        self.chance = random.Random(seed)
        self.log: list[Change] = []
        self.spared: set[str] = set()
        """Labels whose results may be gone: they were forgotten, or have expired."""
        self._labels = (f"{seed}-{number}" for number in range(1000))
        self._posted: list[str] = []
        self._typed: list[str] = []
        self._late = -1
        """What somebody has opened to write into."""
        self._workers: dict[str, Consumer] = {}
        self._names = (f"w{number}" for number in range(1000))
        world.ran.clear()
        world.memory.boot(State())
        world.memory.log = self.log
        self._tell()
        world.memory.log = None
        for journal in world.app.broker._files.values():
            journal.close()
        world.app.broker._files.clear()
        world.app.backend.close()

    def _tell(self) -> None:
        chance, actions = self.chance, [
            self._post, self._post, self._post_durably, self._post_for_later, self._by_hand, self._by_hand,
            self._step, self._step, self._step, self._settle, self._tidy, self._come, self._go, self._revoke, self._forget,
            self._write_late,
        ]  # fmt: skip
        self._post()
        self._come()
        for _ in range(22):
            self.world.clock.advance(chance.choice([0.0, 0.7, sealing.GRACE + 1]))
            chance.choice(actions)()
        self._by_hand()
        self._step()
        self._step()
        self._tidy()
        self.world.clock.advance(sealing.GRACE + 1)
        if chance.random() < 0.2:
            self.world.clock.advance(2 * sealing.RESULT_EXPIRES)
            self.spared.update(self._posted, self._typed)
        self._tidy()

    def _post(self, **options) -> str:
        label = next(self._labels)
        self.world.memory.mark(f"asked {label}")
        self.world.app.send_task("tasks.log", [label], task_id=label, **options)
        self.world.memory.mark(f"{'durable' if options.get('durable') else 'told'} {label}")
        self._posted.append(label)
        return label

    def _post_durably(self) -> None:
        self._post(durable=True)

    def _post_for_later(self) -> None:
        self._post(countdown=LATER)

    def _by_hand(self) -> None:
        label = next(self._labels)
        self.world.memory.mark(f"asked {label}")
        FOLDER.make()
        text = self.chance.choice(HAND_MADE).format(label)
        self.world.memory.write_by_hand(FOLDER.queue(), text.encode())
        self._typed.append(label)
        self.world.memory.mark(f"told {label}")

    def _write_late(self) -> None:
        """Open the queue file as ``cat >>`` does, or write into what was opened then, whatever has become of it."""
        if self._late < 0:
            self._late = os.open(FOLDER.queue(), os.O_RDWR | os.O_APPEND | os.O_CREAT)
            return
        label = next(self._labels)
        self.world.memory.mark(f"asked {label}")
        os.write(self._late, HAND_MADE[0].format(label).encode())
        os.close(self._late)
        self._late = -1
        self.world.memory.mark(f"late {label}")
        self._typed.append(label)

    def _come(self) -> None:
        if len(self._workers) < 3:
            name = next(self._names)
            self._workers[name] = self.world.worker(name)

    def _go(self) -> None:
        if len(self._workers) > 1:
            worker = self._workers.pop(self.chance.choice(list(self._workers)))
            worker._finish(burst=False)
            worker._presence.leave()

    def _step(self) -> None:
        self.world.step(self._one(), self.chance.randint(1, 4))

    def _settle(self) -> None:
        self._one()._settle()

    def _tidy(self) -> None:
        worker = self._one()
        worker._settle()
        worker._tidy(idle=self.chance.random() < 0.8)

    def _revoke(self) -> None:
        if self._posted:
            label = self.chance.choice(self._posted)
            revoking = Revoking(FOLDER)
            revoking.revoke([label])
            revoking.close()

    def _forget(self) -> None:
        done = sorted(ended_in(self.world.memory.state) & set(self._posted))
        if done:
            label = self.chance.choice(done)
            self.spared.add(label)
            self.world.app.backend.forget(label)

    def _one(self) -> Consumer:
        return self._workers[self.chance.choice(list(self._workers))]


def states_in(data: bytes) -> Iterator[StateRecord]:
    """Yield what whole lines say; a torn one at the end says nothing."""
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        try:
            yield decode_state(line)
        except ValueError:
            continue


def ends_in(state: State, *, noted: bool) -> Iterator[StateRecord]:
    """Yield the final lines in all results, and with ``noted`` those that workers have noted and not posted."""
    for path in state.paths():
        name = path.rpartition("/")[2]
        data = state.read(Path(path))
        if noted and name.endswith(".notes"):
            data = data[8 : int.from_bytes(data[:8], sys.byteorder)]
        elif not (name.startswith("results") and name.endswith(".jsonl")):
            continue
        yield from (one for one in states_in(data) if one.status in FINAL_STATES)


def label_of(end: StateRecord) -> str:
    """Return which task it is the end of: one that was typed without an id returns its label."""
    return str(end.result) if end.task_id.startswith(DERIVED_ID) and end.status != REJECTED else end.task_id


def ended_in(state: State) -> set[str]:
    """Return the labels of the tasks whose ends stand in the results or in a worker's notes."""
    return {label_of(end) for end in ends_in(state, noted=True)}


def may_tear(change: Change) -> bool:
    """Say whether a kill may leave a part of it; the head of a worker's notes is one machine word, written at once."""
    return bool(change.data) and not (change.mapped and change.offset == 0)


class Known:
    """What holds at one moment of a story, for whoever looks at what a crash then leaves."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.told: list[str] = []
        """The tasks whose posting was acknowledged, in that order."""
        self.safe: set[str] = set()
        """Those that must survive a power cut: told durably, or before one that was."""
        self._late: set[str] = set()
        self.ended: set[str] = set()

    def hear(self, mark: str) -> None:
        """Take in a mark in the log."""
        kind, label = mark.split()
        if kind == "asked":
            self.asked.add(label)
        elif kind != "began":
            self.told.append(label)
            if kind == "late":  # perhaps into a file that no durable call brings to the disk any more
                self._late.add(label)
            if kind == "durable":
                self.safe.update(label for label in self.told if label not in self._late)


class Tally:
    """What was counted."""

    def __init__(self) -> None:
        self.stories = self.states = self.lost = self.missing = self.needless = self.unexpected = 0
        self.last_seed = 0
        self.first = ""
        """The first thing that went wrong."""

    def wrong(self, kind: str, count: int, text: str) -> None:
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.first = self.first or text

    @property
    def faults(self) -> int:
        return self.lost + self.missing + self.needless + self.unexpected


class Explorer:
    """Looks at crashes of stories, and counts."""

    def __init__(self, world: World, tally: Tally, chance: random.Random) -> None:
        self.world, self.tally, self.chance = world, tally, chance
        self._end_of_time = NOW + 30 * 24 * 3600

    def explore(self, story: Story, share: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Look at all crashes between effects, and at a ``share`` of the torn writes, power cuts and second crashes."""
        state, known, log = State(), Known(), story.log
        cut = PowerCut()
        for number, change in enumerate(log):
            if enough():
                return
            if change.kind == "mark":
                known.hear(change.path)
                continue
            where = f"story {story.seed}, effect {number} ({change.kind} {change.path or change.inode})"
            if change.kind != "sync":
                self._killed(story, state, known, f"killed before {where}", share)
                for size in range(1, len(change.data) if may_tear(change) else 0):
                    if self.chance.random() < share:
                        torn = state.copy()
                        torn.apply(change._replace(data=change.data[:size]))
                        self._killed(story, torn, known, f"killed at byte {size} of {where}", share)
                self._alive(story, state, known, f"others live on at {where}")
            state.apply(change)
            cut.apply(change)
            if change.kind in {"write", "rename", "unlink"}:
                known.ended |= ended_in(state)
            for left, what in cut.outcomes(self.chance, 1 + int(20 * share)):
                self._cut(story, left, known, f"power cut after {where}: {what}")
        self._killed(story, state, known, f"killed at the end of story {story.seed}", share)

    def _boot(self, state: State) -> None:
        """Begin anew with what is left; by the time that somebody looks, all of it is old."""
        self.world.clock.move_to(NOW)
        self.world.memory.boot(state.copy())

    def _recover(self, name: str) -> list[str]:
        """Have a new worker run all that is owed; return what ran."""
        world = self.world
        world.ran.clear()
        world.clock.move_to(self._end_of_time)
        heir = world.worker(name)
        heir._claimer.result_expires = None
        for _ in range(3):
            while world.step(heir):
                pass
            if not heir._is_done():
                continue
            if not FOLDER.sealed_queues():
                break
            world.clock.advance(sealing.GRACE + 1)
            heir._tidy(idle=False)
        return list(world.ran)

    def _killed(self, story: Story, state: State, known: Known, where: str, share: float) -> None:
        """Look at what is left when all are killed; sometimes the next worker is killed as well."""
        memory = self.world.memory
        self._boot(state)
        again = self.chance.random() < share
        memory.log = [] if again else None
        ran = self._recover("heir")
        changes, memory.log = memory.log, None
        self._judge(story, known, known.ended, ran, memory.state, where)
        if changes:
            self._killed_again(story, state, known, changes, where)

    def _killed_again(self, story: Story, state: State, known: Known, changes: list[Change], where: str) -> None:
        number = self.chance.randrange(len(changes))
        left = state.copy()
        for change in changes[:number]:
            left.apply(change)
        last = changes[number]
        if may_tear(last):
            left.apply(last._replace(data=last.data[: self.chance.randrange(len(last.data))]))
        self._boot(left)
        ended = known.ended | ended_in(left)
        ran = self._recover("heir2")
        self._judge(story, known, ended, ran, self.world.memory.state, f"{where}, then its heir at effect {number}")

    def _alive(self, story: Story, state: State, known: Known, where: str) -> None:
        """Let one worker live on: what it holds is not given to anybody until it dies, too."""
        ledger = Ledger()
        ledger.apply(states_in(state.read(FOLDER.results)))
        names = [name for name in sorted(ledger.holders()) if str(FOLDER.worker(name)) in state.names]
        if not names:
            return
        name = self.chance.choice(names)
        held = {started.task_id for started in ledger.held_by(name)}
        memory = self.world.memory
        self._boot(state)
        descriptor = os.open(FOLDER.worker(name), os.O_RDWR)
        memory.try_lock(descriptor)
        first = self._recover("heir")
        taken = held & set(first)
        self.tally.wrong(
            "needless", len(taken), f"{where}: {sorted(taken)} ran although {name}, who had them, was alive"
        )
        os.close(descriptor)
        ran = first + self._recover("heir2")
        self._judge(story, known, known.ended, ran, memory.state, where)

    def _cut(self, story: Story, state: State, known: Known, where: str) -> None:
        """Look at what is left after a power cut."""
        self._boot(state)
        ran = self._recover("heir")
        # A result that was not on the disk yet may be gone, and its record with it: then nothing is known of the task.
        told, known_then = known.told, Known()
        known_then.asked, known_then.told = known.asked, [one for one in told if one in known.safe]
        known_then.ended = known.ended
        # What had ended may run again, and what runs may do so twice: its result, or the last byte of its record in a sealed
        # file, may have been on the way to the disk. At least once is what is promised here.
        self._judge(story, known_then, set(), list(dict.fromkeys(ran)), self.world.memory.state, where)

    def _judge(self, story: Story, known: Known, ended: set[str], ran: list[str], state: State, where: str) -> None:
        """Compare what was to be with what has become of it."""
        tally = self.tally
        tally.states += 1
        finals = {label_of(end) for end in ends_in(state, noted=False)}
        without = [label for label in known.told if label not in finals and label not in story.spared]
        # Of a task whose result may be gone by now only this can be said: if it had not ended, it must have run.
        without += [
            label for label in known.told if label in story.spared and label not in finals | ended | known.ended
        ]
        lost = [label for label in without if label not in ended]
        counts = Counter(ran)
        again = [label for label, count in counts.items() if count > 1 or label in ended]
        strange = [label for label in counts if label not in known.asked]
        tally.wrong("lost", len(lost), f"{where}: lost {lost}")
        tally.wrong("missing", len(without) - len(lost), f"{where}: {without} have ended and no file says how")
        tally.wrong("needless", len(again), f"{where}: {again} ran again although their ends were there")
        tally.wrong("unexpected", len(strange), f"{where}: {strange} ran, and nobody had asked for them")


class PowerCut:
    """What may be on the disk when the power fails.

    Names change in the order in which they were changed; a sync of a file or a folder takes all names that were changed before
    along, as journalling file systems do. The bytes of a file arrive in their order, each file for itself. A mapped file
    is on the disk as it was at any moment since it was made.
    """

    def __init__(self) -> None:
        self._names: list[Change] = []
        self._synced_names = 0
        self._now = State()
        self._synced: dict[int, int] = {}
        """How many bytes of each file are on the disk for certain."""
        self._mapped: dict[int, list[bytes]] = {}

    def apply(self, change: Change) -> None:
        """Take in the next change."""
        self._now.apply(change)
        if change.kind in {"create", "mkdir", "rename", "unlink"}:
            self._names.append(change)
        elif change.kind == "sync":
            self._synced_names = len(self._names)
            self._synced[change.inode] = len(self._now.data.get(change.inode) or b"")
        elif change.kind == "truncate":
            self._synced[change.inode] = min(self._synced.get(change.inode, 0), change.offset)
        elif change.mapped:
            content = self._now.data[change.inode]
            assert content is not None
            self._mapped.setdefault(change.inode, []).append(content)

    def outcomes(self, chance: random.Random, count: int) -> Iterator[tuple[State, str]]:
        """Yield ``count`` of the states that the disk may be in, and how each came about."""
        for _ in range(count):
            names = chance.choice(
                [self._synced_names, len(self._names), chance.randint(self._synced_names, len(self._names))]
            )
            state = State()
            for change in self._names[:names]:
                state.apply(change)
            for inode in state.data:
                content = self._now.data[inode]
                if content is None:
                    continue
                if inode in self._mapped:
                    state.data[inode] = chance.choice(self._mapped[inode])
                    continue
                least = self._synced.get(inode, 0)
                size = chance.choice([least, len(content), chance.randint(least, max(least, len(content)))])
                state.data[inode] = content[:size]
            sizes = {path.removeprefix(f"{FOLDER.path}/"): len(state.read(Path(path))) for path in state.paths()}
            yield state, f"{names} of {len(self._names)} names, bytes {sizes}"


def explore(seed: int, states: int, share: float = 0.05, progress: Callable[[Tally], object] = lambda _: None) -> Tally:
    """Look at crashes of story after story until ``states`` were seen; return the tally."""
    tally, world = Tally(), World()
    try:
        explorer = Explorer(world, tally, random.Random(seed))
        while tally.states < states and not tally.faults:
            world.clock.move_to(NOW)
            tally.stories, tally.last_seed = tally.stories + 1, seed
            explorer.explore(Story(world, seed), share, lambda: tally.states >= states or tally.faults > 0)
            progress(tally)
            seed += 1
    finally:
        world.close()
    return tally
