"""Any workflow comes to what a few lines of arithmetic say: every value, the order, each failure, whoever dies on the way."""

from __future__ import annotations

import random
import tempfile
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmtq import PMTQ, sealing
from pmtq.canvas import chain, chord, group
from pmtq.exceptions import ChordError
from pmtq.execute import execute
from pmtq.inheritance import MAX_STARTS
from pmtq.records import StateRecord
from pmtq.request import nothing_running
from pmtq.result import ResultSet
from pmtq.states import FAILURE, FINAL_STATES, IGNORED, SUCCESS
from pmtq.trace import Trace
from tests.support import Hand, all_states

NOTHING = object()


@dataclass(frozen=True)
class Failed:
    """Takes the place of a value."""

    label: int


@dataclass
class Task:
    """A call in a shape: it has a number, may fail, and may take nothing of what comes before it."""

    fails: bool = False
    immutable: bool = False
    label: int = 0


@dataclass
class Shape:
    """A ``chain``, ``group`` or ``chord`` (whose last part is the body); with ``heard`` it has a failure callback."""

    kind: str
    parts: list[Any]
    heard: bool = False
    label: int = 0


def mix(label: int, args: Any) -> int:
    """Return what the tasks return: a number in which everything that they were given has a part."""
    return zlib.crc32(repr((label, args)).encode())


