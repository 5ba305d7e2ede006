"""Any order of what clients, people and workers may do comes to what a dict says.

1. The machine calls the real client, and moves the real claimer, ledger, notes and files of up to three workers, step by step.
2. Beside it a dict of what each task is to be: who may have it, which try it is, how it must end.
3. After every step the two are compared. In the end what is left is run, and every task has its end.

It knows nothing of the files' bytes, but for what a person types into them.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pmtq import PMTQ, sealing
from pmtq.claim import Claim
from pmtq.clock import moved_clock
from pmtq.exceptions import LockHeld, OperationalError
from pmtq.execute import execute
from pmtq.folder import DEFAULT_QUEUE
from pmtq.inheritance import MAX_STARTS
from pmtq.ledger import release
from pmtq.records import StateRecord, TaskRecord, timestamp
from pmtq.request import nothing_running
from pmtq.revoking import Revoking
from pmtq.scan import DERIVED_ID
from pmtq.states import (
    FAILURE,
    FINAL_STATES,
    LOST,
    PENDING,
    REJECTED,
    RELEASED,
    RETRY,
    REVOKED,
    STARTED,
    SUCCESS,
)
from pmtq.trace import Trace
from tests.support import Hand, all_states, post_by_hand, read_lines

COUNTDOWN = 10.0
"""Seconds between two tries of a task that wants to be tried again."""
YEAR = 365 * 24 * 3600.0
TYPED = {
    "plain": '{{"task_id":"{0}","function":"{1}","params":["{0}"]}}\n',
    "no id": '{{"function":"{1}","params":["{0}"]}}\n',
    "no newline": '{{"task_id":"{0}","function":"{1}","params":["{0}"]}}',
    "no id, no newline": '{{"function":"{1}","params":["{0}"]}}',
    "CRLF": '{{"function":"{1}","params":["{0}"]}}\r\n',
    "mark": '\ufeff{{"function":"{1}","params":["{0}"]}}\n',
    "block": '--{{\n  "function": "{1}",\n  "params": ["{0}"]\n}}--\n',
}
JUNK = [
    "{0} hello\n",
    '{{"{0}":1,}}\n',
    '{{"function":“{0}”}}\n',
    "--{{\n{0}\n}}--\n",
    '["{0}"]\n',
    '{{"function":"{0}","eta":"soon"}}\n',
]
STEPS = {"steps": 0, "kills": 0, "tasks": 0}
"""How many were made in this process, for whoever prints a table."""


@dataclass
class Expected:
    """What one task is to be."""

    label: str
    function: str
    eta: float = 0.0
    expires: float = 0.0
    task_id: str = ""
    """Empty as long as only a worker can know it."""
    status: str = PENDING
    attempt: int = 0
    deaths: int = 0
    retries: int = 0
    holder: str = ""
    is_wished_away: bool = False
    may_hide: bool = False
    """Whether its line has no end, so that it may wait for one."""
    copies: int = 0
    """Lines beyond the first with its id, which may be come to when its results are archived."""
    times: dict[str, str] = field(default_factory=dict)
    """What the client said of its time."""
    was_again: bool = False
    """Whether such a copy was run."""
    is_old: bool = False
    """Whether the results have started afresh since its end."""

    def must_end(self, now: float) -> str:
        """Return the state in which it ends when somebody comes to it, empty if it is to be run."""
        if self.is_wished_away or (self.expires and self.expires <= now):
            return REVOKED
        return FAILURE if self.status == LOST and self.deaths >= MAX_STARTS else ""

    def may_start(self, now: float) -> bool:
        """Say whether a worker that looks for it now gets it."""
        return self.status not in FINAL_STATES and not self.holder and self.eta <= now and not self.must_end(now)


@dataclass
class Fate:
    """How a try ended that is not posted yet."""

    task: Expected
    status: str
    eta: float = 0.0


class Stepped(Hand):
    """A worker whose every step is somebody else's decision; it does what ``Consumer`` does, in that order."""

    def __init__(self, app: PMTQ, name: str, now: float) -> None:
        super().__init__(app.folder, name, dict.fromkeys(app.tasks, True), [DEFAULT_QUEUE])
        self.claimer.succeed_namesake(now)
        self.traces = {name: Trace(task) for name, task in app.tasks.items()}
        self.batch: deque[Claim] = deque()
        self.outcomes: list[StateRecord] = []
        self.lines: list[bytes] = []
        self.fates: list[Fate] = []

    def exchange(self, now: float, count: int, back: list[StateRecord] | None = None) -> list[Claim]:
        """Post what is done, give back, and claim."""
        taken = 0

        def wanted(_: TaskRecord) -> bool:
            nonlocal taken
            taken += 1
            return taken <= count

        claims = self.claimer.exchange(self.outcomes + (back or []), now, wanted if count else None, self.lines)
        self.outcomes, self.lines = [], []
        self.presence.notes.clear()
        self.batch.extend(claims)
        return claims

    def finish(self) -> tuple[Claim, StateRecord]:
        """Run the first task of the batch, and note its outcome."""
        claim = self.batch.popleft()
        with nothing_running():
            outcome, line, _ = execute(claim, self.traces[claim.record.function], 0.0)
        self.outcomes.append(outcome)
        self.lines.append(line)
        assert self.presence.notes.add(line)
        return claim, outcome


