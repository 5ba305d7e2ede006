"""Schedules plan what Celery's plan, and a year of a crontab fires exactly when a calculation of another kind says."""

import copy
import pickle
import sys
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest

from pmtq import PMTQ
from pmtq.clock import moved_clock
from pmtq.crontab_fields import crontab_parser
from pmtq.exceptions import ImproperlyConfigured
from pmtq.schedules import BaseSchedule, ParseException, crontab, from_text, maybe_schedule, schedstate, schedule, solar
from tests.support import NOW

OSLO = ZoneInfo("Europe/Oslo")
NAMES = {"crontab": crontab, "schedule": schedule, "solar": solar, "timedelta": timedelta}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.fixture(autouse=True)
def oslo() -> PMTQ:
    """The current app, whose clocks show the time of Oslo."""
    return PMTQ("oslo", timezone="Europe/Oslo")


def fires(plan: BaseSchedule, start: str, end: str) -> list[str]:
    """Return what a wall clock in Oslo shows whenever ``plan`` fires after ``start``, up to ``end``."""
    found, moment = [], at(start)
    while (moment := plan.next_after(moment)) <= at(end):
        found.append(moment.astimezone(OSLO).strftime("%H:%M%z"))
    return found


# What Celery 5.7.0 answers, recorded: the schedule, now, the last run; is it due, seconds to the next look, and estimate.
RECORDED = [
    ("crontab()", "2027-03-01T12:00:30Z", "2027-03-01T12:00:00Z", False, 30.0, 30.0),
    ("crontab()", "2027-03-01T12:01:30Z", "2027-03-01T12:00:00Z", True, 30.0, -30.0),
    ("crontab(minute=0, hour='*/3')", "2027-03-01T12:00:30Z", "2027-03-01T09:30:00Z", True, 7170.0, -3630.0),
    ("crontab(minute='*/15', hour='8-17', day_of_week='mon-fri')", "2027-03-05T16:50:00Z", "2027-03-05T16:45:00Z", False, 223800.0, 223800.0),
    ("crontab(hour='*/2,*/3', minute=5)", "2027-03-05T16:50:00Z", "2027-03-05T16:45:00Z", False, 900.0, 900.0),
    ("crontab(minute=0, hour=0, day_of_month=13, day_of_week='fri')", "2027-03-01T12:00:00Z", "2027-03-01T11:00:00Z", False, 14205600.0, 14205600.0),
    ("crontab(minute=0, hour=0, day_of_month='29', month_of_year='feb')", "2027-03-01T12:00:00Z", "2027-03-01T11:00:00Z", False, 31489200.0, 31489200.0),
    ("crontab(minute=30, hour=7, month_of_year='*/3')", "2027-03-01T12:00:00Z", "2027-01-31T11:00:00Z", False, 2655000.0, 2655000.0),
    ("crontab(minute={0, 30}, hour=[9, 17], day_of_week='fri-mon')", "2027-03-01T12:00:00Z", "2027-03-01T11:00:00Z", False, 14400.0, 14400.0),
    ("crontab(minute='50-10/5', hour='22-2')", "2027-03-01T23:52:00Z", "2027-03-01T23:50:00Z", False, 180.0, 180.0),
    ("crontab(minute=0, hour=7)", "2027-03-01T12:00:00Z", "2027-03-01T05:59:59Z", True, 64800.0, -21600.0),
    ("crontab(minute=0, hour=7)", "2027-03-01T05:59:59Z", "2027-02-28T06:00:00Z", False, 1.0, 1.0),
    ("crontab(minute=30, hour=2)", "2027-03-28T00:00:00Z", "2027-03-27T01:30:00Z", False, 5400.0, 5400.0),
    ("crontab(minute=30, hour=2)", "2027-03-28T01:00:00Z", "2027-03-27T01:30:00Z", False, 1800.0, 1800.0),
    ("crontab(minute=30, hour=2)", "2027-03-28T01:30:00Z", "2027-03-27T01:30:00Z", True, 82800.0, 0.0),
    ("crontab(minute=30, hour=2)", "2027-03-28T02:00:00Z", "2027-03-28T01:30:00Z", False, 81000.0, 81000.0),
    ("crontab(minute=30, hour=2)", "2027-10-31T00:30:00Z", "2027-10-30T00:30:00Z", True, 90000.0, 0.0),
    ("crontab(minute=30, hour=2)", "2027-10-31T01:30:00Z", "2027-10-31T00:30:00Z", False, 86400.0, 86400.0),
    ("crontab(minute='0,30', hour='1-4')", "2027-03-28T00:45:00Z", "2027-03-28T00:30:00Z", False, 900.0, 900.0),
    ("crontab(minute='0,30', hour='1-4')", "2027-10-31T00:45:00Z", "2027-10-31T00:30:00Z", False, 4500.0, 4500.0),
    ("crontab(minute=0, hour=7)", "2027-03-28T04:00:00Z", "2027-03-27T06:00:00Z", False, 3600.0, 3600.0),
    ("schedule(10)", "2027-03-01T12:00:05Z", "2027-03-01T12:00:00Z", False, 5.0, 5.0),
    ("schedule(10)", "2027-03-01T12:00:10Z", "2027-03-01T12:00:00Z", True, 10.0, 0.0),
    ("schedule(10)", "2027-03-01T13:00:10Z", "2027-03-01T12:00:00Z", True, 10.0, -3600.0),
    ("schedule(10)", "2027-03-01T12:00:00Z", "2027-03-01T12:00:05Z", False, 15.0, 15.0),
    ("schedule(timedelta(minutes=1.5))", "2027-03-01T12:00:20.250Z", "2027-03-01T12:00:00Z", False, 69.75, 69.75),
    ("schedule(3600, True)", "2027-03-01T12:20:00Z", "2027-03-01T11:59:55Z", True, 2400.0, -1200.0),
    ("schedule(3600, True)", "2027-03-01T12:20:00Z", "2027-03-01T12:10:55Z", False, 2400.0, 2400.0),
    ("schedule(timedelta(minutes=5), True)", "2027-03-01T12:20:10.500Z", "2027-03-01T12:16:55Z", False, 49.5, 49.5),
    ("schedule(timedelta(days=1), True)", "2027-03-01T12:20:00Z", "2027-03-01T12:10:55Z", False, 38400.0, 38400.0),
    ("schedule(30, True)", "2027-03-01T12:20:00Z", "2027-03-01T12:19:55.300Z", False, 25.0, 25.0),
    ("solar('sunset', 59.9, 10.7)", "2027-03-01T12:00:00Z", "2027-03-01T11:00:00Z", False, 17035.067, 17035.067),
    ("solar('sunrise', 59.9, 10.7)", "2027-03-01T12:00:00Z", "2027-03-01T03:00:00Z", True, 65607.363, -20618.228),
    ("solar('solar_noon', 59.9, 10.7)", "2027-03-01T12:00:00Z", "2027-03-01T11:50:00Z", False, 84561.157, 84561.157),
    ("solar('dawn_civil', 59.9, 10.7)", "2027-03-01T12:00:00Z", "2027-03-01T11:50:00Z", False, 63109.802, 63109.802),
    ("solar('dusk_nautical', 59.9, 10.7)", "2027-03-01T12:00:00Z", "2027-03-01T11:50:00Z", False, 22425.03, 22425.03),
    ("solar('sunset', 78.2, 15.6)", "2027-06-01T12:00:00Z", "2027-06-01T11:50:00Z", False, 7295954.425, 7295954.425),
]  # fmt: skip