@dataclass
class Reckoning:
    """What is to come of a shape, found without any queue."""

    ran: dict[int, list[int]] = field(default_factory=dict)
    """For each task that runs the tasks that it comes after."""
    failing: set[int] = field(default_factory=set)
    told: set[int] = field(default_factory=set)
    """The labels of the shapes whose failure callback is called."""

    def value(self, shape: Any, feed: Any = NOTHING, before: tuple[int, ...] = ()) -> tuple[Any, tuple[int, ...]]:
        """Return the value of a shape, or a ``Failed``, and the tasks that what follows it comes after."""
        if isinstance(shape, Task):
            return self._task(shape, feed, before)
        known = set(self.failing)
        result = getattr(self, f"_{shape.kind}")(shape, feed, before)
        if shape.heard and self.failing - known:
            self.told.add(shape.label)
        return result

    def _task(self, task: Task, feed: Any, before: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
        if failed := first_failed(feed):
            return failed, (task.label,)
        self.ran[task.label] = list(before)
        if task.fails:
            self.failing.add(task.label)
            return Failed(task.label), (task.label,)
        given = [] if task.immutable or feed is NOTHING else [feed]
        return mix(task.label, given), (task.label,)

    def _chain(self, shape: Shape, feed: Any, before: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
        for step in steps_of(shape):
            feed, before = self.value(step, feed, before)
        return feed, before

    def _group(self, shape: Shape, feed: Any, before: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
        found = [self.value(member, feed, before) for member in members_of(shape)]
        return [value for value, _ in found], tuple(label for _, last in found for label in last) or before

    def _chord(self, shape: Shape, feed: Any, before: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
        known, body = set(self.failing), shape.parts[-1]
        values, last = self._group(Shape("group", shape.parts[:-1]), feed, before)
        if not values and (failed := first_failed(feed)):
            values = failed
        found = (values, last) if is_empty(body) else self.value(body, values, last)
        if getattr(body, "heard", False) and self.failing - known:  # the body fails when the header does
            self.told.add(body.label)
        return found


def first_failed(value: Any) -> Failed | None:
    """Return a failure in a value."""
    if isinstance(value, Failed):
        return value
    return next(filter(None, map(first_failed, value)), None) if isinstance(value, list) else None


def is_empty(shape: Any) -> bool:
    return isinstance(shape, Shape) and shape.kind != "chord" and all(map(is_empty, shape.parts))


def steps_of(shape: Any) -> list[Any]:
    """Return the steps of a chain as pmtq joins them: a chain in it is its steps, a group of one its member."""
    found = []
    for part in shape.parts:
        plain = isinstance(part, Shape) and not part.heard
        if plain and (part.kind == "chain" or (part.kind == "group" and len(part.parts) == 1)):
            found += steps_of(part)
        elif not is_empty(part):
            found.append(part)
    return found


def members_of(shape: Any) -> list[Any]:
    found = []
    for part in shape.parts:
        if isinstance(part, Shape) and part.kind == "group":
            found += members_of(part)
        elif not is_empty(part):
            found.append(part)
    return found


def numbered(shape: Any, numbers: Any) -> Any:
    """Give every task and shape a number of its own."""
    shape.label = next(numbers)
    for part in getattr(shape, "parts", ()):
        numbered(part, numbers)
    return shape


def signature_of(shape: Any, app: PMTQ) -> Any:
    if isinstance(shape, Task):
        task = app.tasks["fail" if shape.fails else "mix"]
        return (task.si if shape.immutable else task.s)(shape.label)
    parts = [signature_of(part, app) for part in shape.parts]
    made = {
        "chain": lambda: chain(*parts),
        "group": lambda: group(parts),
        "chord": lambda: chord(parts[:-1], parts[-1]),
    }[shape.kind]()
    return made.on_error(app.tasks["hear"].si(shape.label)) if shape.heard else made


def shapes(*, failing: bool) -> st.SearchStrategy[Any]:
    """Return random nested shapes of up to 200 tasks."""
    task = st.builds(
        Task, fails=st.sampled_from([False] * 9 + [failing]), immutable=st.sampled_from([False] * 4 + [True])
    )
    heard = st.sampled_from([False] * 3 + [failing])

    def extend(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        parts = st.lists(inner, max_size=6)
        return st.one_of(
            st.builds(Shape, st.just("chain"), parts, heard),
            st.builds(Shape, st.just("group"), parts),
            st.builds(lambda parts, body, heard: Shape("chord", [*parts, body], heard), parts, inner, heard),
        )

    return st.recursive(task, extend, max_leaves=200)


class World:
    """An app in a folder of its own, with tasks that leave a trace."""

    def __init__(self, path: Path) -> None:
        self.ran: list[int] = []
        self.told: list[int] = []
        self.app = PMTQ("t", broker=f"file://{path}/queue_dir", set_as_current=False)

        @self.app.task(name="mix")
        def mix_(*args):
            self.ran.append(args[-1])
            return mix(args[-1], list(args[:-1]))

        @self.app.task(name="fail")
        def fail(*args):
            self.ran.append(args[-1])
            raise ValueError(args[-1])

        @self.app.task(name="hear")
        def hear(label):
            self.told.append(label)

    def close(self) -> None:
        self.app.close()


def run_by_turns(world: World, chance: random.Random, *, deaths: bool) -> int:
    """Have claimers take turns until nothing is left, some of which die, while files are cleared; return the deaths."""
    app, died = world.app, 0
    traces = {name: Trace(task) for name, task in app.tasks.items()}
    hands: list[Hand] = []
    ready: dict[str, list[StateRecord]] = {}
    now, idle = time.time(), 0
    for _ in range(10_000):
        if idle == 4:
            break
        while len(hands) < 3:
            hands.append(Hand(app.folder, f"w{now}-{len(hands)}", dict.fromkeys(traces, True), ["celery"]))
        hand = chance.choice(hands)
        now += 1
        claims = hand.claim(chance.randint(1, 20), now, tuple(ready.pop(hand.name, ())))
        idle = 0 if claims or ready else idle + 1
        with nothing_running():
            outcomes = [execute(claim, traces[claim.record.function], 0.0)[0] for claim in claims]
        spared = any(claim.started.deaths == MAX_STARTS - 1 for claim in claims)  # the third death would be its failure
        if deaths and claims and not spared and chance.random() < 0.1:
            hand.die()
            hands.remove(hand)
            died += 1
        elif outcomes:
            ready[hand.name] = outcomes
        if chance.random() < 0.2:
            hand.claimer.tidy(now, idle=True) if hand in hands else None
    assert idle == 4, "they go on for ever"
    for hand in hands:
        hand.presence.leave()
    return died


def check(world: World, shape: Any, result: Any, *, died: int = 0) -> None:
    """Compare with the reckoning."""
    reckoning = Reckoning()
    value, _ = reckoning.value(shape)
    assert set(world.ran) == set(reckoning.ran)
    assert len(world.ran) <= len(reckoning.ran) + 20 * died
    assert set(world.told) == reckoning.told
    assert died or len(world.told) == len(reckoning.told)
    first = {label: world.ran.index(label) for label in reckoning.ran}
    assert all(first[one] < first[label] for label, after in reckoning.ran.items() for one in after)
    if result is None:
        assert value is NOTHING or value == []
    elif first_failed(value):
        with pytest.raises((ValueError, ChordError)):
            result.get(timeout=0)
        left = list(result.leaves()) if isinstance(result, ResultSet) else [result]
        assert all(one.ready() for one in left)
        named = [str(one.to_blame().result) for one in left if one.failed()]
        assert all(any(f"{label}" in text for label in reckoning.failing) for text in named)
    else:
        alone = isinstance(value, list) and len(value) == 1 and isinstance(value[0], list)
        assert result.get(timeout=0) == (value[0] if alone else value)  # a group of nothing but a group is that


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    """Have every chance to clear files taken, and results start afresh while workflows run."""
    monkeypatch.setattr(sealing, "SEAL_BYTES", 2000)
    monkeypatch.setattr(sealing, "IDLE_SEAL_BYTES", 0)


def try_out(shape: Any, seed: int, *, deaths: bool = False) -> None:
    numbered(shape, iter(range(10_000)))
    with tempfile.TemporaryDirectory() as path:
        world = World(Path(path))
        try:
            result = signature_of(shape, world.app).apply_async()
            died = run_by_turns(world, random.Random(seed), deaths=deaths) if world.app.folder.queue().exists() else 0
            check(world, shape, result, died=died)
            lines = [line for line in all_states(world.app.folder) if line["status"] in FINAL_STATES]
            ends: dict[str, set[str]] = {}
            for line in lines:
                ends.setdefault(line["task_id"], set()).add(line["status"])
            assert all(len(end) == 1 and end <= {SUCCESS, FAILURE, IGNORED} for end in ends.values())
        finally:
            world.close()


@given(shapes(failing=False), st.integers(0, 10**6))
def test_any_workflow_has_the_value_that_arithmetic_gives_it(shape, seed):
    try_out(shape, seed)


@given(shapes(failing=True), st.integers(0, 10**6))
def test_any_workflow_with_failures_ends_and_names_one_of_them(shape, seed):
    try_out(shape, seed)


@given(shapes(failing=True), st.integers(0, 10**6))
def test_any_workflow_ends_the_same_whoever_dies_on_the_way(shape, seed):
    try_out(shape, seed, deaths=True)


@given(shapes(failing=True))
def test_any_workflow_ends_the_same_in_the_callers_process(shape):
    numbered(shape, iter(range(10_000)))
    with tempfile.TemporaryDirectory() as path:
        world = World(Path(path))
        check(world, shape, signature_of(shape, world.app).apply())
