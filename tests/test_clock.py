"""The time is told in one place, and a test can move it there."""

import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pmtq import clock as module
from pmtq.clock import Clock, moved_clock, now, woken_by_moves
from pmtq.watch import Watch
from tests.support import NOW, eventually


def test_the_time_is_the_systems_unless_it_was_moved():
    before = time.time()

    assert before <= now() <= time.time()


def test_a_moved_clock_stands_still_until_it_is_moved_on():
    with moved_clock(at=NOW) as clock:
        told = [now(), now()]
        clock.advance(60)
        told.append(now())
        clock.advance(timedelta(minutes=-2))
        told.append(now())
        clock.move_to("2027-01-01T00:00:00Z")
        told.append(now())

    assert told == [NOW, NOW, NOW + 60, NOW - 60, datetime(2027, 1, 1, tzinfo=UTC).timestamp()]
    assert now() < NOW


@pytest.mark.parametrize(
    "at",
    [
        1_798_786_800,
        "2027-01-01T07:00:00Z",
        "2027-01-01T07:00:00",
        datetime(2027, 1, 1, 7),  # noqa: DTZ001  (naive times count as UTC)
        datetime(2027, 1, 1, 8, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_a_clock_may_be_set_in_several_ways(at):
    assert Clock(at).now() == 1_798_786_800.0


def test_a_clock_that_is_not_set_stands_at_the_present_moment():
    before = time.time()
    with moved_clock() as clock:
        assert before <= clock.now() == now() <= time.time()


def test_a_clock_within_a_clock_gives_the_time_back_to_the_outer_one():
    with moved_clock(at=NOW) as outer:
        with moved_clock() as inner:
            inner.advance(5)
            assert (inner.now(), outer.now(), now()) == (NOW + 5, NOW, NOW + 5)
        assert now() == NOW


def test_the_time_goes_on_after_an_error_in_the_block():
    with pytest.raises(KeyError), moved_clock(at=NOW):
        raise KeyError

    assert now() < NOW


def test_whoever_waits_for_a_time_is_woken_by_every_move():
    seen = []
    with woken_by_moves(lambda: seen.append(now())):
        with moved_clock(at=NOW) as clock:
            clock.advance(1)
            clock.move_to(NOW + 9)
        assert (seen[:3], len(seen)) == ([NOW, NOW + 1, NOW + 9], 4)
        assert seen[3] < NOW  # the system's time again
    with moved_clock(at=NOW):
        pass

    assert (len(seen), module._sleepers) == (4, [])


def test_moves_of_many_threads_all_count():
    clock = Clock(0)
    threads = [threading.Thread(target=lambda: [clock.advance(1) for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert clock.now() == 8000


def test_a_move_wakes_a_thread_that_waits_for_a_file(tmp_path):
    watch = Watch(tmp_path, frozenset({"queue.jsonl"}))
    watch.wait(watch.seen(), 0)  # begins to listen
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(watch.wait(watch.seen(), 30)))
    try:
        with woken_by_moves(watch.wake), moved_clock(at=NOW) as clock:
            waiting.start()
            assert eventually(lambda: watch._waiting)
            clock.advance(60)
            waiting.join()
    finally:
        watch.close()

    assert answers == [True]
