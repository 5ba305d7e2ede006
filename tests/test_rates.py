"""Rate limits as text, and the seconds between two starts that they mean."""

from __future__ import annotations

import pytest

from pmtq.exceptions import ImproperlyConfigured
from pmtq.rates import interval


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [
        ("10/s", 0.1),
        ("10/m", 6.0),
        ("30/m", 2.0),
        ("10/h", 360.0),
        ("2.5/m", 24.0),
        ("4", 0.25),
        (4, 0.25),
        (0.5, 2.0),
        (None, 0.0),
        (0, 0.0),
        ("", 0.0),
        ("0/m", 0.0),
    ],
)
def test_a_rate_is_the_seconds_from_one_start_to_the_next(rate, seconds):
    assert interval(rate) == seconds


@pytest.mark.parametrize("rate", ["10/x", "ten/m", "/m", "10 per minute", -3, "-3/m", "nan", "inf/s", True, [10]])
def test_a_rate_that_is_none_is_refused_with_the_forms_there_are(rate):
    with pytest.raises(ImproperlyConfigured) as caught:
        interval(rate)

    assert str(caught.value) == (
        f"rate limit {rate!r} is none, and was not set. Write starts per second, minute or hour as '10/s', '10/m' or "
        "'10/h', a bare number per second, or None for no limit"
    )