@pytest.mark.parametrize(("code", "now", "last", "due", "wait", "estimate"), RECORDED)
def test_schedules_answer_as_celerys_do(code, now, last, due, wait, estimate):
    plan = eval(code, NAMES)
    exactly = 1.0 if code.startswith("solar") else 0.001  # the sun is told to the second here

    with moved_clock(now):
        state, remaining = plan.is_due(at(last)), plan.remaining_estimate(at(last))

    assert (state.is_due, state.next, remaining.total_seconds()) == (
        due,
        pytest.approx(wait, abs=exactly),
        pytest.approx(estimate, abs=exactly),
    )


# The clock on the wall


def test_a_time_that_the_clock_leaves_out_in_spring_is_as_much_later():
    assert fires(crontab(minute=30, hour=2), "2027-03-27T00:00Z", "2027-03-29T12:00Z") == [
        "02:30+0100",
        "03:30+0200",
        "02:30+0200",
    ]


def test_a_time_that_the_clock_shows_twice_in_autumn_runs_the_first_time():
    assert fires(crontab(minute=30, hour=2), "2027-10-30T00:00Z", "2027-11-01T12:00Z") == [
        "02:30+0200",
        "02:30+0200",
        "02:30+0100",
    ]


def test_two_times_that_fall_on_one_moment_run_once():
    assert fires(crontab(minute=30, hour="2,3"), "2027-03-28T00:00Z", "2027-03-28T12:00Z") == ["03:30+0200"]


