"""The queue and a dict beside it agree, whatever clients, people, workers and disks do in whatever order."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.crash.model import Queue


@pytest.mark.timeout(600)  # if it fails, it must have the time to find a short order that does
def test_any_order_of_steps_comes_to_what_a_dict_says(caplog):
    caplog.set_level("CRITICAL", "pmtq")

    run_state_machine_as_test(Queue, settings=settings(settings.default, stateful_step_count=30))