@dataclass
class Full:
    """A disk that refuses one write, or takes a part of it."""

    after: int = 0
    takes: int | None = None
    struck: bool = field(default=False, init=False)

    @contextmanager
    def installed(self):
        real, count = os.write, 0

        def write(descriptor, data):
            nonlocal count
            count += 1
            if self.struck or count <= self.after:
                return real(descriptor, data)
            self.struck = True
            if self.takes is None or self.takes >= len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(descriptor, data[: self.takes])

        with patch.object(os, "write", write):
            yield


FULL = st.one_of(st.none(), st.none(), st.none(), st.builds(Full, st.integers(0, 2), st.none() | st.integers(0, 60)))
NAMES = st.sampled_from(["w1", "w2", "w3"])


def again(task, label):
    """Ask for two more tries before the value is there."""
    if task.request.retries < 2:
        task.retry(countdown=COUNTDOWN)
    return label


class Queue(RuleBasedStateMachine):
    """One folder, and the dict."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        enter = self.stack.enter_context
        self.clock = enter(moved_clock())
        path = Path(enter(tempfile.TemporaryDirectory(prefix="pmtq-model-")))
        for name, size in (("SEAL_BYTES", 1500), ("IDLE_SEAL_BYTES", 300)):
            enter(patch.object(sealing, name, size))
        self.app = PMTQ("t", broker=f"file://{path}/queue_dir", set_as_current=False)
        self.folder = self.app.folder
        self.app.task(name="good")(lambda label: label)
        self.app.task(name="again", bind=True, max_retries=2)(again)

        @self.app.task(name="bad")
        def bad(label):
            raise ValueError(label)

        self.tasks: list[Expected] = []
        self.labels = 0
        self.junk: set[str] = set()
        self.workers: dict[str, Stepped] = {}
        self.limbo: set[str] = set()
        """Labels of tasks whose dead worker nobody may have buried yet."""
        self.results = 0

    # What clients do.

    @initialize()
    def begin(self):
        self.folder.make()
        self.start("w1")

    def _label(self) -> str:
        self.labels += 1
        return f"t{self.labels}"

    def _tries(self, full: Full | None, action) -> bool:
        """Do something on a disk that may be full; say whether it was done."""
        STEPS["steps"] += 1
        if full is None:
            action()
            return True
        with full.installed():
            try:
                action()
            except OperationalError:
                assert full.struck
                return False
        return True

    @rule(function=st.sampled_from(["good", "good", "bad", "again"]), wait=st.sampled_from([0, 0, 0, 30]),
          lasts=st.sampled_from([0, 0, 0, 60]), full=FULL)  # fmt: skip
    def enqueue(self, function, wait, lasts, full):
        label, now = self._label(), self.clock.now()
        times = {"eta": timestamp(now + wait)} if wait else {}
        times |= {"expires": timestamp(now + lasts)} if lasts else {}
        size = self._queue_bytes()
        if self._tries(full, lambda: self.app.send_task(function, [label], task_id=label, **times)):
            eta, expires = (int((now + one) * 1000) / 1000 if one else 0.0 for one in (wait, lasts))
            self.tasks.append(Expected(label, function, eta, expires, label, times=times))
            STEPS["tasks"] += 1
        else:
            assert self._queue_bytes() == size

    def _queue_bytes(self) -> bytes:
        return self.folder.queue().read_bytes() if self.folder.queue().exists() else b""

    @rule(data=st.data())
    def enqueue_the_same_id(self, data):
        named = [task for task in self.tasks if task.task_id == task.label and not task.is_old]
        if named:
            task = data.draw(st.sampled_from(named))
            self.app.send_task(task.function, [task.label], task_id=task.label, **task.times)
            task.copies += 1

    @rule(data=st.data())
    def revoke(self, data):
        known = [task for task in self.tasks if task.task_id and not task.is_old]
        if not known:
            return
        task = data.draw(st.sampled_from(known))
        revoking = Revoking(self.folder)
        revoking.revoke([task.task_id])
        revoking.close()
        if task.status in FINAL_STATES:
            return
        if task.holder or self._is_noted_by_a_dead(task):
            task.is_wished_away = True
        else:
            task.status = REVOKED

    @rule(data=st.data(), at_once=st.booleans())
    def end_what_runs(self, data, at_once):
        """Write an end while a worker holds the task, as whoever terminates it does: what that worker says comes too late."""
        held = [task for task in self.tasks if task.holder]
        if held:
            task = data.draw(st.sampled_from(held))
            self.app.backend.store(
                StateRecord(task.task_id, REVOKED, None, task.attempt, at=timestamp(self.clock.now()))
            )
            worker, task.status, task.holder = self.workers[task.holder], REVOKED, ""
            while at_once and worker.batch:
                self.finish(worker.name)
            self._exchange(worker, 0, None)

    def _is_noted_by_a_dead(self, task: Expected) -> bool:
        return task.label in self.limbo and task.status == RETRY

    # What people do.

    @rule(how=st.sampled_from(sorted(TYPED)), function=st.sampled_from(["good", "bad"]), twice=st.booleans())
    def type_a_record(self, how, function, twice):
        label = self._label()
        text = TYPED[how].format(label, function)
        if self._queue_bytes()[-1:] not in {b"", b"\n"}:
            text = "\n" + text
        post_by_hand(self.folder, text)
        task_id = label if '"task_id"' in text else ""
        self.tasks.append(Expected(label, function, task_id=task_id, may_hide=not text.endswith("\n")))
        if twice and text.endswith("\n") and not task_id:
            post_by_hand(self.folder, text.lstrip("\n"))
            self.tasks.append(Expected(label, function))
        STEPS["tasks"] += 1

    @rule(text=st.sampled_from(JUNK))
    def type_junk(self, text):
        name = f"junk{self._label()}"
        before = "" if self._queue_bytes()[-1:] in {b"", b"\n"} else "\n"
        post_by_hand(self.folder, before + text.format(name))
        self.junk.add(name)

    @precondition(lambda self: self.folder.queue().exists())
    @rule(
        data=st.data(),
        change=st.sampled_from(["none", "CRLF", "mark", "delete", "no last newline"]),
        in_place=st.booleans(),
    )
    def edit(self, data, change, in_place):
        lines = self._queue_bytes().decode().splitlines(keepends=True)
        if change == "CRLF":
            lines = [line.rstrip("\r\n") + "\r\n" if line.endswith("\n") else line for line in lines]
        elif change == "mark" and lines:
            lines[0] = "\ufeff" + lines[0].lstrip("\ufeff")
        elif change == "delete":
            self._delete(lines, data)
        elif change == "no last newline" and lines:
            self._hide_last(lines)
        self._save(lines, in_place=in_place)

    @precondition(lambda self: self.folder.queue().exists())
    @rule(place=st.integers(0, 3), in_place=st.booleans())
    def put_in_a_line(self, place, in_place):
        lines = self._queue_bytes().decode().splitlines(keepends=True)
        places = [number for number, one in enumerate(lines) if one.startswith('{"task_id"')]
        if place < len(places):
            label = self._label()
            lines.insert(places[place], TYPED["plain"].format(label, "good"))
            self._save(lines, in_place=in_place)
            self.tasks.append(Expected(label, "good", task_id=label))
            for worker in self.workers.values():
                self._exchange(worker, 1, None)

    def _save(self, lines: list[str], *, in_place: bool) -> None:
        """Write the file as an editor does: into it, or beside it and under its name then."""
        path = self.folder.queue()
        if not in_place:
            path = path.with_name("queue.jsonl.draft")
        path.write_bytes("".join(lines).encode())
        path.chmod(0o600)
        if not in_place:
            path.replace(self.folder.queue())

    def _delete(self, lines: list[str], data) -> None:
        free = [
            task for task in self.tasks if task.task_id == task.label and task.status == PENDING and not task.holder
        ]
        free = [task for task in free if sum(f'"{task.label}"' in line for line in lines) == 1 and not task.may_hide]
        free = [task for task in free if not task.copies and not task.attempt]
        if free:
            task = data.draw(st.sampled_from(free))
            lines[:] = [line for line in lines if f'"{task.label}"' not in line]
            self.tasks.remove(task)

    def _hide_last(self, lines: list[str]) -> None:
        its = [task for task in self.tasks if f'"{task.label}"' in lines[-1] and lines[-1].startswith("{")]
        if its:  # else it is no whole record, and may be one that somebody is still writing
            lines[-1] = lines[-1].rstrip("\r\n")
        for task in its:
            task.may_hide = True

    @rule(seconds=st.sampled_from([1.0, 11.0, 40.0, 3600.0, YEAR, -3600.0, -YEAR]))
    def clock_jump(self, seconds):
        self.clock.advance(seconds)

    # What workers do.

    @rule(name=NAMES)
    def start(self, name):
        if name not in self.workers:
            self.workers[name] = Stepped(self.app, name, self.clock.now())
            STEPS["steps"] += 1

    @rule(name=NAMES, count=st.integers(1, 4), full=FULL)
    def claim(self, name, count, full):
        if worker := self.workers.get(name):
            self._exchange(worker, count, full)

    @rule(name=NAMES, full=FULL)
    def post(self, name, full):
        if worker := self.workers.get(name):
            self._exchange(worker, 0, full)

    @rule(name=NAMES, full=FULL)
    def give_back(self, name, full):
        if not (worker := self.workers.get(name)) or not worker.batch:
            return
        back = list(worker.batch)
        lines = [release(claim.started, timestamp(self.clock.now())) for claim in back]
        if self._exchange(worker, 0, full, lines):
            worker.batch.clear()
            for claim in back:
                self._let_go(self._known(claim.record.task_id), RELEASED)

    def _exchange(self, worker: Stepped, count: int, full: Full | None, back: list[StateRecord] | None = None) -> bool:
        self.clock.advance(1.0)  # so that it is time for a roll call
        now, claims = self.clock.now(), []
        if not self._tries(full, lambda: claims.extend(worker.exchange(now, count, back))):
            return False
        for fate in worker.fates:
            self._settle(fate)
        worker.fates = []
        self.limbo.clear()
        ended = {state.task_id: state for state in worker.claimer.ended if state.status != REJECTED}
        for task_id, state in ended.items():
            task = self._known(task_id, state.record)
            assert (state.status, task.holder) == (task.must_end(now), ""), (state, task)
            task.status = state.status
        may_have = [task for task in self.tasks if task.may_start(now) and not task.may_hide]
        for claim in claims:
            self._take(claim, worker, now)
        if len(claims) < count:
            left = [task for task in may_have if not task.holder]
            assert not left, f"{worker.name} was given {len(claims)} of {count}, and not {left}"
        return True

    def _take(self, claim: Claim, worker: Stepped, now: float) -> None:
        task = self._known(claim.record.task_id, claim.record)
        if task.status in FINAL_STATES and task.is_old and task.copies:
            task.status, task.copies, task.attempt, task.deaths, task.retries = PENDING, task.copies - 1, 0, 0, 0
            task.eta = task.expires = 0.0
            task.is_old, task.was_again = False, True
        assert task.may_start(now), f"{worker.name} was given {task} at {now}"
        task.attempt, task.holder, task.status, task.may_hide = task.attempt + 1, worker.name, STARTED, False
        assert (claim.started.attempt, claim.started.deaths, claim.started.retries) == (
            task.attempt, task.deaths, task.retries,
        ), (claim.started, task)  # fmt: skip

    @rule(name=NAMES)
    def finish(self, name):
        if not (worker := self.workers.get(name)) or not worker.batch:
            return
        claim, outcome = worker.finish()
        task = self._known(claim.record.task_id)
        ends = {"good": SUCCESS, "bad": FAILURE, "again": RETRY if task.retries < 2 else SUCCESS}
        assert outcome.status == ends[task.function], (outcome, task)
        assert outcome.status != SUCCESS or outcome.result == task.label
        worker.fates.append(Fate(task, outcome.status, self.clock.now() + COUNTDOWN))
        STEPS["steps"] += 1

    def _settle(self, fate: Fate) -> None:
        task = fate.task
        if task.status in FINAL_STATES:
            return
        task.holder, task.status = "", fate.status
        if fate.status == RETRY:
            task.retries += 1
            task.eta = int(fate.eta * 1000) / 1000

    @rule(name=NAMES)
    def kill(self, name):
        if not (worker := self.workers.pop(name, None)):
            return
        worker.die()
        STEPS["kills"] += 1
        for fate in worker.fates:
            self._settle(fate)
            self.limbo.add(fate.task.label)
        held = [self._known(claim.record.task_id) for claim in worker.batch]
        for number, task in enumerate(task for task in held if task.status not in FINAL_STATES):
            self._let_go(task, RELEASED if number else LOST)
            self.limbo.add(task.label)

    @staticmethod
    def _let_go(task: Expected, status: str) -> None:
        if task.status in FINAL_STATES:
            return
        task.holder, task.status = "", status
        if status == LOST:
            task.deaths += 1
        else:
            task.attempt -= 1
        if task.eta and task.retries:
            task.eta = 0.0  # the wait between two tries is over

    @rule(name=NAMES, idle=st.booleans(), full=FULL)
    def tidy(self, name, idle, full):
        if not (worker := self.workers.get(name)):
            return
        self.clock.advance(sealing.GRACE + 1)

        def tidy() -> None:
            try:
                worker.claimer.tidy(self.clock.now(), idle=idle)
            except LockHeld:
                raise AssertionError("a lock was left held") from None

        if not self._tries(full, tidy):  # what it has not carried over waits for the first look after the grace time
            self.clock.advance(sealing.GRACE + 1)
            tidy()

    # What must hold.

    def _known(self, task_id: str, record: TaskRecord | None = None) -> Expected:
        """Return the task with this id; one that was typed without one gets it when it is seen first."""
        for task in self.tasks:
            if task.task_id == task_id:
                return task
        assert record is not None, f"{task_id} is held by nobody's word"
        assert task_id.startswith(DERIVED_ID), f"{task_id} was asked for by nobody"
        label = record.arguments()[0][0]
        task = next((one for one in self.tasks if one.label == label and not one.task_id), None)
        assert task, f"{label} is given out once more, as {task_id}"
        task.task_id = task_id
        return task

    @invariant()
    def results_say_what_the_model_says(self):
        inode = self.folder.results.stat().st_ino if self.folder.results.exists() else 0
        if self.results not in {0, inode}:
            for task in self.tasks:
                task.is_old |= task.status in FINAL_STATES
        self.results = inode
        unposted = {fate.task.label for worker in self.workers.values() for fate in worker.fates}
        for task in self.tasks:
            if not task.task_id or task.label in self.limbo or task.label in unposted:
                continue
            told = self.app.backend.state(task.task_id).status
            expected = PENDING if task.status in {RELEASED, LOST} else task.status
            assert told == expected or (task.is_old and told == PENDING), f"{task} is told to be {told}"

    def teardown(self):
        try:
            self._run_what_is_left()
        finally:
            for worker in self.workers.values():
                worker.presence.leave()
            self.app.close()
            self.stack.close()

    def _run_what_is_left(self) -> None:
        for name in list(self.workers):
            self.kill(name)
        self.start("last")
        worker = self.workers["last"]
        for _ in range(12):
            self.tidy("last", idle=True, full=None)
            self.clock.advance(3600.0)
            while True:
                self._exchange(worker, 100, None)
                if not worker.batch and not worker.fates:
                    break
                while worker.batch:
                    self.finish("last")
            if all(task.status in FINAL_STATES for task in self.tasks):
                break
        left = [task for task in self.tasks if task.status not in FINAL_STATES]
        waits = [task for task in left if task.eta > self.clock.now()]
        if waits:  # the clock went back, so their time is far off
            self.clock.move_to(max(task.eta for task in waits) + 1)
            self._run_what_is_left_now(worker)
        assert [task for task in self.tasks if task.status not in FINAL_STATES] == []
        ends: dict[str, set[str]] = {}
        for line in all_states(self.folder):
            if line["status"] in FINAL_STATES:
                ends.setdefault(line["task_id"], set()).add(line["status"])
        again = {task.task_id for task in self.tasks if task.copies or task.was_again}
        assert {name: found for name, found in ends.items() if len(found) > 1 and name not in again} == {}
        rejected = [line["text"] for line in read_lines(self.folder.rejected)]
        missing = [name for name in self.junk if not any(name in text for text in rejected)]
        assert not missing, f"{missing} were not reported"
        assert all(any(name in text for name in self.junk) for text in rejected), rejected

    def _run_what_is_left_now(self, worker: Stepped) -> None:
        for _ in range(5):
            self._exchange(worker, 100, None)
            while worker.batch:
                self.finish("last")
            self._exchange(worker, 0, None)
            self.clock.advance(2 * COUNTDOWN)
