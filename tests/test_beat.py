"""The scheduler posts each run once, whoever dies, and goes on whatever a person writes into its file."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pmtq import PMTQ, beat, signals
from pmtq.beat import Scheduler, Service, beside_a_worker, run_beat, task_id_of, timetable_of
from pmtq.canvas import group
from pmtq.clock import moved_clock
from pmtq.exceptions import ImproperlyConfigured, OperationalError
from pmtq.lock import is_free
from pmtq.schedules import crontab, schedule
from pmtq.states import SUCCESS
from pmtq.timetable import Entry, Timetable, parse_time
from tests.support import eventually, life, read_lines

START = "2027-01-01T07:00:00Z"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def posted(app: PMTQ) -> list[tuple[str, object]]:
    """Return the times that were posted, and their arguments: the second of the day at which each was sent."""
    return [(line["sent"][11:19], line.get("params")) for line in read_lines(app.folder.queue())]


def ids(app: PMTQ) -> list[str]:
    return [line["task_id"] for line in read_lines(app.folder.queue())]


def entries(app: PMTQ) -> dict[str, Entry]:
    return timetable_of(app).read()


def edit(app: PMTQ, name: str, **changes: object) -> None:
    with timetable_of(app).change() as found:
        for key, value in changes.items():
            setattr(found[name], key, value)


@pytest.fixture
def clock():
    with moved_clock(START) as moved:
        yield moved


@pytest.fixture
def start(app):
    """A function that makes a scheduler which has read what there is, as if none had run before in this process."""

    def make() -> Scheduler:
        app.folder.make()
        scheduler = Scheduler(app, timetable_of(app))
        scheduler.look()
        return scheduler

    return make


def run_for(scheduler: Scheduler, clock, seconds: float, step: float = 1.0) -> None:
    """Move the clock on, looking and firing at every step."""
    for _ in range(int(seconds / step)):
        clock.advance(step)
        scheduler.look()
        while scheduler.tick() <= 0:
            pass


def die_before_noting(scheduler: Scheduler, monkeypatch) -> None:
    """Let it post what is due, and end before that is written down, as ``kill -9`` may have it."""
    with monkeypatch.context() as patch:
        patch.setattr(Timetable, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            scheduler.tick()
    scheduler.timetable.close()


# What runs when


def test_an_interval_runs_first_when_it_has_passed_and_then_on_its_own_grid(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2))
    scheduler = start()

    waits = [scheduler.tick()]
    run_for(scheduler, clock, 33)
    waits.append(scheduler.tick())

    assert posted(app) == [("07:00:10", [1, 2]), ("07:00:20", [1, 2]), ("07:00:30", [1, 2])]
    assert waits == [10.0, 7.0]


def test_a_late_look_does_not_shift_what_comes_after(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2))
    scheduler = start()

    clock.advance(13)
    wait = scheduler.tick()

    assert (posted(app), wait) == ([("07:00:13", [1, 2])], 7.0)


def test_a_crontab_runs_when_the_wall_clock_of_the_apps_zone_shows_it(folder, start, clock):
    app = PMTQ("oslo", broker=f"file://{folder.path}", timezone="Europe/Oslo")
    app.conf.beat_schedule = {"tidy": {"task": "shop.tidy", "schedule": crontab(minute=0, hour="9,10")}}
    scheduler = Scheduler(app, timetable_of(app))
    folder.make()
    scheduler.look()

    run_for(scheduler, clock, 3 * 3600, step=600)

    assert [sent for sent, _ in posted(app)] == ["08:00:00", "09:00:00"]
    assert entries(app)["tidy"] == Entry(
        task="shop.tidy",
        schedule="crontab 0 9,10 * * *",
        in_words="at 09:00, 10:00",
        made_by="code",
        last_run="2027-01-01T10:00:00+01:00",
        next_run="2027-01-02T09:00:00+01:00",
        last_task=task_id_of("tidy", at("2027-01-01T09:00Z")),
    )


def test_the_options_of_an_entry_go_into_the_record(app, add, start, clock):
    app.add_periodic_task(10, add, (1,), {"y": 2}, expires=30, priority=5)
    scheduler = start()

    clock.advance(10)
    scheduler.tick()

    [record] = read_lines(app.folder.path / "queue.p5.jsonl")
    assert {key: value for key, value in record.items() if value} == {
        "task_id": task_id_of("tasks.add(1, y=2)", at("2027-01-01T07:00:10Z")),
        "function": "tasks.add",
        "params": {"y": 2},
        "args": [1],
        "sent": "2027-01-01T07:00:10.000Z",
        "expires": "2027-01-01T07:00:40.000Z",
        "priority": 5,
    }


def test_a_tasks_own_queue_counts_and_a_task_of_another_program_is_posted_by_name(app, start, clock):
    @app.task(name="tasks.low", queue="low")
    def low():
        pass

    app.add_periodic_task(10, low)
    app.add_periodic_task(10, "elsewhere.tidy")
    scheduler = start()

    clock.advance(10)
    scheduler.tick()

    assert [line["function"] for line in read_lines(app.folder.queue("low"))] == ["tasks.low"]
    assert [line["function"] for line in read_lines(app.folder.queue())] == ["elsewhere.tidy"]


def test_tasks_added_when_the_app_is_configured_are_planned(app, add, start):
    @app.on_after_configure.connect
    def plan(sender, **kwargs):
        sender.add_periodic_task(10, add, (1, 2), name="ping")

    assert list(start().entries) == ["ping"]


def test_a_workflow_is_sent_whole(app, start, clock):
    sent = []

    class Chain:
        subtask_type = "chain"

        def clone(self, args, kwargs):
            return self if not args and not kwargs else None

        def apply_async(self, **options):
            sent.append(options)

        def __repr__(self):
            return "a | b"

    app.add_periodic_task(10, Chain(), queue="low")
    scheduler = start()
    clock.advance(10)
    scheduler.tick()

    assert sent == [{"queue": "low", "task_id": task_id_of("a | b", at("2027-01-01T07:00:10Z"))}]


def test_the_file_shows_what_is_planned_and_what_was_done(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    before = json.loads(timetable_of(app).path.read_text())
    clock.advance(10)
    scheduler.tick()
    after = json.loads(timetable_of(app).path.read_text())

    same = {
        "task": "tasks.add", "schedule": "every 10 s", "args": [1, 2],
        "missed": "once", "paused": False, "made_by": "code",
    }  # fmt: skip
    assert before == {
        "ping": same | {"last_run": None, "next_run": "2027-01-01T07:00:10Z", "since": "2027-01-01T07:00:00Z"}
    }
    assert after == {
        "ping": same
        | {"last_run": "2027-01-01T07:00:10Z", "next_run": "2027-01-01T07:00:20Z", "last_task": ids(app)[0]}
    }


# Restarts


def test_over_a_restart_no_run_is_made_twice_and_none_is_skipped(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    run_for(start(), clock, 25)
    run_for(start(), clock, 3)
    run_for(start(), clock, 12)

    assert [sent for sent, _ in posted(app)] == ["07:00:10", "07:00:20", "07:00:30", "07:00:40"]


@pytest.mark.parametrize(
    ("missed", "made"),
    [
        ("once", [("07:01:03", "07:01:00"), ("07:01:10", "07:01:10")]),
        ("skip", [("07:01:03", "07:01:00"), ("07:01:10", "07:01:10")]),
        ("all", [*(("07:01:03", f"07:00:{second}") for second in (20, 30, 40, 50)), ("07:01:03", "07:01:00"), ("07:01:10", "07:01:10")]),
    ],
)  # fmt: skip
def test_after_a_time_without_scheduler_the_entry_says_what_becomes_of_missed_runs(
    app, add, start, clock, missed, made
):
    app.add_periodic_task(10, add, (1, 2), name="ping", missed=missed)
    run_for(start(), clock, 10)
    clock.advance(52)
    run_for(start(), clock, 9)

    planned = {task_id_of("ping", at(f"2027-01-01T{time}Z")): time for _, time in made}
    found = [(line["sent"][11:19], planned[line["task_id"]]) for line in read_lines(app.folder.queue())[1:]]
    assert found == made


def test_missed_runs_that_are_long_past_are_left_out_by_skip_and_the_grid_stays(app, add, start, clock, caplog):
    app.add_periodic_task(10, add, (1, 2), name="ping", missed="skip")
    run_for(start(), clock, 10)
    clock.advance(56.5)
    scheduler = start()
    wait = scheduler.tick()

    assert (posted(app)[1:], wait) == ([], 3.5)
    assert caplog.messages[-1] == "ping: the run of 2027-01-01T07:01:00Z is left out, because it was missed"
    assert entries(app)["ping"].last_run == "2027-01-01T07:00:10Z"
    assert start().tick() == 3.5  # it is remembered over a restart


def test_a_crontab_run_older_than_the_deadline_is_left_out(app, add, start, clock):
    app.conf.beat_cron_starting_deadline = 60
    app.add_periodic_task(crontab(minute=30), add, (1, 2), name="late")
    app.add_periodic_task(crontab(minute=31), add, (1, 2), name="in time")
    start()
    clock.advance(31 * 60 + 30)

    scheduler = start()
    scheduler.tick()

    assert ids(app) == [task_id_of("in time", at("2027-01-01T07:31Z"))]
    assert entries(app)["late"].next_run == "2027-01-01T08:30:00Z"


def test_a_run_that_was_posted_and_not_noted_is_still_one_task(app, add, start, clock, work, monkeypatch):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    clock.advance(10)
    die_before_noting(scheduler, monkeypatch)
    noted = entries(app)["ping"].last_run

    clock.advance(1)
    start().tick()
    [first, again] = ids(app)
    work(app)

    assert (noted, first, life(app.folder, first)) == (None, again, [("STARTED", 1), ("SUCCESS", 1)])


def test_a_workflow_that_was_posted_and_not_noted_is_still_one_workflow(app, start, clock, work, monkeypatch):
    runs = []

    @app.task
    def step(*seen):
        runs.append(seen)
        return len(runs)

    app.add_periodic_task(10, group([step.s("a"), step.s("b")]) | step.s("c"), name="nightly")
    scheduler = start()
    clock.advance(10)
    die_before_noting(scheduler, monkeypatch)

    start().tick()
    posted_twice = len(ids(app))
    work(app)

    assert (posted_twice, runs) == (6, [("a",), ("b",), ([1, 2], "c")])
    assert app.AsyncResult(entries(app)["nightly"].last_task).get() == 3


def test_a_run_that_was_posted_done_and_cleared_is_not_posted_again(app, add, start, clock, work, monkeypatch):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    before = timetable_of(app).path.read_text()
    clock.advance(10)
    scheduler.tick()
    work(app)
    timetable_of(app).path.write_text(before)  # as a crash before the note would have left it
    cleared = posted(app)

    clock.advance(1)
    start().tick()

    task_id = task_id_of("ping", at("2027-01-01T07:00:10Z"))
    assert (cleared, posted(app)) == ([], [])
    assert app.AsyncResult(task_id).state == SUCCESS
    assert (entries(app)["ping"].last_run, entries(app)["ping"].last_task) == ("2027-01-01T07:00:10Z", task_id)


# Changes while it runs


def test_an_entry_added_by_hand_is_run(app, start, clock):
    scheduler = start()
    timetable_of(app).path.write_text('{"mine": {"task": "tasks.add", "schedule": "every 5 s", "args": [3, 4]}}')
    scheduler.look()
    run_for(scheduler, clock, 12)

    assert posted(app) == [("07:00:05", [3, 4]), ("07:00:10", [3, 4])]


def test_a_paused_entry_is_not_run_and_what_it_missed_is_not_made_up(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    run_for(scheduler, clock, 10)
    edit(app, "ping", paused=True)
    run_for(scheduler, clock, 33)
    paused = entries(app)["ping"].next_run
    edit(app, "ping", paused=False)
    run_for(scheduler, clock, 11)

    assert paused is None
    assert [sent for sent, _ in posted(app)] == ["07:00:10", "07:00:54"]


def test_a_wish_for_a_run_now_is_met_beside_the_planned_ones(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    clock.advance(3)
    edit(app, "ping", run_now="a5a5a5")
    scheduler.look()
    scheduler.tick()
    edit(app, "ping", run_now=True)
    scheduler.look()
    scheduler.tick()
    run_for(scheduler, clock, 8)

    assert [sent for sent, _ in posted(app)] == ["07:00:03", "07:00:03", "07:00:10"]
    assert (ids(app)[0], len(set(ids(app))), entries(app)["ping"].run_now) == ("a5a5a5", 3, False)


def test_a_schedule_that_is_changed_counts_from_the_last_run(app, start, clock):
    scheduler = start()
    with timetable_of(app).change() as found:
        found["mine"] = Entry(task="tasks.add", schedule="every 20 s", args=[1])
    scheduler.look()
    run_for(scheduler, clock, 22)
    edit(app, "mine", schedule="every 5 s")
    run_for(scheduler, clock, 9)

    assert [sent for sent, _ in posted(app)] == ["07:00:20", "07:00:25", "07:00:30"]


def test_of_what_a_schedule_that_is_edited_says_of_the_past_one_run_is_made_up(app, add, start, clock):
    app.folder.make()
    with timetable_of(app).change() as found:
        found["ping"] = Entry(task="tasks.add", schedule="every 1 h", missed="all", args=[1])
    scheduler = start()
    run_for(scheduler, clock, 3600, step=60)
    clock.advance(1800)
    edit(app, "ping", schedule="every 10 s")
    run_for(scheduler, clock, 11)

    assert [sent for sent, _ in posted(app)] == ["08:00:00", "08:30:01", "08:30:10"]


def test_of_what_a_schedule_that_is_another_one_in_the_code_says_of_the_past_one_run_is_made_up(app, add, start, clock):
    app.add_periodic_task(3600, add, (1,), name="ping", missed="all")
    run_for(start(), clock, 3600, step=60)
    clock.advance(1800)
    app.periodic.clear()
    app.add_periodic_task(10, add, (1,), name="ping", missed="all")
    run_for(start(), clock, 11)

    assert [sent for sent, _ in posted(app)] == ["08:00:00", "08:30:01", "08:30:10"]


def test_all_missed_runs_are_made_up_though_an_editor_brings_back_an_old_version(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping", missed="all")
    start().tick()
    clock.advance(100)
    scheduler = start()
    old = timetable_of(app).path.read_text()
    scheduler.tick()
    scheduler.tick()
    timetable_of(app).path.write_text(old)
    run_for(scheduler, clock, 1)

    assert len(set(ids(app))) == len(ids(app)) == 10


def test_runs_that_a_person_wants_made_again_are_new_ones_only_where_they_were_forgotten(app, add, start, clock, work):
    app.add_periodic_task(10, add, (1, 2), name="ping", missed="all")
    run_for(start(), clock, 60)
    edit(app, "ping", last_run="2027-01-01T07:00:10Z")
    run_for(start(), clock, 1)

    assert (len(ids(app)), len(set(ids(app)))) == (11, 6)  # each one under the id that it had


@pytest.mark.parametrize("restarted", [False, True])
def test_an_entry_that_is_due_once_in_a_week_runs_though_the_scheduler_is_started_anew_each_day(
    app, start, clock, restarted
):
    app.folder.make()
    ahead = {"last_run": "2028-01-01T00:00:00Z", "next_run": "2028-01-08T00:00:00Z"}  # by a clock that was a year ahead
    with timetable_of(app).change() as found:
        found["ping"] = Entry(task="tasks.add", schedule="every 7 d", args=[1], **ahead)
    scheduler = start()
    for _ in range(20):
        run_for(scheduler, clock, 86400, step=86400)
        if restarted:
            scheduler.timetable.close()
            scheduler = start()

    assert len(ids(app)) == 2


@pytest.mark.parametrize("restarted", [False, True])
def test_an_entry_that_ran_when_the_clock_was_a_year_ahead_runs_again_when_it_is_right(
    app, add, start, clock, restarted
):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    app.add_periodic_task(1, add, (3, 4), name="often")  # each of its runs has all entries planned anew
    scheduler = start()
    clock.advance(365 * 86400)
    scheduler.tick()
    clock.advance(-365 * 86400)
    if restarted:
        scheduler.timetable.close()
        scheduler = start()
    before = len(posted(app))
    run_for(scheduler, clock, 22)

    sent = [one for one, params in posted(app)[before:] if params == [1, 2]]
    assert sent == (["07:00:10", "07:00:20"] if restarted else ["07:00:11", "07:00:21"])


def test_a_clock_that_is_set_back_a_little_makes_no_run_come_twice(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    run_for(scheduler, clock, 12)
    clock.advance(-5)
    run_for(scheduler, clock, 15)

    assert [sent for sent, _ in posted(app)] == ["07:00:10", "07:00:20"]


def test_an_entry_that_left_the_code_is_dropped_and_one_made_by_hand_stays(app, add, start, caplog):
    caplog.set_level(logging.INFO)
    app.add_periodic_task(10, add, (1, 2), name="old")
    start()
    with timetable_of(app).change() as found:
        found["mine"] = Entry(task="tasks.add", schedule="every 20 s")
    app.periodic.clear()
    app.add_periodic_task(10, add, (1, 2), name="new")

    assert list(start().entries) == ["mine", "new"]
    assert list(entries(app)) == ["mine", "new"]
    assert [record.getMessage() for record in caplog.records if record.name == "pmtq.beat"] == [
        f"old is no longer in the code, and was removed from {timetable_of(app).path}"
    ]


def test_of_an_entry_of_the_code_the_code_says_what_runs_and_the_file_whether(app, add, start):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    start()
    edit(app, "ping", task="tasks.other", schedule="every 5 s", missed="all", paused=True, more={"why": "holidays"})

    start()

    entry = entries(app)["ping"]
    assert (entry.task, entry.schedule, entry.missed, entry.paused, entry.more) == (
        "tasks.add", "every 10 s", "all", True, {"why": "holidays"}
    )  # fmt: skip


def test_an_entry_made_by_hand_overrides_the_one_of_the_code(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    edit(app, "ping", schedule="every 5 s", args=[3, 4], made_by="hand")
    run_for(scheduler, clock, 6)

    assert posted(app) == [("07:00:05", [3, 4])]


def test_an_editor_that_brings_back_an_old_version_makes_no_run_come_twice(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    old = timetable_of(app).path.read_text()
    run_for(scheduler, clock, 30)
    timetable_of(app).path.write_text(old)
    run_for(scheduler, clock, 10)

    assert [sent for sent, _ in posted(app)] == ["07:00:10", "07:00:20", "07:00:30", "07:00:40"]


# What goes wrong


def test_a_file_that_cannot_be_read_is_told_once_and_the_entries_go_on(app, add, start, clock, caplog):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    run_for(scheduler, clock, 10)
    path = timetable_of(app).path
    good = path.read_text()
    path.write_text(good.replace(",", ""))
    run_for(scheduler, clock, 20)
    broken = path.read_text()
    path.write_text(good)
    run_for(scheduler, clock, 10)

    assert [sent for sent, _ in posted(app)] == ["07:00:10", "07:00:20", "07:00:30", "07:00:40"]
    assert broken == good.replace(",", "")
    assert entries(app)["ping"].last_run == "2027-01-01T07:00:40Z"
    told = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == len(set(told))
    assert told[0].startswith(
        f"{path} cannot be read: line 4, column 5: Expecting ',' delimiter. It was left as it is."
    )


def test_an_entry_with_a_slip_is_told_once_and_keeps_no_other_from_its_turn(app, add, start, clock, caplog):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    with timetable_of(app).change() as found:
        found["hand"] = Entry(task="tasks.add", schedule="every 10 s", args=[3, 4])
    path = timetable_of(app).path
    path.write_text(path.read_text().replace('"paused": false', '"paused": "no"'))
    scheduler = start()
    run_for(scheduler, clock, 20)
    shown = entries(app)["hand"].error
    path.write_text(path.read_text().replace('"paused": "no"', '"paused": false'))
    run_for(scheduler, clock, 10)

    why = "wrong as it stands: Expected `bool`, got `str` - at `$.paused`. It is not run until that is mended"
    assert (shown, entries(app)["hand"].error) == (why, "")
    assert [one for one in caplog.messages if "hand" in one] == [f"hand in {path} is {why}"]
    assert [params for _, params in posted(app)] == [[1, 2], [1, 2], [1, 2]]


def test_a_schedule_that_cannot_be_read_is_shown_in_the_entry_and_the_others_run(app, add, start, clock, caplog):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    with timetable_of(app).change() as found:
        found["mine"] = Entry(task="tasks.add", schedule="soon", args=[1])
    run_for(scheduler, clock, 10)
    error = entries(app)["mine"].error
    edit(app, "mine", schedule="every 5 s")
    run_for(scheduler, clock, 6)

    assert error.startswith("'soon' is no schedule. Write one such as 'every 10 s'")
    assert [message for message in caplog.messages if "soon" in message] == [f"mine is not run: {error}"]
    assert [sent for sent, _ in posted(app)] == ["07:00:10", "07:00:16"]
    assert entries(app)["mine"].error == ""


def test_a_schedule_of_ones_own_that_raises_holds_up_nobody_else(app, add, start, clock, caplog):
    class Odd(schedule):
        def next_after(self, moment):
            raise ZeroDivisionError("never mind")

    app.add_periodic_task(Odd(10), add, (1, 2), name="odd")
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    run_for(scheduler, clock, 10)

    assert [sent for sent, _ in posted(app)] == ["07:00:10"]
    assert (entries(app)["odd"].error, caplog.messages) == ("never mind", ["odd is not run: never mind"])


def test_an_entry_whose_times_were_deleted_begins_anew(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    clock.advance(4)
    edit(app, "ping", since="")
    scheduler.look()
    run_for(scheduler, clock, 12)
    edit(app, "ping", last_run=None, next_run=None)
    scheduler.look()
    run_for(scheduler, clock, 12)

    assert [sent for sent, _ in posted(app)] == ["07:00:14", "07:00:26"]


def test_a_call_that_can_never_be_posted_is_shown_in_the_entry_and_tried_at_its_next_time(app, start, clock, caplog):
    @app.task(name="tasks.none")
    def none():
        pass

    app.add_periodic_task(10, none, (1,), name="wrong")
    app.add_periodic_task(10, none, name="right")
    scheduler = start()
    run_for(scheduler, clock, 20)

    wrong = "TypeError: tasks.none() too many positional arguments. Nothing was queued."
    assert entries(app)["wrong"].error == wrong
    assert caplog.messages == [f"wrong cannot be posted: {wrong}"] * 2
    assert [line["function"] for line in read_lines(app.folder.queue())] == ["tasks.none"] * 2


def test_a_run_that_a_full_disk_refused_is_posted_when_there_is_room(app, add, start, clock, monkeypatch):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    clock.advance(10)
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda _descriptor, _data: 0)
        with pytest.raises(OperationalError):
            scheduler.tick()
    refused = posted(app)
    scheduler.tick()

    assert (refused, [sent for sent, _ in posted(app)]) == ([], ["07:00:10"])


def test_what_the_code_declares_wrongly_stops_the_start(app):
    app.conf.beat_schedule = {"tidy": {"task": "shop.tidy"}}

    with pytest.raises(ImproperlyConfigured, match="the periodic task 'tidy' has no 'schedule'"):
        Service(app).start()


# Who fires


@pytest.fixture
def serve(app):
    """A function that runs a service in a thread until the end of the test, or until its event is set."""
    running = []

    def start(**options) -> Service:
        service = Service(app, **options)
        thread = threading.Thread(target=service.start)
        running.append((service, thread))
        thread.start()
        return service

    yield start
    for service, thread in running:
        service.stop()
        thread.join()


def test_of_several_one_fires_and_when_it_ends_another_takes_over(app, add, serve):
    app.add_periodic_task(0.2, add, (1, 2), name="often")
    first = serve()
    assert eventually(lambda: first.scheduler)
    second = serve()
    assert eventually(lambda: len(ids(app)) > 2)
    assert second.scheduler is None
    first.stop()
    assert eventually(lambda: second.scheduler)
    before = len(ids(app))
    assert eventually(lambda: len(ids(app)) > before + 2)

    planned = [line["task_id"] for line in read_lines(app.folder.queue())]
    assert len(planned) == len(set(planned))


def test_a_clock_that_is_moved_wakes_it(app, add, serve):
    with moved_clock(START) as clock:
        app.add_periodic_task(3600, add, (1, 2), name="hourly")
        service = serve()
        assert eventually(lambda: service.scheduler and service.scheduler.entries)
        clock.advance(3600)
        assert eventually(lambda: ids(app))

    assert posted(app) == [("08:00:00", [1, 2])]


def test_an_edit_is_seen_at_once(app, serve):
    service = serve()
    assert eventually(lambda: service.scheduler)
    with timetable_of(app).change() as found:
        found["mine"] = Entry(task="tasks.add", schedule="every 1 h", args=[1], run_now="a5a5a5")

    assert eventually(lambda: ids(app) == ["a5a5a5"])


def test_the_lock_says_who_fires(app, serve):
    service = serve()
    path = service.timetable.leadership.path
    assert eventually(lambda: service.scheduler)

    assert json.loads(path.read_text())["pid"] == os.getpid()
    assert (path.name, is_free(path)) == ("schedule.json.lock", False)


def test_one_whose_lock_was_removed_takes_it_again_or_stands_by(app, add, serve):
    app.add_periodic_task(0.1, add, (1, 2), name="often")
    service = serve()
    path = service.timetable.leadership.path
    assert eventually(lambda: service.scheduler)
    path.unlink()

    assert eventually(lambda: path.exists() and not is_free(path))


def test_the_file_may_stand_elsewhere(app, add, serve, tmp_path):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    elsewhere = tmp_path / "elsewhere" / "plan.json"
    serve(schedule_filename=elsewhere)
    assert eventually(elsewhere.exists)
    app.conf.beat_schedule_filename = str(tmp_path / "other.json")

    assert list(Timetable(elsewhere).read()) == ["ping"]
    assert timetable_of(app).path == tmp_path / "other.json"


def test_receivers_are_told_that_it_has_begun_and_whether_it_is_embedded(app, serve):
    told = []

    def hear(signal, sender, **_):
        told.append((signal.name, sender))

    signals.beat_init.connect(hear)
    signals.beat_embedded_init.connect(hear)
    service = serve()
    assert eventually(lambda: service.scheduler)
    stop = threading.Event()
    stop.set()
    run_beat(app, stop)

    assert [name for name, _ in told] == ["beat_init", "beat_init", "beat_embedded_init"]
    assert (told[0][1], type(told[1][1])) == (service, Service)


def test_something_unexpected_is_logged_and_it_goes_on(app, add, serve, monkeypatch, caplog):
    app.add_periodic_task(0.1, add, (1, 2), name="often")
    monkeypatch.setattr(beat, "SLOW_POLL", 0.01)
    tick, left = Scheduler.tick, [ValueError("boo"), OperationalError("full."), None]
    monkeypatch.setattr(Scheduler, "tick", lambda self: _raise(left.pop(0)) if left and left[0] else tick(self))
    serve()

    assert eventually(lambda: ids(app))
    assert caplog.messages[:2] == ["The scheduler met something unexpected, and goes on", "full. Trying again."]


def _raise(error: Exception) -> None:
    raise error


def test_beside_a_worker_what_the_code_declares_wrongly_is_only_logged(app, caplog):
    app.conf.beat_schedule = {"tidy": {"task": "shop.tidy"}}

    run_beat(app, threading.Event())

    assert caplog.messages[-1].startswith("No periodic task is posted here: the periodic task 'tidy' has no 'schedule'")


@pytest.mark.parametrize("in_child", [False, True])
def test_beside_a_worker_it_runs_in_a_thread_or_in_a_process_of_its_own(app, add, in_child):
    app.add_periodic_task(0.1, add, (1, 2), name="often")
    before = threading.active_count()
    with beside_a_worker(app, in_child=in_child):
        assert eventually(lambda: len(ids(app)) > 1)
        pid = json.loads(app.folder.path.joinpath("schedule.json.lock").read_text())["pid"]
        more = threading.active_count() > before
    assert (pid == os.getpid(), more) == (not in_child, not in_child)
    assert is_free(app.folder.path / "schedule.json.lock")


SCHEDULER = """
import sys
from pmtq import PMTQ
from pmtq.beat import Service

