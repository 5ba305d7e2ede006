"""Many tasks at once in one process."""

import asyncio
import threading

import pytest

from pmtq import signals
from pmtq.claim import Terms
from pmtq.presence import Presence, find_remains
from pmtq.records import decode_state
from pmtq.states import FAILURE, LOST, STARTED, SUCCESS
from pmtq.watch import SLOW_POLL
from pmtq.worker.many import ManyAtOnce
from tests.support import die, eventually, life, read_lines


@pytest.fixture
def start(folder, app):
    """A function that starts a consumer in a thread; at the end it is stopped and its name given back."""
    made = []

    def start(places=10, **options):
        presence = Presence(folder, "w1", {"name": "w1", "pool": "asyncio"})
        consumer = ManyAtOnce(folder, presence, ["celery"], app.tasks)
        consumer.places = places
        thread = threading.Thread(target=consumer.run, kwargs=options)
        thread.start()
        made.append((consumer, thread, presence))
        return consumer

    yield start
    for consumer, thread, presence in made:
        consumer.stop()
        thread.join()
        if presence._descriptor >= 0:
            presence.leave()


@pytest.fixture
def gate(app):
    """Tasks that run until they are let go: ``hold`` in a thread, ``hold_async`` in the event loop."""
    opened, begun = threading.Event(), []

    @app.task(name="hold")
    def hold(number):
        begun.append(number)
        assert opened.wait(20)
        return number

    @app.task(name="hold_async")
    async def hold_async(number):
        begun.append(number)
        while not opened.is_set():  # noqa: ASYNC110  (it is another thread that opens it)
            await asyncio.sleep(0.002)
        return number

    opened.begun = begun
    yield opened
    opened.set()


def test_functions_and_coroutines_run_at_the_same_time_up_to_the_number_of_places(app, start, gate):
    consumer = start(places=4)
    results = [app.send_task(name, [number]) for number, name in enumerate(["hold", "hold_async"] * 3)]

    assert eventually(lambda: len(gate.begun) == 4)
    waiting = [result.state for result in results]
    gate.set()

    assert [result.get(timeout=20) for result in results] == list(range(6))
    assert waiting == [STARTED] * 4 + ["PENDING"] * 2
    assert eventually(lambda: not consumer._claims)


def test_more_places_are_taken_as_soon_as_they_are_there(app, start, gate):
    consumer = start(places=1)
    results = [app.send_task("hold_async", [number]) for number in range(3)]
    assert eventually(lambda: len(gate.begun) == 1)

    consumer.places = 3

    assert eventually(lambda: sorted(gate.begun) == [0, 1, 2])
    gate.set()
    assert [result.get(timeout=20) for result in results] == [0, 1, 2]


def test_in_a_burst_it_ends_when_all_have_ended(app, folder):
    @app.task(name="nap")
    async def nap(number):
        await asyncio.sleep(0.01)
        return number

    results = [nap.delay(number) for number in range(200)]
    presence = Presence(folder, "w1", {})

    ManyAtOnce(folder, presence, ["celery"], app.tasks).run(burst=True)
    presence.leave()

    assert [result.get(timeout=0) for result in results] == list(range(200))


def test_when_it_is_stopped_it_waits_for_what_runs_and_posts_each_outcome_as_it_comes(app, start, gate, add):
    held = app.send_task("hold_async", [1])
    consumer = start()
    assert eventually(lambda: gate.begun)

    consumer.stop()
    later = add.delay(2, 3)
    running = held.state
    gate.set()

    assert held.get(timeout=20) == 1
    assert (running, later.state) == (STARTED, "PENDING")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(ValueError("no such file"), "ValueError"), (SystemExit(1), "SystemExit"), (KeyboardInterrupt(), "RuntimeError")],
)
def test_whatever_a_coroutine_raises_is_its_own_failure(app, start, add, raised, kind, folder):
    @app.task(name="fail")
    async def fail():
        await asyncio.sleep(0)
        raise raised

    result = fail.delay()
    start()

    assert eventually(result.ready)
    assert result.state == FAILURE
    assert [line["error"]["type"] for line in read_lines(folder.results) if line["status"] == FAILURE] == [kind]
    assert add.delay(2, 3).get(timeout=20) == 5, "the others go on"


