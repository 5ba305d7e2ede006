"""When a task that failed is tried again, and when no more."""

import pytest

from pmtq.retry import backoff, is_exhausted


def test_the_wait_is_doubled_after_each_try():
    waits = [backoff(retries, 5, 600, jitter=False) for retries in range(5)]

    assert waits == [5, 10, 20, 40, 80]


def test_the_wait_is_never_longer_than_the_longest():
    assert [backoff(retries, 2.5, 6, jitter=False) for retries in (0, 1, 2, 3, 5000)] == [2.5, 5, 6, 6, 6]


def test_with_jitter_the_wait_is_a_random_part_of_it():
    waits = [backoff(3, 2, 600, jitter=True) for _ in range(200)]

    assert min(waits) >= 0
    assert max(waits) <= 16
    assert len(set(waits)) > 100


@pytest.mark.parametrize(
    ("retries", "max_retries", "expected"),
    [(0, 3, False), (2, 3, False), (3, 3, True), (4, 3, True), (0, 0, True), (10**6, None, False)],
)
def test_a_task_may_ask_as_often_as_max_retries_says(retries, max_retries, expected):
    assert is_exhausted(retries, max_retries) is expected