app = PMTQ("tasks", broker=f"file://{sys.argv[1]}")
app.add_periodic_task(0.1, "tasks.add", (1, 2), name="often", missed="all")
Service(app).start()
"""


def _number(lock: Path) -> int:
    """Return the number of the process that wrote into the lock's file last; 0 while another is just writing."""
    return int((re.search(r"\d+", lock.read_text()) or "0")[0])


def test_when_the_one_that_fires_is_killed_another_goes_on_within_a_second_and_no_run_is_lost(app, tmp_path):
    program = tmp_path / "scheduler.py"
    program.write_text(SCHEDULER)
    running = [subprocess.Popen([sys.executable, program, app.folder.path]) for _ in range(3)]
    lock = app.folder.path / "schedule.json.lock"
    try:
        for left in (3, 2):
            seen = len(ids(app))
            assert eventually(lambda seen=seen: len(ids(app)) > seen + 5)
            who = _number(lock)
            [killed] = [one for one in running if one.pid == who]
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            running.remove(killed)
            assert eventually(lambda who=who: _number(lock) != who, 1.0), f"{left - 1} stood by and none took over"
        seen = len(ids(app))
        assert eventually(lambda: len(ids(app)) > seen + 5)
    finally:
        for one in running:
            one.kill()
            one.wait()

    made = list(dict.fromkeys(ids(app)))  # a run that was posted twice is one task
    last = parse_time(timetable_of(app).read()["often"].last_run)
    noted = made.index(task_id_of("often", last))
    planned = [task_id_of("often", last - back * timedelta(seconds=0.1)) for back in range(noted, -1, -1)]
    assert made[: noted + 1] == planned
    assert len(made) - len(planned) in {0, 1}  # the last one may have been killed before it noted what it posted