def test_a_coroutine_has_its_own_request_handlers_and_signals(app, start):
    told = []

    def hear(sender, task_id, **_):
        told.append(("signal", task_id))

    @app.task(name="who", bind=True)
    async def who(self):
        await asyncio.sleep(0.01)
        return self.request.id

    who.on_success = lambda value, task_id, args, kwargs: told.append(("handler", task_id))
    signals.task_prerun.connect(hear, sender=who)
    results = [who.delay() for _ in range(3)]
    start()

    assert [result.get(timeout=20) for result in results] == [result.id for result in results]
    assert eventually(lambda: len(told) == 6)
    assert sorted(told) == sorted((kind, result.id) for kind in ("signal", "handler") for result in results)


def test_a_coroutine_that_wants_to_be_tried_again_is(app, start):
    @app.task(name="flaky", bind=True)
    async def flaky(self):
        await asyncio.sleep(0)
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return self.request.retries

    result = flaky.delay()
    start()

    assert result.get(timeout=20) == 2


def test_what_a_task_left_running_in_the_event_loop_ends_with_it(app, start):
    cancelled = []

    async def go_on():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    @app.task(name="leave")
    async def leave():
        leave.left = asyncio.ensure_future(go_on())
        await asyncio.sleep(0)

    leave.delay()
    start(burst=True)

    assert eventually(lambda: cancelled)


def test_when_it_is_broken_off_nothing_that_ran_counts_as_a_start(app, start, gate, folder, hand):
    results = [app.send_task(name, [0]) for name in ("hold", "hold_async")]
    consumer = start()
    assert eventually(lambda: len(gate.begun) == 2)

    consumer.abandon()
    noted = consumer._notes.lines()
    gate.set()

    assert len(noted) == 2
    assert all(b"RELEASED" in line for line in noted)
    assert eventually(lambda: all(result.ready() for result in results))


def test_when_it_is_broken_off_what_may_start_only_once_is_not_given_back(app, start, gate, folder):
    results = [app.send_task(name, [0]) for name in ("hold", "hold_async")]
    consumer = start()
    assert eventually(lambda: len(gate.begun) == 2)
    consumer._traces["hold"].terms = Terms(acks_late=False)

    consumer.abandon()
    noted = [decode_state(line).task_id for line in consumer._notes.lines()]
    gate.set()

    assert noted == [results[1].id]
    assert eventually(lambda: all(result.ready() for result in results))


def test_if_it_dies_every_task_it_had_counts_as_started(app, folder, hand):
    for number in range(3):
        app.send_task("tasks.add", [number], task_id=str(number))
    presence = Presence(folder, "w1", {})
    consumer = ManyAtOnce(folder, presence, ["celery"], app.tasks)
    consumer._start = lambda claims: None  # as if they ran
    ending = iter([True, True, False])
    consumer._finish = lambda *, burst: die(presence)
    consumer.run(still_wanted=lambda: next(ending))

    hand("w2").run_all()

    assert [life(folder, str(number)) for number in range(3)] == [
        [(STARTED, 1), (LOST, 1), (STARTED, 2), (SUCCESS, 2)]
    ] * 3


def test_an_idle_one_leaves_nothing_for_the_next(app, start, folder):
    consumer = start()
    assert eventually(lambda: hasattr(consumer, "_loop"))

    assert consumer._notes.lines() == []
    assert find_remains(folder, "w1") is None


def test_while_every_place_is_taken_it_waits_for_one_and_not_for_what_is_due(app, start, gate):
    app.send_task("hold", [0])
    consumer = start(places=1)
    assert eventually(lambda: gate.begun)
    consumer._claimer.next_due = lambda: 0.0

    full = consumer._until_due()
    consumer.places = 2

    assert (full, consumer._until_due()) == (SLOW_POLL, 0.0)