def test_what_runs_every_half_hour_does_so_while_the_clock_is_changed():
    spring = fires(crontab(minute="*/30"), "2027-03-28T00:00Z", "2027-03-28T02:00Z")
    autumn = fires(crontab(minute="*/30"), "2027-10-31T00:00Z", "2027-10-31T02:00Z")

    assert spring == ["01:30+0100", "03:00+0200", "03:30+0200", "04:00+0200"]
    assert autumn == ["02:30+0200", "02:00+0100", "02:30+0100", "03:00+0100"]


def test_seven_in_the_morning_is_seven_in_the_morning_all_the_year():
    times = fires(crontab(minute=0, hour=7), "2027-01-01T00:00Z", "2027-12-31T22:00Z")

    assert (len(times), {time[:5] for time in times}) == (365, {"07:00"})


def test_a_zone_of_its_own_counts_more_than_the_apps():
    plan = crontab(minute=0, hour=7)
    plan.tz = ZoneInfo("Asia/Kolkata")

    assert plan.next_after(at("2027-01-01T00:00Z")) == at("2027-01-01T01:30Z")


def test_the_zone_is_that_of_the_app_it_belongs_to():
    plan = maybe_schedule(crontab(minute=0, hour=7), app=PMTQ("utc"))

    assert plan.next_after(at("2027-01-01T00:00Z")) == at("2027-01-01T07:00Z")


def test_an_interval_of_a_day_is_a_day_also_when_the_clock_is_changed():
    assert schedule(timedelta(days=1)).next_after(at("2027-03-27T12:00Z")) == at("2027-03-28T12:00Z")


def test_a_day_by_the_clock_begins_at_midnight_also_after_the_long_night():
    plan = schedule(timedelta(days=1), relative=True)

    assert fires(plan, "2027-10-30T10:00Z", "2027-11-02T00:00Z") == ["00:00+0200", "00:00+0100", "00:00+0100"]


# A year


def a_year_of_minutes(zone: ZoneInfo, year: int) -> list[tuple[int, datetime, bool]]:
    """Return each hour of a year: when it begins, what the wall shows then, and whether it shows that a second time.

    The hour that the clock leaves out is there too, with what the wall would have shown.
    """
    hours, hour, before = [], datetime(year, 1, 1, tzinfo=zone).astimezone(UTC), None
    while (wall := hour.astimezone(zone)).year == year:
        offset = wall.utcoffset()
        if before is not None and offset > before:
            hours.append((int(hour.timestamp()), (hour + before).replace(tzinfo=None), False))
        hours.append((int(hour.timestamp()), wall.replace(tzinfo=None), wall.fold == 1))
        before, hour = offset, hour + timedelta(hours=1)
    return hours


def minute_by_minute(hours, minute, hour, weekdays, days, months) -> list[int]:
    found = set()
    for begin, wall, again in hours:
        on_day = wall.month in months and wall.day in days and wall.isoweekday() % 7 in weekdays
        if on_day and wall.hour in hour and (not again or len(hour) == 24):
            found |= {begin + 60 * one for one in range(60) if one in minute}
    return sorted(found)


