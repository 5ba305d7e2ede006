"""A schedule says when a task that runs by the clock is to run next.

    >>> from datetime import datetime, UTC
    >>> crontab(minute=0, hour=7, day_of_week="mon-fri").next_after(datetime(2027, 1, 1, 12, tzinfo=UTC))
    datetime.datetime(2027, 1, 4, 7, 0, tzinfo=datetime.timezone.utc)

1. It answers one question, ``next_after(moment)``, the first planned time behind that moment, and remembers nothing.
2. An interval is time that passes. A crontab is what the clock on the wall shows, in the time zone of the app.
3. A time that the wall clock leaves out in spring (02:30) is as much later (03:30). One that it shows twice in autumn
   counts once, the first time; but what runs in every hour runs in both of these (datatracker.ietf.org/doc/html/rfc5545,
   section 3.3.5, has the rule without the exception).
4. Two planned times that fall on one moment are one.

Names and grammar are Celery's. It knows no task, no file, and no time but those it is told.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import product
from typing import Any, NamedTuple

from pmtq.clock import now as clock_now
from pmtq.crontab_fields import PARSERS, Spec, as_text, crontab_parser, in_words, require_a_date
from pmtq.current import app_in_use
from pmtq.exceptions import ImproperlyConfigured, ParseException

__all__ = [
    "BaseSchedule",
    "ParseException",
    "crontab",
    "crontab_parser",
    "from_text",
    "maybe_schedule",
    "schedstate",
    "schedule",
    "solar",
]

_DAY = timedelta(days=1)
_MIDNIGHT_SUN = 366
"""Days after which a solar event that has not come is not waited for."""


class schedstate(NamedTuple):  # noqa: N801  (Celery's name)
    """Whether a run is due now, and in how many seconds one should ask again."""

    is_due: bool
    next: float


class BaseSchedule:
    """What all schedules have in common. For one of your own, subclass it and define ``next_after``."""

    def __init__(self, nowfun: Callable[[], datetime] | None = None, app: Any = None) -> None:
        """Take ``nowfun`` to tell the time, and the app whose time zone counts; by default the current one."""
        self.nowfun = nowfun
        self.app = app
        self.tz: tzinfo | None = None
        """A time zone of its own, instead of the app's."""

    def next_after(self, moment: datetime) -> datetime:
        """Return the first planned time after ``moment``, in UTC; both know their zones."""
        raise NotImplementedError(
            f"{type(self).__name__} does not define next_after(moment), so it is not known when it runs. Nothing was planned. "
            "Give it one that returns the first time after moment, in UTC"
        )

    def last_until(self, now: datetime, first: datetime) -> datetime:
        """Return the last planned time that is not after ``now``, given that ``first`` is one."""
        while (following := self.next_after(first)) <= now:
            first = following
        return first

    def now(self) -> datetime:
        """Return the time, with its zone."""
        return self.nowfun() if self.nowfun else datetime.fromtimestamp(clock_now(), UTC)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is until the first run after ``last_run_at`` (naive: UTC); negative if it is overdue."""
        return self.next_after(_aware(last_run_at)) - _aware(self.now()).astimezone(UTC)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Say whether the first run after ``last_run_at`` (naive: UTC) is due, and in how many seconds to ask again."""
        now = _aware(self.now()).astimezone(UTC)
        planned = self.next_after(_aware(last_run_at))
        if planned > now:
            return schedstate(is_due=False, next=(planned - now).total_seconds())
        wait = (self.next_after(now) - now).total_seconds()
        deadline = self.deadline()
        return schedstate(is_due=deadline is None or (now - planned).total_seconds() <= deadline, next=wait)

    def deadline(self) -> float | None:
        """Return the seconds after which a run that was missed is left out; None for never."""
        return None

    def zone(self) -> tzinfo:
        """Return the time zone that counts."""
        if self.tz is not None:
            return self.tz
        zone: tzinfo = (self.app or app_in_use()).conf.zone
        return zone

    def in_words(self) -> str:
        """Say to a person when it runs."""
        return str(self)

    def __eq__(self, other: object) -> bool:
        """Say whether both plan the same times."""
        return self is other or (
            isinstance(other, BaseSchedule) and type(self) is type(other) and str(self) == str(other)
        )

    __hash__ = None  # type: ignore[assignment]  # as in Celery


