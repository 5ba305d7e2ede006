"""``schedule.json`` can be read and edited by a person; nothing they wrote is thrown away, and nothing is half written."""

import json
import os
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pmtq.exceptions import ImproperlyConfigured, OperationalError
from pmtq.timetable import EditedMeanwhile, Entry, Timetable, parse_time, text_of

PING = """{
  "ping": {
    "task": "pinger.ping",
    "schedule": "every 10 s",
    "args": ["http://localhost", {"deep": [1, 2]}],
    "options": {"expires": 10},
    "missed": "skip",
    "paused": false,
    "made_by": "code",
    "last_run": "2027-01-01T07:00:00Z",
    "next_run": "2027-01-01T07:00:10Z",
    "last_task": "45bc8d0ae7c9f8e810e8d",
    "comment": "asked for by Ada; æ and ø"
  }
}
"""


@pytest.fixture
def timetable(tmp_path):
    return Timetable(tmp_path / "queue_dir" / "schedule.json")


def test_where_there_is_no_file_there_are_no_entries_and_none_is_made(timetable):
    with timetable.change() as entries:
        assert entries == {}

    assert not timetable.path.exists()
    assert timetable.read() == {}


def test_what_was_written_is_read_again_to_the_letter_unknown_keys_too(timetable):
    timetable.path.parent.mkdir()
    timetable.path.write_text(PING)

    entry = timetable.read()["ping"]
    with timetable.change() as entries:
        entries["ping"].paused = True
        entries["ping"].paused = False
        entries["ping"].next_run = None
    with timetable.change() as entries:
        entries["ping"].next_run = entry.next_run

    assert timetable.path.read_text() == PING
    assert entry == Entry(
        task="pinger.ping",
        schedule="every 10 s",
        args=["http://localhost", {"deep": [1, 2]}],
        options={"expires": 10},
        missed="skip",
        made_by="code",
        last_run="2027-01-01T07:00:00Z",
        next_run="2027-01-01T07:00:10Z",
        last_task="45bc8d0ae7c9f8e810e8d",
        more={"comment": "asked for by Ada; æ and ø"},
    )


def test_a_person_needs_to_write_only_the_task_and_its_schedule(timetable):
    timetable.path.parent.mkdir()
    timetable.path.write_text('{"tidy": {"task": "shop.tidy", "schedule": 60}}')

    assert timetable.read() == {"tidy": Entry(task="shop.tidy", schedule=60)}


def test_what_says_nothing_is_shown_only_where_it_may_be_set(timetable):
    with timetable.change() as entries:
        entries["tidy"] = Entry(task="shop.tidy", schedule="every 1 min")

    assert timetable.path.read_text() == (
        '{\n  "tidy": {\n    "task": "shop.tidy",\n    "schedule": "every 1 min",\n    "missed": "once",\n'
        '    "paused": false,\n    "made_by": "hand",\n    "last_run": null,\n    "next_run": null\n  }\n}\n'
    )


def test_the_last_entry_can_be_removed(timetable):
    with timetable.change() as entries:
        entries["tidy"] = Entry(task="shop.tidy", schedule="every 1 min")
    with timetable.change() as entries:
        del entries["tidy"]

    assert (timetable.path.read_text(), timetable.read()) == ("{}\n", {})


def test_a_file_that_was_not_changed_is_not_written(timetable):
    with timetable.change() as entries:
        entries["tidy"] = Entry(task="shop.tidy", schedule="every 1 min")
    before = timetable.path.stat()

    with timetable.change() as entries:
        entries["tidy"].paused = False

    assert timetable.path.stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"ping": {"task": "a",}}', "line 1, column 23: Expecting property name enclosed in double quotes"),
        ('{\n"ping": {"task": "a"\n"schedule": 1}}', "line 3, column 1: Expecting ',' delimiter"),
        ("[]", "it holds a list and no object {…} of entries by name"),
        ('{"ping": {"task": "a", "schedule": 1}, "ping": {"task": "b", "schedule": 1}}', "the name 'ping' stands twice in one place"),
    ],
)  # fmt: skip
def test_a_slip_of_the_pen_is_told_with_its_place_and_the_file_is_left_alone(timetable, text, why):
    timetable.path.parent.mkdir()
    timetable.path.write_text(text)

    with pytest.raises(ImproperlyConfigured) as refused, timetable.change():
        pytest.fail("there is nothing to change")

    path = timetable.path
    assert str(refused.value) == (
        f"{path} cannot be read: {why}. It was left as it is. Mend it, or start without it: mv {path} {path}.old"
    )
    assert path.read_text() == text
    assert timetable._editing.take(0)  # nobody else is kept from mending it
    timetable.close()