ALL_HOURS, ALL_DAYS, ALL_WEEK, ALL_MONTHS = set(range(24)), set(range(1, 32)), set(range(7)), set(range(1, 13))
YEARS = [
    ({}, set(range(60)), ALL_HOURS, ALL_WEEK, ALL_DAYS, ALL_MONTHS),
    ({"minute": "*/15"}, {0, 15, 30, 45}, ALL_HOURS, ALL_WEEK, ALL_DAYS, ALL_MONTHS),
    ({"minute": 30, "hour": 2}, {30}, {2}, ALL_WEEK, ALL_DAYS, ALL_MONTHS),
    ({"minute": "0,59", "hour": "1-3"}, {0, 59}, {1, 2, 3}, ALL_WEEK, ALL_DAYS, ALL_MONTHS),
    ({"minute": 0, "hour": "*/2,*/3", "day_of_week": "sun"}, {0}, {h for h in ALL_HOURS if h % 2 == 0 or h % 3 == 0}, {0}, ALL_DAYS, ALL_MONTHS),
    ({"minute": 5, "hour": "22-3", "day_of_month": "31,1", "month_of_year": "mar,oct-dec"}, {5}, {22, 23, 0, 1, 2, 3}, ALL_WEEK, {31, 1}, {3, 10, 11, 12}),
    ({"minute": 0, "hour": 0, "day_of_month": "*/2", "day_of_week": "fri-mon"}, {0}, {0}, {5, 6, 0, 1}, set(range(1, 32, 2)), ALL_MONTHS),
]  # fmt: skip


@pytest.mark.parametrize("zone", ["Europe/Oslo", "America/Sao_Paulo", "America/Havana", "UTC"])
@pytest.mark.parametrize(("fields", "minute", "hour", "weekdays", "days", "months"), YEARS)
def test_a_year_of_a_crontab_fires_exactly_when_each_minute_is_looked_at(
    zone, fields, minute, hour, weekdays, days, months
):
    plan, year = crontab(**fields), 2016  # Sao Paulo changed its clocks at midnight then, as Havana does
    plan.tz = ZoneInfo(zone)
    end = datetime(year + 1, 1, 1, tzinfo=plan.tz).astimezone(UTC)

    moment, found = datetime(year, 1, 1, tzinfo=plan.tz).astimezone(UTC) - timedelta(seconds=1), []
    while (moment := plan.next_after(moment)) < end:
        found.append(int(moment.timestamp()))

    assert found == minute_by_minute(a_year_of_minutes(plan.tz, year), minute, hour, weekdays, days, months)


class CountingZone(tzinfo):
    """Oslo, counting how often it is asked."""

    asked = 0

    def utcoffset(self, moment):
        self.asked += 1
        return moment.replace(tzinfo=OSLO).utcoffset()

    def dst(self, moment):
        return moment.replace(tzinfo=OSLO).dst()

    def fromutc(self, moment):
        self.asked += 1
        return OSLO.fromutc(moment.replace(tzinfo=OSLO)).replace(tzinfo=self)


def test_the_wall_clock_is_looked_at_a_few_times_a_day_not_every_minute():
    plan = crontab()
    plan.tz = zone = CountingZone()

    fired, moment = 0, at("2027-06-01T00:00+0200") - timedelta(minutes=1)
    while (moment := plan.next_after(moment)) < at("2027-07-01T00:00+0200"):
        fired += 1

    assert (fired, zone.asked <= 10 * 30) == (30 * 24 * 60, True)


def test_the_day_that_is_kept_is_not_taken_for_another_in_another_zone():
    plan, moment = crontab(minute=0, hour="6-8"), at("2027-06-01T06:30Z")

    found = []
    for name in ("UTC", "Europe/Oslo", "UTC"):
        plan.tz = ZoneInfo(name)
        found.append(plan.next_after(moment))

    assert found == [at("2027-06-01T07:00Z"), at("2027-06-02T04:00Z"), at("2027-06-01T07:00Z")]


def test_the_last_run_until_now_is_found_in_one_step_for_an_interval_and_by_walking_for_a_crontab():
    first, now = at("2027-01-01T00:00:03Z"), at("2027-01-02T00:00:00Z")
    every, each = schedule(10), crontab(minute="*/7")

    assert every.last_until(now, first) == at("2027-01-01T23:59:53Z")
    assert each.last_until(now, each.next_after(first)) == at("2027-01-02T00:00:00Z")


