"""Whatever the system refuses, at whichever call: the caller is told, no byte is spoiled, and all goes on afterwards."""

import pytest

from tests.crash.counts import LARGE
from tests.crash.faults import ERRORS, SCENARIOS, survey


def in_turn(number: int) -> tuple[int, ...]:
    """Return one error for each call: a handful in the ordinary run, where the large one has each call fail with each."""
    return (ERRORS[number % len(ERRORS)],)


@pytest.mark.timeout(600 if LARGE else 120)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_call_that_fails_once_loses_nothing_doubles_nothing_and_is_told_in_one_error(tmp_path, scenario):
    counts = survey(tmp_path, scenario, (lambda _: ERRORS) if LARGE else in_turn)

    assert counts.troubles == []
    assert (counts.lost, counts.doubled) == (0, 0)
    assert counts.kills > 5
