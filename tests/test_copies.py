"""The copy of a worker that a task has forked ends with the status that the function asked for."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from pmtq.copies import end_copy

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX has fork")
CLAIM = SimpleNamespace(record=SimpleNamespace(function="tasks.split", task_id="t"))


@posix
@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (None, 0),
        (SystemExit(), 0),
        (SystemExit(3), 3),
        (SystemExit(-1), 255),
        (SystemExit(4294967295), 255),
        (SystemExit(2**64 + 7), 7),
        (SystemExit("no"), 1),
        (ValueError("no"), 1),
    ],
)
def test_a_copy_ends_with_the_status_that_the_system_makes_of_it(failure, status):
    child = os.fork()
    if child == 0:
        try:
            end_copy(CLAIM, failure)
        finally:
            os._exit(99)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