# The grammar


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [
        ("*", set(range(60))),
        ("*/20", {0, 20, 40}),
        ("*/70", {0}),
        ("8-12", {8, 9, 10, 11, 12}),
        ("8-12/2", {8, 10, 12}),
        ("58-2", {58, 59, 0, 1, 2}),
        ("50-10/5", {50, 55, 0, 5, 10}),
        ("1,13,30-32,50-59/4", {1, 13, 30, 31, 32, 50, 54, 58}),
        (" 1, 2", {1, 2}),
        ("5-5", {5}),
        (7, {7}),
        ({1, 2}, {1, 2}),
        ((0, 15), {0, 15}),
        ([0, "30-31"], {0, 30, 31}),
        (range(3), {0, 1, 2}),
    ],
)
def test_a_field_is_read_as_celery_reads_it(spec, numbers):
    assert crontab(minute=spec).minute == crontab_parser().parse(spec) == numbers


@pytest.mark.parametrize(
    ("fields", "name", "numbers"),
    [
        ({"day_of_week": "mon-fri"}, "day_of_week", {1, 2, 3, 4, 5}),
        ({"day_of_week": "Fri-MON"}, "day_of_week", {5, 6, 0, 1}),
        ({"day_of_week": "sunday,tues"}, "day_of_week", {0, 2}),
        ({"day_of_week": ["mon", "tue"]}, "day_of_week", {1, 2}),
        ({"month_of_year": "jan-mar"}, "month_of_year", {1, 2, 3}),
        ({"month_of_year": "*/3"}, "month_of_year", {1, 4, 7, 10}),
        ({"day_of_month": "*/10"}, "day_of_month", {1, 11, 21, 31}),
        ({"hour": "*/2,*/3"}, "hour", {0, 2, 3, 4, 6, 8, 9, 10, 12, 14, 15, 16, 18, 20, 21, 22}),
    ],
)
def test_days_and_months_have_names(fields, name, numbers):
    assert getattr(crontab(**fields), name) == numbers


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minute": 60}, "minute='60' is no part of a crontab: it has 60 in it. It goes from 0 to 59."),
        ({"minute": "-1"}, "minute='-1' is no part of a crontab: it is none of 5, 5-10, *, */2 or 5-10/2. Put commas between several of these"),
        ({"day_of_month": 0}, "day_of_month='0' is no part of a crontab: it has 0 in it. It goes from 1 to 31."),
        ({"day_of_week": 7}, "day_of_week='7' is no part of a crontab: it has 7 in it. It goes from 0 to 6. Sunday is 0."),
        ({"minute": "*/0"}, "minute='*/0' is no part of a crontab: it has no step behind its slash. Write a number above 0 there: */2"),
        ({"minute": "*/"}, "minute='*/' is no part of a crontab: it has no step behind its slash. Write a number above 0 there: */2"),
        ({"minute": "5/10"}, "minute='5/10' is no part of a crontab: it has a step and no range. Write 5-59/10"),
        ({"minute": "1,,2"}, "minute='' is no part of a crontab: it is none of 5, 5-10, *, */2 or 5-10/2. Put commas between several of these"),
        ({"minute": "jan"}, "minute='jan' is no part of a crontab: it has 'jan' in it. Write numbers"),
        ({"day_of_week": "monn"}, "day_of_week='monn' is no part of a crontab: it has 'monn' in it. Write numbers or one of sun, mon, tue, wed, thu, fri, sat"),
        ({"hour": []}, "hour=[] is no part of a crontab: it is empty, so that it would never run. Write '*' for always"),
        ({"hour": 1.5}, "hour=1.5 is no part of a crontab: it is a float. Write a number, a text such as '*/15', or a list"),
        ({"hour": True}, "hour=True is no part of a crontab: it is a bool. Write a number, a text such as '*/15', or a list"),
        ({"day_of_month": 31, "month_of_year": "feb,apr"}, "this crontab would never run: there is no day 31 in February, April. Leave one of the two out"),
    ],
)  # fmt: skip
def test_a_crontab_that_cannot_be_meant_is_refused_saying_why(fields, message):
    with pytest.raises(ParseException) as refused:
        crontab(**fields)

    assert str(refused.value) == message
    assert isinstance(refused.value, ValueError)


