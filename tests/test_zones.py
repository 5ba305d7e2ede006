"""Time zones by name, and the machine's own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from pmtq.exceptions import ImproperlyConfigured
from pmtq.zones import LOCAL, find_zone


@pytest.fixture
def in_oslo(monkeypatch):
    """A machine that stands in Norway."""
    monkeypatch.setenv("TZ", "Europe/Oslo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_zone_is_found_by_its_name():
    assert find_zone("Europe/Oslo") == ZoneInfo("Europe/Oslo")
    assert find_zone("utc") is UTC


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("Europe/Olso", "Did you mean 'Europe/Oslo'?"),
        ("oslo", "Did you mean 'Europe/Oslo'?"),
        ("9", "Write one such as 'Europe/Oslo', or None for UTC"),
        ("../etc/passwd", "Write one such as 'Europe/Oslo', or None for UTC"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest_there_is(name, remedy):
    with pytest.raises(ImproperlyConfigured) as caught:
        find_zone(name)

    assert str(caught.value) == f"there is no time zone {name!r}, and it was not set. {remedy}"


@pytest.mark.usefixtures("in_oslo")
@pytest.mark.parametrize(
    ("utc", "local", "fold", "name"),
    [
        ("2027-01-01T12:00:00+00:00", "2027-01-01T13:00:00+01:00", 0, "CET"),
        ("2027-07-01T12:00:00+00:00", "2027-07-01T14:00:00+02:00", 0, "CEST"),
        ("2027-10-31T00:30:00+00:00", "2027-10-31T02:30:00+02:00", 0, "CEST"),
        ("2027-10-31T01:30:00+00:00", "2027-10-31T02:30:00+01:00", 1, "CET"),
    ],
)
def test_local_time_knows_summer_and_the_hour_that_comes_twice(utc, local, fold, name):
    here = datetime.fromisoformat(utc).astimezone(LOCAL)

    assert (here.isoformat(), here.fold, here.tzname()) == (local, fold, name)
    assert here.astimezone(UTC).isoformat() == utc
