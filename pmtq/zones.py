"""Finds time zones by name: ``Europe/Oslo``.

1. A zone is a ``tzinfo`` that knows its summer time, so that seven o'clock is seven o'clock all the year.
2. Times in files are UTC whatever the zone; it is for people and for schedules.
"""

from __future__ import annotations

import difflib
import zoneinfo
from datetime import UTC, datetime, timedelta, tzinfo

from pmtq.exceptions import ImproperlyConfigured


def find_zone(name: str) -> tzinfo:
    """Return the zone called ``name``; raises ``ImproperlyConfigured`` with the nearest name there is."""
    if name.upper() == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ImproperlyConfigured(f"there is no time zone {name!r}, and it was not set. {_remedy(name)}") from None


class LocalZone(tzinfo):
    """The zone this machine is in, as the system tells it for each moment."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Return what local time is ahead of UTC at that local time."""
        return _fixed(moment).utcoffset() if moment else None

    def dst(self, moment: datetime | None) -> timedelta | None:  # noqa: ARG002  (the signature is datetime's)
        """Return None: the system tells the whole offset, not which part of it is summer time."""
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        """Return the short name in use at that local time, such as CEST."""
        return _fixed(moment).tzname() if moment else None

    def fromutc(self, moment: datetime) -> datetime:
        """Return the local time of a time in UTC; an hour that comes twice in a year has ``fold`` the second time."""
        there = moment.replace(tzinfo=UTC).astimezone()
        here = there.replace(tzinfo=self)
        return here if here.utcoffset() == there.utcoffset() else here.replace(fold=1)

    def __repr__(self) -> str:
        return "LocalZone()"


LOCAL = LocalZone()


def _fixed(moment: datetime) -> datetime:
    """Return the same local time with the offset that the system has for it."""
    return moment.replace(tzinfo=None).astimezone()


def _remedy(name: str) -> str:
    known = zoneinfo.available_timezones()
    near = difflib.get_close_matches(name, known, n=1) or [zone for zone in known if zone.endswith(f"/{name.title()}")]
    if near:
        return f"Did you mean {near[0]!r}?"
    if not known:
        return "This system has no table of them: pip install tzdata"
    return "Write one such as 'Europe/Oslo', or None for UTC"