# As text


@pytest.mark.parametrize(
    ("text", "shown", "words"),
    [
        ("every 10 s", "every 10 s", "every 10 s"),
        ("every minute", "every 1 min", "every 1 min"),
        ("every 90 seconds", "every 1 min 30 s", "every 1 min 30 s"),
        ("every 1 day 2h", "every 1 d 2 h", "every 1 d 2 h"),
        ("every 500 ms", "every 0.5 s", "every 0.5 s"),
        ("0.25", "every 0.25 s", "every 0.25 s"),
        ("every 2 hours by the clock", "every 2 h by the clock", "every 2 h by the clock"),
        ("crontab * * * * *", "crontab * * * * *", "every minute"),
        ("0 7 * * mon-fri", "crontab 0 7 * * mon-fri", "at 07:00 on Monday to Friday"),
        ("crontab */15 * * * *", "crontab */15 * * * *", "every 15 minutes"),
        ("crontab */7 * * * *", "crontab */7 * * * *", "at minute */7 of every hour"),
        ("crontab 5 * * * *", "crontab 5 * * * *", "at minute 5 of every hour"),
        ("crontab */5 8-17 1,15 * *", "crontab */5 8-17 1,15 * *", "every 5 minutes of hour 8-17 on day 1,15 of the month"),
        ("crontab 0,30 9,17 13 jan-mar 5,0", "crontab 0,30 9,17 13 jan-mar 5,0", "at 09:00, 09:30, 17:00, 17:30 on Sunday, Friday if it is day 13 of the month in January to March"),
        ("solar sunset 59.9 -10", "solar sunset 59.9 -10.0", "at sunset, seen from latitude 59.9, longitude -10"),
    ],
)  # fmt: skip
def test_a_schedule_can_be_written_down_read_again_and_put_into_words(text, shown, words):
    plan = from_text(text)

    assert (str(plan), plan.in_words(), from_text(str(plan)) == plan) == (shown, words, True)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "every", "every x", "every 10", "every 10 fortnights", "every 1 h 5", "0 7 * *", "solar sunset"],
)
def test_text_that_is_no_schedule_is_refused_with_examples(text):
    with pytest.raises(ParseException) as refused:
        from_text(text)

    assert str(refused.value) == (
        f"{text!r} is no schedule. Write one such as 'every 10 s', 'every 1 h 30 min', 'crontab 0 7 * * mon-fri' "
        "(minute, hour, day of the month, month, day of the week) or 'solar sunset 59.9 10.7'"
    )


def test_a_crontab_line_with_too_few_fields_says_what_the_five_are():
    with pytest.raises(
        ParseException, match=r"'0 7 \* \*' has 4 fields, and a crontab has five: minute, hour, day of the"
    ):
        crontab.from_string("0 7 * *")


@pytest.mark.parametrize("seconds", [0, -1, timedelta(0), None, True, "10"])
def test_an_interval_that_is_none_is_refused(seconds):
    with pytest.raises(ParseException, match=r"is no interval\. Give seconds above 0, or a timedelta"):
        schedule(seconds)


def test_seconds_timedeltas_and_text_stand_for_schedules_and_none_for_none():
    app = PMTQ("mine")
    plans = [
        maybe_schedule(value, app=app) for value in (10, 0.5, timedelta(minutes=1), "0 7 * * *", crontab(minute=5))
    ]

    assert [str(plan) for plan in plans] == [
        "every 10 s", "every 0.5 s", "every 1 min", "crontab 0 7 * * *", "crontab 5 * * * *"
    ]  # fmt: skip
    assert all(plan.app is app for plan in plans)
    assert maybe_schedule(60, relative=True).relative
    assert maybe_schedule(None) is None


def test_schedules_are_equal_if_they_plan_the_same():
    assert crontab(minute="*/30") == crontab(minute="0,30") != crontab(minute=30)
    assert schedule(60) == schedule(timedelta(minutes=1)) == timedelta(minutes=1) != schedule(61)
    assert solar("sunset", 59.9, 10.7) == solar("sunset", 59.9, 10.7) != solar("sunrise", 59.9, 10.7)
    assert crontab() != schedule(60)


