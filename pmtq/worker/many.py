"""A consumer that runs many tasks at once in one process: ``async def`` in an event loop, others each in a thread.

1. Claiming and settling stay in the thread of the loop that every consumer goes round in. So no lock, however long
   somebody holds it, keeps a task waiting that runs.
2. Every task that is claimed has begun; if the process dies, all of them count as started. A note says so from the start.
3. Where gevent or eventlet have patched the program, its threads are greenlets, the event loop's among them.

It does not know how a try is run and told of: that is ``execute`` and ``trace``, here as everywhere.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from pmtq.claim import Claim
from pmtq.execute import execute
from pmtq.inheritance import BEGUN
from pmtq.records import StateRecord, TaskRecord, encode
from pmtq.request import nothing_running, running
from pmtq.states import SUCCESS
from pmtq.trace import Trace
from pmtq.watch import SLOW_POLL, Watch
from pmtq.worker.consumer import Consumer, tell

_MOST_THREADS = 100_000
"""Of no importance: a thread is only made for a task that was claimed, and ``places`` limits those."""


class ManyAtOnce(Consumer):
    """Runs up to ``places`` tasks at once."""

    places: int = 1000
    """May be changed while it runs."""

    def _begin(self, watch: Watch) -> None:
        """Start what runs the tasks."""
        self._notes.keep(encode(StateRecord(control=BEGUN, result=True)) + b"\n")
        self._watch = watch
        self._claims: dict[str, Claim] = {}
        """What runs, by the task's id."""
        self._noting = threading.RLock()  # a signal handler may come in between, in the thread that holds it
        self._has_woken = False
        self._threads = ThreadPoolExecutor(_MOST_THREADS, "pmtq-task")
        self._tries: set[asyncio.Task[None]] = set()
        self._is_up, self._is_over = threading.Event(), asyncio.Event()
        self._loop_thread = threading.Thread(target=self._run_loop, name="pmtq-event-loop", daemon=True)
        self._loop_thread.start()
        self._is_up.wait()

    def _run_loop(self) -> None:
        with asyncio.Runner() as runner:  # in the end it cancels what tasks have left running in it
            self._loop = runner.get_loop()
            self._is_up.set()
            runner.run(self._wait_for_the_end())

    async def _wait_for_the_end(self) -> None:
        await self._is_over.wait()

    def _end(self) -> None:
        """End the event loop, with all that still runs in it."""
        self._loop.call_soon_threadsafe(self._is_over.set)
        self._loop_thread.join()
        self._threads.shutdown(wait=False)

    def _wanted(self) -> Callable[[TaskRecord], bool]:
        """Want as many tasks as there are free places."""
        free = self.places - len(self._claims)

        def wanted(_: TaskRecord) -> bool:
            nonlocal free
            free -= 1
            return free >= 0

        return wanted

    def _fill_batch(self) -> bool:
        """Settle what has ended, and claim what there is room for; say whether the results could be written."""
        self._has_woken = False  # before looking at what has ended: what ends after that wakes us again
        return super()._fill_batch()

    def _run_batch(self) -> None:
        """Have all of the claimed tasks begin."""
        self._look_again()
        claims = list(self._batch)
        self._claims.update((claim.record.task_id, claim) for claim in claims)
        self._batch.clear()
        self._start(claims)

    def _start(self, claims: list[Claim]) -> None:
        coroutines = []
        for claim in claims:
            if self._traces[claim.record.function].is_coroutine:
                coroutines.append(claim)
            else:
                self._threads.submit(self._try_in_thread, claim)
        if coroutines:
            self._loop.call_soon_threadsafe(self._start_in_loop, coroutines)

    @nothing_running()
    def _try_in_thread(self, claim: Claim) -> None:
        outcome, line, _ = execute(claim, self._traces[claim.record.function], time.perf_counter())
        self._has_ended(claim, outcome, line)

    def _start_in_loop(self, claims: list[Claim]) -> None:
        for claim in claims:
            one = self._loop.create_task(self._try_in_loop(claim))
            self._tries.add(one)  # the loop itself would let it go while it waits
            one.add_done_callback(self._tries.discard)

    async def _try_in_loop(self, claim: Claim) -> None:
        began = time.perf_counter()
        running.set(claim)
        answer = await _answer(claim, self._traces[claim.record.function])
        outcome, line, _ = execute(claim, cast("Trace", answer), began)
        if not self._is_over.is_set():
            self._has_ended(claim, outcome, line)

    def _has_ended(self, claim: Claim, outcome: StateRecord, line: bytes) -> None:
        with self._noting:
            self._lines.append(line)
            self._outcomes.append(outcome)
            self._notes.add(line)  # without room for it, a kill in the next moment repeats the task
            del self._claims[claim.record.task_id]
        if self._verbose or outcome.status != SUCCESS:
            tell(claim, outcome)
        if not self._has_woken:
            self._has_woken = True
            self._watch.wake()

    def _forget_notes(self) -> None:
        with self._noting:
            super()._forget_notes()

    def _is_done(self) -> bool:
        return not self._claims and super()._is_done()

    def _until_due(self) -> float:
        """Return the seconds until a task may start; without a free place none may."""
        return super()._until_due() if len(self._claims) < self.places else SLOW_POLL

    def _under_way(self) -> list[Claim]:
        return [*self._claims.values()]

    def _finish(self, *, burst: bool) -> None:
        """Wait for all that runs, posting each outcome as it comes."""
        while self._claims:
            seen = self._watch.seen()
            self._has_woken = False
            self._settle()
            if self._claims:
                self._watch.wait(seen, SLOW_POLL)
        super()._finish(burst=burst)


class _Answer:
    """What a coroutine has returned or raised, in place of the trace that would call it."""

    is_plain = False

    def __init__(self, trace: Trace | None, value: Any, failure: BaseException | None) -> None:
        """Take the answer; ``trace`` is who tells of it, None if nobody wants to know."""
        self._trace, self._value, self._failure = trace, value, failure

    def call(self, *_: object) -> Any:
        """Give the answer."""
        if self._failure is not None:
            raise self._failure
        return self._value

    def ignores(self, claim: Claim) -> bool:
        """Say whether the value is to be thrown away."""
        return self._trace is not None and self._trace.ignores(claim)

    def tell(self, claim: Claim, outcome: StateRecord, value: Any, failure: BaseException | None) -> None:
        """Tell of it."""
        if self._trace:
            self._trace.tell(claim, outcome, value, failure)


async def _answer(claim: Claim, trace: Trace) -> _Answer:
    plain = claim.is_plain and trace.is_plain
    who_tells = None if plain else trace
    try:
        args, kwargs = claim.record.arguments()
        call: Any = trace.function(*args, **kwargs) if plain else trace.call_async(claim, args, kwargs)
        return _Answer(who_tells, await call, None)
    except KeyboardInterrupt as error:
        interrupted = RuntimeError("the task raised KeyboardInterrupt, which would end all others with it")
        interrupted.__cause__ = error
        return _Answer(who_tells, None, interrupted)
    except BaseException as error:  # noqa: BLE001  (whatever it is, it is the outcome)
        return _Answer(who_tells, None, error)