class schedule(BaseSchedule):  # noqa: N801  (Celery's name)
    """Every so many seconds, counted from the run before."""

    def __init__(
        self,
        run_every: timedelta | float | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        """Take the interval in seconds or as a ``timedelta``.

        With ``relative`` it runs by the clock: at the full second, minute, hour or day, whichever is the largest that
        fits into the interval.
        """
        super().__init__(nowfun, app)
        if isinstance(run_every, int | float) and not isinstance(run_every, bool):
            run_every = timedelta(seconds=run_every)
        if not isinstance(run_every, timedelta) or run_every <= timedelta(0):
            raise ParseException(f"run_every={run_every!r} is no interval. Give seconds above 0, or a timedelta")
        self.run_every = run_every
        self.relative = relative

    @property
    def seconds(self) -> float:
        """The interval in seconds."""
        return self.run_every.total_seconds()

    @property
    def human_seconds(self) -> str:
        """The interval for people: ``1 min 30 s``."""
        return _span(self.run_every)

    def next_after(self, moment: datetime) -> datetime:
        """Return ``moment`` and the interval; with ``relative`` the full hour (or so) before that."""
        end = moment.astimezone(UTC) + self.run_every
        if not self.relative or self.run_every < timedelta(seconds=1):
            return end
        if self.run_every >= _DAY:
            wall = moment.astimezone(self.zone()).replace(tzinfo=None) + self.run_every
            return wall.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=self.zone()).astimezone(UTC)
        wall = end.astimezone(self.zone())
        past = timedelta(microseconds=wall.microsecond)
        if self.run_every >= timedelta(minutes=1):
            past += timedelta(seconds=wall.second)
        if self.run_every >= timedelta(hours=1):
            past += timedelta(minutes=wall.minute)
        return end - past

    def last_until(self, now: datetime, first: datetime) -> datetime:
        """Return the last planned time that is not after ``now``, given that ``first`` is one."""
        if self.relative:
            return super().last_until(now, first)
        return first + (now - first) // self.run_every * self.run_every

    def __str__(self) -> str:
        """Return it as it stands in ``schedule.json``: ``every 1 min 30 s``."""
        return f"every {self.human_seconds}{_BY_THE_CLOCK if self.relative else ''}"

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __eq__(self, other: object) -> bool:
        """Say whether the intervals are the same; one may be a ``timedelta``."""
        return self.run_every == (other.run_every if isinstance(other, schedule) else other)

    __hash__ = None