def test_schedules_show_themselves_as_celerys_do():
    shown = [repr(plan) for plan in (crontab(minute=0, hour="*/3"), schedule(90), solar("sunset", 59.9, 10.7))]

    assert shown == [
        "<crontab: 0 */3 * * * (m/h/dM/MY/d)>",
        "<freq: 1 min 30 s>",
        "<solar: sunset at latitude 59.9, longitude: 10.7>",
    ]
    assert (schedule(90).seconds, schedule(90).human_seconds) == (90.0, "1 min 30 s")


@pytest.mark.parametrize("plan", [crontab(minute=5), schedule(10, relative=True), solar("sunset", 59.9, 10.7)])
def test_schedules_can_be_copied_and_sent(plan):
    assert (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))) == (plan, plan)


# Asking as Celery's users do


def test_a_last_run_without_a_zone_counts_as_utc():
    plan = schedule(60, nowfun=lambda: datetime(2027, 1, 1, 13, 0, 30, tzinfo=timezone(timedelta(hours=1))))

    assert plan.is_due(datetime(2027, 1, 1, 12)) == schedstate(is_due=False, next=30.0)  # noqa: DTZ001


def test_a_crontab_run_that_is_missed_by_more_than_the_deadline_is_not_due(oslo):
    plan = crontab(minute=0, hour=7)
    answers = []
    for deadline in (None, 18_000, 3600):
        oslo.conf.beat_cron_starting_deadline = deadline
        with moved_clock("2027-03-01T11:00:00Z"):
            answers.append(plan.is_due(at("2027-02-28T06:00:00Z")))

    assert answers == [(True, 68_400.0), (True, 68_400.0), (False, 68_400.0)]


def test_a_schedule_of_ones_own_needs_only_to_say_what_comes_next():
    class leap(BaseSchedule):
        def next_after(self, moment):
            return moment + timedelta(days=1461)

    with moved_clock(NOW):
        now = datetime.fromtimestamp(NOW, UTC)
        assert leap().is_due(now) == (False, 1461 * 86_400.0)
    with pytest.raises(
        NotImplementedError, match=r"BaseSchedule does not define next_after\(moment\), so .* Give it one"
    ):
        BaseSchedule().next_after(now)


# The sun


def test_every_sunset_of_a_year_is_found_and_none_twice():
    plan = solar("sunset", 59.9, 10.7)
    moments = [at("2026-12-31T23:00Z")]
    while (moment := plan.next_after(moments[-1])).astimezone(OSLO).year == 2027:
        moments.append(moment)

    assert len(moments) - 1 == 365
    assert {moment.astimezone(OSLO).timetuple().tm_yday for moment in moments[1:]} == set(range(1, 366))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("noon", 1, 1), "there is no solar event 'noon'. Take one of dawn_astronomical, dawn_nautical, dawn_civil, sunrise, solar_noon, sunset, dusk_civil, dusk_nautical, dusk_astronomical"),
        (("sunset", 91, 1), "lat=91 is no place on earth. Give degrees from -90 to 90"),
        (("sunset", 1, -181), "lon=-181 is no place on earth. Give degrees from -180 to 180"),
    ],
)  # fmt: skip
def test_a_place_or_an_event_that_is_not_there_is_refused(arguments, message):
    with pytest.raises(ParseException) as refused:
        solar(*arguments)

    assert str(refused.value) == message


def test_an_event_that_never_comes_is_an_error():
    with pytest.raises(ImproperlyConfigured, match="never comes: there is no such moment within a year"):
        solar("dusk_civil", -90.0, 0.0).next_after(at("2027-01-01T00:00Z"))


def test_who_follows_the_sun_without_the_library_is_told_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "ephem", None)

    with pytest.raises(ImproperlyConfigured) as refused:
        solar("sunset", 59.9, 10.7)

    assert str(refused.value) == (
        "the schedule solar sunset 59.9 10.7 needs a library that knows where the sun is. Nothing was planned. "
        "Install it: pip install 'pmtq[solar]'"
    )
