"""Bytes of any kind in the files: see ``fuzz`` for what is tried and what must hold."""

import pytest
from hypothesis import settings

from tests.crash import fuzz

EXAMPLES = {fuzz.every_intact_line_is_found: 300, fuzz.pieces_are_read_as_the_whole: 200}
"""Those that make no files are cheap."""


@pytest.mark.timeout(600)  # if it fails, it must have the time to find a short text that does
@pytest.mark.parametrize("check", fuzz.CHECKS, ids=lambda check: check.__name__)
def test_whatever_stands_in_a_file(check, caplog):
    caplog.set_level("CRITICAL", "pmtq")

    examples = EXAMPLES.get(check, settings.default.max_examples)

    fuzz.attempt(check, settings(settings.default, max_examples=examples))