class crontab(BaseSchedule):  # noqa: N801  (Celery's name)
    """At certain minutes of certain hours and days, as in a line of ``crontab(5)``."""

    def __init__(
        self,
        minute: Spec = "*",
        hour: Spec = "*",
        day_of_week: Spec = "*",
        day_of_month: Spec = "*",
        month_of_year: Spec = "*",
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        """Take the fields: ``5``, ``"*/15"``, ``"8-17"``, ``"mon-fri"``, ``"1,15"``, ``{0, 30}``; Sunday is 0.

        A day must fit all of ``day_of_week``, ``day_of_month`` and ``month_of_year``. Raises ``ParseException``.
        """
        super().__init__(nowfun, app)
        given = {"minute": minute, "hour": hour, "day_of_month": day_of_month}
        given |= {"month_of_year": month_of_year, "day_of_week": day_of_week}
        self._numbers = {name: parser.parse(given[name]) for name, parser in PARSERS.items()}
        self._texts = {name: as_text(spec) for name, spec in given.items()}
        self.minute, self.hour = self._numbers["minute"], self._numbers["hour"]
        self.day_of_week, self.day_of_month = self._numbers["day_of_week"], self._numbers["day_of_month"]
        self.month_of_year = self._numbers["month_of_year"]
        require_a_date(self.day_of_month, self.month_of_year)
        self._times = [
            timedelta(hours=one, minutes=other) for one, other in product(sorted(self.hour), sorted(self.minute))
        ]
        """What a wall clock shows when it runs, from midnight on."""
        self._latest: tuple[date, tzinfo, list[datetime]] = (date.min, UTC, [])
        """The day that was asked about last, in which zone, and its planned times in UTC."""

    @classmethod
    def from_string(cls, line: str) -> crontab:
        """Read the five fields of ``crontab(5)``: minute, hour, day of month, month, day of week."""
        fields = line.split()
        if len(fields) != len(PARSERS):
            raise ParseException(
                f"{line!r} has {len(fields)} fields, and a crontab has five: minute, hour, day of the month, month, "
                "day of the week. Seven o'clock on weekdays is '0 7 * * mon-fri'"
            )
        minute, hour, day, month, weekday = fields
        return cls(minute, hour, weekday, day, month)

    def next_after(self, moment: datetime) -> datetime:
        """Return the first planned time after ``moment``."""
        zone, moment = self.zone(), moment.astimezone(UTC)
        _, zone_then, times = self._latest
        # Whoever asks most often asks about the same day; then the wall clock need not be looked at.
        if zone != zone_then or not times or not times[0] <= moment < times[-1]:
            times = self._first_times_after(moment, zone)
        return times[bisect_right(times, moment)]

    def _first_times_after(self, moment: datetime, zone: tzinfo) -> list[datetime]:
        """Return the planned times of the first day that has one after ``moment``."""
        days = self._days_from(moment.astimezone(zone).date())
        return next(times for day in days if (times := self._times_on(day, zone))[-1] > moment)

    def _days_from(self, day: date) -> Iterator[date]:
        """Yield the days that fit, from ``day`` on."""
        while True:
            if day.month not in self.month_of_year:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
                continue
            if day.day in self.day_of_month and day.isoweekday() % 7 in self.day_of_week:
                yield day
            day += _DAY

    def _times_on(self, day: date, zone: tzinfo) -> list[datetime]:
        """Return the planned times of a day, in their order; those of the latest day asked for are kept."""
        if self._latest[:2] != (day, zone):
            midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
            if midnight.utcoffset() == (midnight + _DAY).utcoffset():
                begin = midnight.astimezone(UTC)
                self._latest = (day, zone, [begin + time for time in self._times])
            else:
                self._latest = (day, zone, sorted(self._times_on_a_changed_day(midnight)))
        return self._latest[2]

    def _times_on_a_changed_day(self, midnight: datetime) -> set[datetime]:
        """Return when the wall clock shows the times of a day on which it is changed; see the rules above.

        Python reads a time that is left out with the offset before the change, and one that comes twice as the first.
        """
        walls = [midnight + time for time in self._times]
        moments = {wall.astimezone(UTC) for wall in walls}
        if len(self.hour) == 24:
            moments |= {wall.replace(fold=1).astimezone(UTC) for wall in walls if _comes_twice(wall)}
        return moments

    def deadline(self) -> float | None:
        """Return the setting ``beat_cron_starting_deadline``."""
        found: float | None = (self.app or app_in_use()).conf.seconds("beat_cron_starting_deadline")
        return found

    def in_words(self) -> str:
        """Say when it runs: ``at 07:00 on Monday to Friday``."""
        return in_words(self._texts, self._numbers)

    def __str__(self) -> str:
        """Return it as it stands in ``schedule.json``: ``crontab 0 7 * * mon-fri``."""
        return f"crontab {' '.join(self._texts[name] for name in PARSERS)}"

    def __repr__(self) -> str:
        return f"<{self} (m/h/dM/MY/d)>".replace("crontab", "crontab:", 1)

    def __eq__(self, other: object) -> bool:
        """Say whether both mean the same minutes, however they were written."""
        return isinstance(other, crontab) and self._numbers == other._numbers

    __hash__ = None


def _comes_twice(wall: datetime) -> bool:
    first, second = wall.utcoffset(), wall.replace(fold=1).utcoffset()
    return first is not None and second is not None and first > second


_SUN = {
    "dawn_astronomical": ("-18", True, "next_rising"),
    "dawn_nautical": ("-12", True, "next_rising"),
    "dawn_civil": ("-6", True, "next_rising"),
    "sunrise": ("-0:34", False, "next_rising"),
    "solar_noon": ("0", False, "next_transit"),
    "sunset": ("-0:34", False, "next_setting"),
    "dusk_civil": ("-6", True, "next_setting"),
    "dusk_nautical": ("-12", True, "next_setting"),
    "dusk_astronomical": ("-18", True, "next_setting"),
}
"""By event: degrees of the horizon, whether the sun's centre counts and not its edge, and ephem's word for it.

34 minutes of arc is how far the air lifts the sun when it is at the horizon; so the library must not lift it as well.
"""


class solar(BaseSchedule):  # noqa: N801  (Celery's name)
    """When the sun rises, sets, or is at another place in the sky, seen from a place on earth."""

    def __init__(
        self, event: str, lat: float, lon: float, nowfun: Callable[[], datetime] | None = None, app: Any = None
    ) -> None:
        """Take the event (``sunrise``, ``sunset``, ``solar_noon``, ``dawn_civil`` …), latitude and longitude in degrees.

        North and east are positive. Raises ``ParseException``, and ``ImproperlyConfigured`` if ephem is not installed.
        """
        super().__init__(nowfun, app)
        if event not in _SUN:
            raise ParseException(f"there is no solar event {event!r}. Take one of {', '.join(_SUN)}")
        for what, degrees, most in (("lat", lat, 90), ("lon", lon, 180)):
            if not -most <= degrees <= most:
                raise ParseException(f"{what}={degrees!r} is no place on earth. Give degrees from -{most} to {most}")
        self.event, self.lat, self.lon = event, lat, lon
        try:
            import ephem  # noqa: PLC0415  (only those who follow the sun need it)
        except ImportError:
            raise ImproperlyConfigured(
                f"the schedule {self} needs a library that knows where the sun is. Nothing was planned. "
                "Install it: pip install 'pmtq[solar]'"
            ) from None
        self._ephem = ephem

    def next_after(self, moment: datetime) -> datetime:
        """Return when it happens next, to the second; where the sun does not set for months, after these."""
        horizon, use_center, question = _SUN[self.event]
        observer = self._ephem.Observer()
        observer.lat, observer.lon, observer.horizon, observer.pressure = str(self.lat), str(self.lon), horizon, 0
        options = {} if question == "next_transit" else {"use_center": use_center}
        # An event is planned for the second in which it begins, and must not be found again from there.
        start = moment.astimezone(UTC).replace(tzinfo=None) + timedelta(seconds=1)
        for days in range(_MIDNIGHT_SUN):
            observer.date = self._ephem.Date(start + days * _DAY)
            try:
                found: datetime = getattr(observer, question)(self._ephem.Sun(), **options).datetime()
            except self._ephem.CircumpolarError:
                continue
            return found.replace(microsecond=0, tzinfo=UTC)
        raise ImproperlyConfigured(f"the schedule {self} never comes: there is no such moment within a year")

    def in_words(self) -> str:
        """Say when it runs."""
        return f"at {self.event.replace('_', ' ')}, seen from latitude {self.lat:g}, longitude {self.lon:g}"

    def __str__(self) -> str:
        """Return it as it stands in ``schedule.json``: ``solar sunset 59.9 10.7``."""
        return f"solar {self.event} {self.lat} {self.lon}"

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the library out when it is copied or sent."""
        return solar, (self.event, self.lat, self.lon, self.nowfun)


def maybe_schedule(value: Any, relative: bool = False, app: Any = None) -> Any:
    """Return the schedule that seconds, a ``timedelta`` or a text (see ``from_text``) stand for; schedules as they are.

    One that belongs to no app yet belongs to ``app`` from now on. None stays None. Raises ``ParseException``.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = from_text(value)
    elif not isinstance(value, BaseSchedule):
        value = schedule(value, relative)
    value.app = value.app or app
    return value


_BY_THE_CLOCK = " by the clock"
_UNITS = {
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)


def from_text(text: str) -> BaseSchedule:
    """Read what ``str(schedule)`` writes: ``every 10 s``, ``crontab 0 7 * * mon-fri``, ``solar sunset 59.9 10.7``.

    Also ``every 2 hours``, ``every minute``, a bare number of seconds, and a crontab without the word. Raises
    ``ParseException``.
    """
    word, _, rest = " ".join(text.split()).partition(" ")
    if word == "crontab":
        return crontab.from_string(rest)
    if word == "every":
        return schedule(_seconds(rest.removesuffix(_BY_THE_CLOCK), text), rest.endswith(_BY_THE_CLOCK))
    if word == "solar":
        return _solar(rest.split(), text)
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        return schedule(float(text))
    if len(text.split()) == len(PARSERS):
        return crontab.from_string(text)
    raise _unreadable(text)


def _solar(words: list[str], text: str) -> solar:
    try:
        event, lat, lon = words[0], float(words[1]), float(words[2])
    except (IndexError, ValueError):
        raise _unreadable(text) from None
    return solar(event, lat, lon)


def _seconds(span: str, text: str) -> float:
    """Return the seconds in ``1 h 30 min``, ``2 hours`` or ``hour``."""
    span = span if span[:1].isdigit() else f"1 {span}"
    parts = _SPAN.findall(span.lower())
    if not parts or _SPAN.sub("", span).strip() or not {unit for _, unit in parts} <= _UNITS.keys():
        raise _unreadable(text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _span(length: timedelta) -> str:
    """Return ``1 h 30 min``; less than a second as ``0.5 s``."""
    days, minutes = length.days, length.seconds // 60
    seconds = length.seconds % 60 + length.microseconds / 1e6
    parts = ((days, "d"), (minutes // 60, "h"), (minutes % 60, "min"), (round(seconds, 6), "s"))
    return " ".join(f"{number:.6f}".rstrip("0").rstrip(".") + f" {unit}" for number, unit in parts if number)


def _unreadable(text: str) -> ParseException:
    return ParseException(
        f"{text!r} is no schedule. Write one such as 'every 10 s', 'every 1 h 30 min', 'crontab 0 7 * * mon-fri' "
        "(minute, hour, day of the month, month, day of the week) or 'solar sunset 59.9 10.7'"
    )


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