def test_an_edit_that_is_saved_while_a_run_is_noted_is_kept_and_the_run_is_noted(app, add, start, clock, monkeypatch):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    note, edits = Scheduler._note_run, iter([True])

    def saved_meanwhile(self, entry, run):
        note(self, entry, run)
        if next(edits, None):
            path = timetable_of(app).path
            path.write_text(
                path.read_text().replace("{", '{"mine": {"task": "tasks.add", "schedule": "every 1 h"},', 1)
            )

    monkeypatch.setattr(Scheduler, "_note_run", saved_meanwhile)

    run_for(scheduler, clock, 10)

    found = entries(app)
    assert (sorted(found), found["ping"].last_run) == (["mine", "ping"], "2027-01-01T07:00:10Z")


def test_a_queue_that_cannot_be_written_keeps_no_other_entry_from_its_turn(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping", queue="low")
    app.add_periodic_task(11, add, (3, 4), name="pong")
    scheduler = start()
    app.folder.make()
    app.folder.queue("low").symlink_to("/dev/null")
    clock.advance(12)

    with pytest.raises(OperationalError, match=r"queue\.low\.jsonl"):
        scheduler.tick()
    others = [line.get("params") for line in read_lines(app.folder.queue())]
    app.folder.queue("low").unlink()
    scheduler.tick()

    assert others == [[3, 4]]
    assert [line.get("params") for line in read_lines(app.folder.queue("low"))] == [[1, 2]]


def test_a_link_in_the_place_of_the_file_stops_no_entry(app, add, start, clock):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    path = timetable_of(app).path
    moved = path.rename(path.with_name("elsewhere.json"))
    path.symlink_to(moved)

    run_for(scheduler, clock, 20)

    assert [sent for sent, _ in posted(app)] == ["07:00:10", "07:00:20"]
    assert path.is_symlink()


def test_a_run_that_is_wished_for_and_cannot_be_posted_says_why(app, add, start, clock):
    app.add_periodic_task(3600, add, (1, 2, 3), name="ping")
    scheduler = start()
    edit(app, "ping", run_now="abc")
    scheduler.look()

    scheduler.tick()

    entry = entries(app)["ping"]
    assert (entry.run_now, entry.last_task) == (False, "")
    assert entry.error.startswith("TypeError: tasks.add(x, y=0) too many positional arguments")
    with pytest.raises(TypeError, match="too many positional arguments"):
        app.AsyncResult("abc").get(timeout=0)  # whoever wished for it waits for this id


# What cannot be noted, and what fails on the way


def full_disk(*_):
    raise OperationalError("cannot append to schedule.json.new: no space left")


@pytest.mark.parametrize("wish", [True, "a5a5a5"])
def test_what_was_posted_and_cannot_be_noted_is_posted_once(app, add, start, clock, monkeypatch, wish):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    app.add_periodic_task(3600, add, (3, 4), name="wished")
    scheduler = start()
    edit(app, "wished", run_now=wish)
    with monkeypatch.context() as patch:
        patch.setattr(Timetable, "_write", full_disk)
        clock.advance(10)
        with suppress(OperationalError):
            scheduler.look()
        for _ in range(4):
            with pytest.raises(OperationalError):
                scheduler.tick()
    run_for(scheduler, clock, 1)

    assert sorted(params for _, params in posted(app)) == [[1, 2], [3, 4]]
    assert (entries(app)["ping"].last_run, entries(app)["wished"].run_now) == ("2027-01-01T07:00:10Z", False)


def test_entries_run_at_their_times_though_nothing_can_be_noted(app, add, start, clock, monkeypatch):
    app.add_periodic_task(10, add, (1, 2), name="ping")
    scheduler = start()
    with monkeypatch.context() as patch:
        patch.setattr(Timetable, "_write", full_disk)
        for _ in range(35):
            clock.advance(1)
            with suppress(OperationalError):
                scheduler.tick()
    run_for(scheduler, clock, 1)

    assert [sent for sent, _ in posted(app)] == ["07:00:10", "07:00:20", "07:00:30"]
    assert entries(app)["ping"].last_run == "2027-01-01T07:00:30Z"


def test_a_wish_in_a_file_that_is_unreadable_for_a_while_is_granted_once(app, add, start, clock):
    app.add_periodic_task(3600, add, (1, 2), name="ping")
    scheduler = start()
    edit(app, "ping", run_now="a5a5a5")
    scheduler.look()
    path = timetable_of(app).path
    good = path.read_text()
    path.write_text("{")
    run_for(scheduler, clock, 3)
    path.write_text(good)
    run_for(scheduler, clock, 3)

    assert (ids(app), entries(app)["ping"].run_now) == (["a5a5a5"], False)


def test_a_wish_without_an_id_is_one_wish_though_an_editor_saves_meanwhile(app, add, start, clock, monkeypatch):
    app.add_periodic_task(3600, add, (1, 2), name="ping")
    scheduler = start()
    edit(app, "ping", run_now=True)
    write, path = Timetable._write, timetable_of(app).path

    def beside_an_editor(timetable, data):
        monkeypatch.setattr(Timetable, "_write", write)
        path.write_text(path.read_text() + "\n")
        write(timetable, data)

    monkeypatch.setattr(Timetable, "_write", beside_an_editor)
    run_for(scheduler, clock, 3)

    assert (len(ids(app)), entries(app)["ping"].run_now) == (1, False)


@pytest.mark.parametrize("missed", ["once", "skip", "all"])
def test_a_workflow_whose_posting_fails_in_the_middle_is_made_whole_when_that_is_possible(
    app, add, start, clock, work, missed
):
    app.add_periodic_task(10, add.s(1, 1).set(queue="shut") | add.s(2), name="ping", missed=missed)
    scheduler = start()
    app.folder.queue("shut").mkdir()
    for _ in range(30):
        clock.advance(1)
        scheduler.look()
        with suppress(OperationalError):
            scheduler.tick()
    app.folder.queue("shut").rmdir()
    run_for(scheduler, clock, 1)
    lasts = set(ids(app))
    work(app, queues=("celery", "shut"))

    assert {app.AsyncResult(one).state for one in lasts} == {SUCCESS}


@pytest.mark.parametrize("how", ["wish", "group", "chain"])
def test_a_run_that_was_posted_run_and_cleared_before_it_was_noted_is_not_made_again(
    app, start, clock, work, monkeypatch, how
):
    ran = []
    app.task(name="tasks.mark")(ran.append)
    mark = app.tasks["tasks.mark"]
    calls = {"wish": mark.s(1), "group": group([mark.s(1), mark.s(2)]), "chain": mark.si(1) | mark.si(2)}
    app.add_periodic_task(10, calls[how], name="ping")
    scheduler = start()
    if how == "wish":
        edit(app, "ping", run_now="a5a5a5")
        scheduler.look()
    else:
        clock.advance(10)
    die_before_noting(scheduler, monkeypatch)
    work(app)
    before = list(ran)
    start().tick()
    work(app)

    assert (ran, before) == (before, [1] if how == "wish" else [1, 2])


def test_a_schedule_that_raises_when_it_fires_holds_up_nobody_else(app, add, start, clock, caplog):
    class Odd(schedule):
        def deadline(self):
            raise RuntimeError("odd")

    app.add_periodic_task(Odd(10), add, (1, 2), name="a")
    app.add_periodic_task(5, add, (3, 4), name="b")
    app.add_periodic_task(10, add, (5, 6), name="c")
    scheduler = start()
    run_for(scheduler, clock, 11)

    assert [params for _, params in posted(app)] == [[3, 4], [3, 4], [5, 6]]
    assert entries(app)["a"].error == "RuntimeError: odd"
    assert caplog.messages.count("a cannot be run: RuntimeError: odd") == 1
