"""How many children a pool should have."""

import pytest

from pmtq.worker.autoscale import KEEPALIVE, Autoscaler


def waits():
    return True


def waits_not():
    return False


def unasked():
    raise AssertionError("it does not matter whether work waits")


@pytest.mark.parametrize(
    ("children", "busy", "work_waits", "size"),
    [
        (1, 1, waits, 2),
        (2, 2, waits, 4),
        (4, 4, waits, 6),  # the most
        (6, 6, unasked, 6),
        (2, 2, waits_not, 2),
        (2, 1, unasked, 2),
    ],
)
def test_a_pool_grows_when_all_are_busy_and_work_waits(children, busy, work_waits, size):
    assert Autoscaler(6, 1).size(children, busy, work_waits, 0.0) == size


def test_a_pool_without_children_gets_one_when_work_comes():
    scaler = Autoscaler(6, 0)

    assert (scaler.size(0, 0, waits_not, 0.0), scaler.size(0, 0, waits, 0.0)) == (0, 1)


def test_a_pool_that_is_outside_of_its_bounds_comes_inside():
    assert [Autoscaler(4, 2).size(children, 0, unasked, 0.0) for children in (1, 9)] == [2, 4]


def test_a_pool_shrinks_by_those_that_were_not_needed_for_a_while():
    scaler = Autoscaler(6, 1)
    looks = [(0.0, 0), (KEEPALIVE / 2, 2), (KEEPALIVE - 1, 1), (KEEPALIVE, 0)]

    sizes = [scaler.size(6, busy, unasked, now) for now, busy in looks]

    assert sizes == [6, 6, 6, 2], "at every look four or more were idle"


def test_a_pool_that_was_needed_whole_once_meanwhile_does_not_shrink():
    scaler = Autoscaler(6, 1)
    looks = [(0.0, 0), (KEEPALIVE / 2, 6), (KEEPALIVE, 0)]

    assert [scaler.size(6, busy, waits_not, now) for now, busy in looks] == [6, 6, 6]


def test_a_pool_keeps_its_fewest():
    scaler = Autoscaler(6, 2)

    assert [scaler.size(3, 0, unasked, now) for now in (0.0, KEEPALIVE)] == [3, 2]