@pytest.mark.parametrize(
    ("slip", "why"),
    [
        ({"task": "a"}, "Object missing required field `schedule`"),
        ({"task": "a", "schedule": 1, "paused": "no"}, "Expected `bool`, got `str` - at `$.paused`"),
        ({"task": "a", "schedule": 1, "missed": "never"}, "Invalid enum value 'never' - at `$.missed`"),
        ({"task": "a", "schedule": 1, "last_run": "today"}, "Invalid isoformat string: 'today'"),
        ({"task": "a", "schedule": 1, "next_run": "soon"}, "Invalid isoformat string: 'soon'"),
        (
            {"task": "a", "schedule": 1, "last_run": "0001-01-01T00:00:00+05:00"},
            "'0001-01-01T00:00:00+05:00' is in no year from 1 to 9999",
        ),
        (1, "Expected `object`, got `int`"),
    ],
)
def test_an_entry_with_a_slip_says_so_stays_as_it_is_and_spoils_no_other(timetable, slip, why):
    timetable.path.parent.mkdir()
    timetable.path.write_text(json.dumps({"ping": slip, "tidy": {"task": "b", "schedule": 1}}))

    for _ in range(2):
        with timetable.change() as entries:
            entries["tidy"].paused = not entries["tidy"].paused

    told = f"wrong as it stands: {why}. It is not run until that is mended"
    assert entries["ping"] == Entry(task="", schedule="", error=told, slip=entries["ping"].slip)
    written = json.loads(timetable.path.read_text())
    assert written["ping"] == (slip | {"error": told} if isinstance(slip, dict) else slip)
    assert written["tidy"]["task"] == "b"


def test_keys_that_mean_nothing_stay_whatever_they_are_called(timetable):
    mine = {"slip": 3, "more": {"a": 1}, "half": "\ud800"}
    timetable.path.parent.mkdir()
    timetable.path.write_text(json.dumps({"ping": {"task": "a", "schedule": 1, **mine}}))

    with timetable.change() as entries:
        entries["ping"].paused = True

    assert entries["ping"].more == mine
    assert json.loads(timetable.path.read_text())["ping"].items() >= {**mine, "paused": True}.items()


def test_an_entry_whose_slip_was_mended_says_nothing_more_of_it(timetable):
    timetable.path.parent.mkdir()
    timetable.path.write_text(
        '{"ping": {"task": "a", "schedule": 1, "paused": "no"}, "tidy": {"task": "b", "schedule": 1}}'
    )
    with timetable.change() as entries:
        entries["tidy"].paused = True
    timetable.path.write_text(timetable.path.read_text().replace('"no"', "false"))

    assert timetable.read()["ping"] == Entry(task="a", schedule=1)


def test_it_notices_what_others_write_and_not_what_it_wrote_itself(timetable):
    other = Timetable(timetable.path)
    answers = [timetable.has_changed()]
    timetable.read()
    answers.append(timetable.has_changed())
    with timetable.change() as entries:
        entries["tidy"] = Entry(task="shop.tidy", schedule="every 1 min")
    answers.append(timetable.has_changed())
    with other.change() as entries:
        entries["tidy"].paused = True
    answers += [timetable.has_changed(), other.has_changed()]
    timetable.path.unlink()
    answers.append(timetable.has_changed())

    assert answers == [True, False, False, True, False, True]


def test_a_full_disk_is_an_error_and_leaves_the_old_version(timetable, monkeypatch):
    with timetable.change() as entries:
        entries["tidy"] = Entry(task="shop.tidy", schedule="every 1 min")
    before = timetable.path.read_text()
    monkeypatch.setattr(os, "write", lambda _descriptor, data: len(data) // 2)

    with pytest.raises(OperationalError, match=r"No space left on device"), timetable.change() as entries:
        entries["tidy"].paused = True

    assert timetable.path.read_text() == before


def test_what_a_killed_program_left_half_written_is_no_hindrance(timetable):
    timetable.path.parent.mkdir()
    timetable.path.with_name("schedule.json.new").write_text('{"half')

    with timetable.change() as entries:
        entries["tidy"] = Entry(task="shop.tidy", schedule="every 1 min")

    assert list(timetable.read()) == ["tidy"]


def test_times_are_shown_as_the_wall_clock_does_with_their_offset():
    moment = datetime(2027, 1, 1, 6, tzinfo=UTC)
    oslo = timezone(timedelta(hours=1))
    shown = [text_of(moment, oslo), text_of(moment), text_of(moment.replace(microsecond=5000))]
    shown.append(text_of(moment.replace(microsecond=5)))

    assert shown == [
        "2027-01-01T07:00:00+01:00",
        "2027-01-01T06:00:00Z",
        "2027-01-01T06:00:00.005Z",
        "2027-01-01T06:00:00.000005Z",
    ]
    assert {parse_time(text) for text in (*shown[:2], "2027-01-01T06:00:00")} == {moment}


@pytest.mark.parametrize("text", ["", "\n "])
def test_an_empty_file_is_about_to_be_written_and_left_alone(timetable, text):
    timetable.path.parent.mkdir()
    timetable.path.write_text(text)

    with pytest.raises(ImproperlyConfigured, match="it is empty"), timetable.change() as entries:
        entries["ping"] = Entry(task="ping", schedule=10)

    assert timetable.path.read_text() == text


def test_what_an_editor_has_saved_meanwhile_is_not_written_over(timetable):
    timetable.path.parent.mkdir()
    timetable.path.write_text("{}")

    def change():
        with timetable.change() as entries:
            entries["mine"] = Entry(task="ping", schedule=10)
            timetable.path.write_text(PING)

    with pytest.raises(EditedMeanwhile, match="was saved by somebody else meanwhile"):
        change()

    assert timetable.path.read_text() == PING
