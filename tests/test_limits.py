"""A soft limit strikes what takes too long, and nothing else."""

import asyncio
import signal
import threading
import time

import pytest

from pmtq.exceptions import SoftTimeLimitExceeded
from pmtq.limits import interruptible, soft_limit

SHORT, LONG = 0.02, 20.0


def wait_long():
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        time.sleep(0.001)


def test_a_function_is_interrupted_and_told_how_long_it_had():
    with (
        pytest.raises(SoftTimeLimitExceeded, match=r"^it ran longer than its soft time limit of 0\.02 s$"),
        soft_limit(SHORT),
    ):
        wait_long()


def test_it_may_go_on_and_is_not_interrupted_again():
    with soft_limit(SHORT):
        try:
            wait_long()
        except SoftTimeLimitExceeded:
            time.sleep(3 * SHORT)
            value = "cleaned up"

    assert value == "cleaned up"


def test_the_limit_of_one_call_never_strikes_the_next():
    struck = 0
    for _ in range(300):  # a call that ends just as its time is up
        try:
            with soft_limit(0.0005):
                deadline = time.perf_counter() + 0.0005
                while time.perf_counter() < deadline:
                    pass
        except SoftTimeLimitExceeded:
            struck += 1
        for _ in range(50):
            str(struck)  # the next call, during which an exception would fail this test

    assert 0 < struck <= 300


def test_a_limit_within_another_leaves_that_its_time():
    caught = []
    began = time.monotonic()
    try:
        with soft_limit(0.06):
            try:
                with soft_limit(SHORT):
                    wait_long()
            except SoftTimeLimitExceeded as error:
                caught.append(str(error)[-6:])
            wait_long()
    except SoftTimeLimitExceeded as error:
        caught.append(str(error)[-6:])

    assert caught == ["0.02 s", "0.06 s"]
    assert 0.06 <= time.monotonic() - began < LONG / 2


def test_whoever_had_an_alarm_set_has_it_set_again():
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGALRM, mine)
    left, _ = signal.setitimer(signal.ITIMER_REAL, 60.0)
    try:
        with soft_limit(LONG):
            pass
        assert signal.getsignal(signal.SIGALRM) is mine
        assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, left)


def test_a_thread_is_left_alone():
    ended = []

    def call():
        with soft_limit(0.001):
            time.sleep(0.02)
        ended.append(True)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()

    assert ended == [True]


def run(coroutine, seconds=SHORT):
    async def call():
        return await interruptible(coroutine, seconds)

    return asyncio.run(call())


async def sleep_then(value, seconds=LONG):
    await asyncio.sleep(seconds)
    return value


def test_a_coroutine_that_ends_in_time_has_its_value():
    assert run(sleep_then(5, 0.001), LONG) == 5


def test_a_coroutine_is_interrupted_where_it_waits():
    with pytest.raises(SoftTimeLimitExceeded, match=r"^it ran longer than its soft time limit of 0\.02 s$"):
        run(sleep_then(5))


def test_a_coroutine_may_clean_up_waiting_and_return_a_value():
    async def careful():
        try:
            await asyncio.gather(sleep_then(1), sleep_then(2))
        except SoftTimeLimitExceeded:
            return await sleep_then("cleaned up", 2 * SHORT)

    assert run(careful()) == "cleaned up"


def test_what_a_coroutine_awaits_may_fail_and_be_caught_in_it():
    async def fails():
        await asyncio.sleep(0)
        raise ValueError("no such file")

    async def careful():
        try:
            await asyncio.gather(fails())
        except ValueError as error:
            return str(error)

    assert run(careful(), LONG) == "no such file"


def test_a_timeout_inside_of_a_coroutine_still_works_before_its_limit_and_after():
    async def careful():
        caught = []
        for seconds in (0.001, LONG, 0.001):
            try:
                async with asyncio.timeout(seconds):
                    await asyncio.sleep(LONG)
            except (TimeoutError, SoftTimeLimitExceeded) as error:
                caught.append(type(error).__name__)
        return caught

    assert run(careful(), 20 * SHORT) == ["TimeoutError", "SoftTimeLimitExceeded", "TimeoutError"]


def test_a_coroutine_that_somebody_else_cancels_is_cancelled():
    async def cancel():
        task = asyncio.ensure_future(interruptible(sleep_then(5), LONG))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return "cancelled"

    assert asyncio.run(cancel()) == "cancelled"
