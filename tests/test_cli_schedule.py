"""``pmtq schedule``: what is posted by the clock is shown and changed, whether a scheduler runs or not."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pmtq import PMTQ
from pmtq.beat import Service
from pmtq.clock import moved_clock
from pmtq.folder import Folder
from pmtq.timetable import Entry, Timetable
from tests.support import Run, eventually, read_lines

START = "2027-01-01T07:00:00Z"
NONE_RUNS = "No scheduler is running. Start one: pmtq beat -A MODULE (the one in which the schedule stands)"
NONE_RUNS_IT = "No scheduler is running. Start one: pmtq beat -A planned"
PLANNED = """
from pmtq import PMTQ

app = PMTQ("planned")

@app.task(queue="low")
def add(x, y):
    return x + y

app.add_periodic_task("0 7 * * mon-fri", add, (2, 3), name="sum")
"""


@pytest.fixture
def planned(project: Path) -> None:
    (project / "planned.py").write_text(PLANNED)


@pytest.fixture
def timetable(here: Folder) -> Timetable:
    return Timetable(here.path / "schedule.json")


@pytest.fixture
def fires(here: Folder) -> Iterator[Service]:
    """A scheduler at work on the folder, whose app has nothing but the task ``tasks.add``."""
    app = PMTQ("tasks", broker=f"file://{here.path}")
    service = Service(app)
    thread = threading.Thread(target=service.start)
    thread.start()
    assert eventually(lambda: service.scheduler)
    yield service
    service.stop()
    thread.join()
    app.close()


def test_nothing_planned_says_how_to_plan_something(run: Run, here: Folder) -> None:
    assert run("schedule", "list").out == (
        f"{here.path}/schedule.json, and no scheduler runs\n\n"
        f"Nothing is planned. Plan something: pmtq schedule add NAME TASK every 10 min\n\n{NONE_RUNS}\n"
    )


@pytest.mark.usefixtures("planned")
def test_entries_of_the_code_are_shown_before_a_scheduler_ever_ran(run: Run, here: Folder) -> None:
    said = run("schedule", "list", "-A", "planned")

    assert said.out == (
        f"{here.path}/schedule.json, and no scheduler runs\n\n"
        "NAME  TASK               WHEN                          LAST RUN  NEXT RUN  STATE\n"
        "sum   planned.add [2,3]  at 07:00 on Monday to Friday  -         -         code\n\n"
        f"{NONE_RUNS_IT}\n"
    )
    assert not here.path.exists()


def test_the_list_tells_last_and_next_run_and_how_far_away_they_are(run: Run, timetable: Timetable) -> None:
    with timetable.change() as entries:
        entries["ping"] = Entry(
            task="a.ping",
            schedule="every 1 h",
            last_run="2027-01-01T07:30:00.250+01:00",
            next_run="2027-01-01T08:30:00.250+01:00",
        )
        entries["old"] = Entry(task="a.old", schedule="every 1 d", paused=True)
        entries["bad"] = Entry(task="a.bad", schedule="soon", error="'soon' is no schedule.")
    with moved_clock(START):
        said = run("schedule", "list")

    assert [re.split("  +", line) for line in said.out.splitlines()[3:6]] == [
        ["ping", "a.ping", "every 1 h", "2027-01-01 07:30:00 (29 min 59 s ago)", "2027-01-01 08:30:00 (in 30 min 0 s)", "hand"],
        ["old", "a.old", "every 1 d", "-", "-", "paused"],
        ["bad", "a.bad", "soon", "-", "-", "'soon' is no schedule."],
    ]  # fmt: skip


def test_the_list_can_be_had_as_json(run: Run, timetable: Timetable) -> None:
    with timetable.change() as entries:
        entries["ping"] = Entry(task="a.ping", schedule="every 1 h")

    found = json.loads(run("schedule", "list", "--json").out)

    assert (found["ping"]["task"], found["ping"]["schedule"]) == ("a.ping", "every 1 h")


def test_an_entry_is_added_changed_paused_resumed_and_removed(run: Run, timetable: Timetable) -> None:
    said = [run("schedule", "add", "tidy", "shop.tidy", "every", "10", "min", "--missed", "skip").out]
    with timetable.change() as entries:
        entries["tidy"].last_run = START
    said.append(run("schedule", "pause", "tidy").out)
    added = [
        *("schedule", "add", "tidy", "shop.tidy", "0 7 * * mon-fri", "-a", '["a"]', "-k", '{"b": 2}'),
        *("-Q", "low", "--priority", "3", "--expires", "60"),
    ]
    said.append(run(*added).out)
    changed = timetable.read()
    said.append(run("schedule", "resume", "tidy").out)
    resumed = timetable.read()["tidy"].paused
    said.append(run("schedule", "remove", "tidy").out)

    assert said == [
        f"tidy runs shop.tidy every 10 min. {NONE_RUNS}\n",
        f"tidy: paused. {NONE_RUNS}\n",
        f"tidy runs shop.tidy at 07:00 on Monday to Friday. {NONE_RUNS}\n",
        f"tidy: resumed. {NONE_RUNS}\n",
        f"tidy: removed. {NONE_RUNS}\n",
    ]
    assert changed == {
        "tidy": Entry(
            task="shop.tidy",
            schedule="crontab 0 7 * * mon-fri",
            in_words="at 07:00 on Monday to Friday",
            args=["a"],
            kwargs={"b": 2},
            options={"queue": "low", "priority": 3, "expires": 60.0},
            paused=True,
            last_run=START,
        )
    }
    assert (resumed, timetable.read()) == (False, {})


def test_a_scheduler_that_runs_takes_it_up_at_once(run: Run, fires: Service, here: Folder) -> None:
    said = run("schedule", "add", "often", "tasks.add", "every", "0.1", "s", "-a", "[1, 2]")
    assert eventually(lambda: len(read_lines(here.queue())) > 2)
    listed = run("schedule", "list").out
    run("schedule", "pause", "often")
    assert eventually(lambda: fires.scheduler.entries["often"].paused)

    assert said.out == "often runs tasks.add every 0.1 s.\n"
    assert listed.startswith(f"{here.path}/schedule.json, fired by process ")
    assert NONE_RUNS not in listed
    assert {tuple(line["params"]) for line in read_lines(here.queue())} == {(1, 2)}


def test_a_run_now_is_made_by_the_scheduler_and_its_id_is_printed(run: Run, fires: Service, here: Folder) -> None:
    run("schedule", "add", "daily", "tasks.add", "every", "day", "-a", "[1, 2]")
    task_id = run("schedule", "run", "daily").out.strip()

    assert eventually(lambda: [line["task_id"] for line in read_lines(here.queue())] == [task_id])
    assert eventually(lambda: fires.scheduler.entries["daily"].last_task == task_id)


def test_two_who_wish_for_a_run_now_in_the_same_moment_are_given_the_same_one(
    run: Run, here: Folder, timetable: Timetable
) -> None:
    run("schedule", "add", "daily", "tasks.add", "every", "day", "-a", "[1, 2]")
    assert timetable.leadership.take(0)  # a scheduler that has not looked yet

    wishes = [run("schedule", "run", "daily").out.strip() for _ in range(2)]

    timetable.close()
    assert wishes == [timetable.read()["daily"].run_now] * 2


@pytest.mark.usefixtures("planned")
def test_without_a_scheduler_a_run_now_needs_the_code(run: Run, here: Folder, timetable: Timetable) -> None:
    task_id = run("schedule", "run", "sum", "-A", "planned").out.strip()
    refused = run("schedule", "run", "sum")

    posted = [(line["task_id"], line["function"], line["params"]) for line in read_lines(here.queue("low"))]
    assert posted == [(task_id, "planned.add", [2, 3])]
    assert timetable.read()["sum"].last_task == task_id
    assert (refused.status, refused.err) == (
        1,
        (
            "OperationalError: no scheduler is running that could post 'sum', and without the code it is not known to which "
            "queue. Nothing was queued. Name your module: pmtq schedule run sum -A tasks\n"
        ),
    )


@pytest.mark.usefixtures("planned")
def test_an_entry_of_the_code_can_be_overridden_and_paused_and_not_removed(run: Run, timetable: Timetable) -> None:
    refused = run("schedule", "remove", "sum", "-A", "planned")
    paused = run("schedule", "pause", "sum", "-A", "planned")
    over = run("schedule", "add", "sum", "planned.add", "every", "hour", "-A", "planned")
    overridden = timetable.read()["sum"]
    back = run("schedule", "remove", "sum", "-A", "planned")

    assert refused.err == (
        "ImproperlyConfigured: the entry 'sum' stands in the code, which would bring it back. Nothing was removed. Take it "
        "out there, or: pmtq schedule pause sum\n"
    )
    assert paused.out == f"sum: paused. {NONE_RUNS_IT}\n"
    assert over.out == (
        "sum runs planned.add every 1 h. It stands in the code too; what was said here counts, until you remove it. "
        f"{NONE_RUNS_IT}\n"
    )
    assert (overridden.schedule, overridden.made_by, overridden.paused) == ("every 1 h", "hand", True)
    assert back.out == f"sum: removed. What the code says about sum counts again. {NONE_RUNS_IT}\n"


@pytest.mark.usefixtures("planned")
def test_a_look_with_another_module_drops_nothing_that_stands_in_the_code_of_the_first(
    run: Run, project: Path, timetable: Timetable
) -> None:
    (project / "other.py").write_text(PLANNED.replace("planned", "other").replace('"sum"', '"other sum"'))
    run("schedule", "pause", "sum", "-A", "planned")

    said = run("schedule", "pause", "other sum", "-A", "other").out

    assert said == f"other sum: paused. {NONE_RUNS_IT.replace('planned', 'other')}\n"
    assert {name: entry.paused for name, entry in timetable.read().items()} == {"sum": True, "other sum": True}


def test_an_entry_with_a_slip_is_listed_with_what_is_wrong_and_can_be_removed(run: Run, timetable: Timetable) -> None:
    with timetable.change() as entries:
        entries["tidy"] = Entry(task="shop.tidy", schedule="every 1 min")
    timetable.path.write_text(timetable.path.read_text().replace('"paused": false', '"paused": "no"'))

    listed = json.loads(run("schedule", "list", "--json").out)["tidy"]["error"]
    refused = run("schedule", "resume", "tidy").err
    removed = run("schedule", "remove", "tidy").out

    wrong = "wrong as it stands: Expected `bool`, got `str` - at `$.paused`. It is not run until that is mended"
    remedy = "Mend it in the file, or: pmtq schedule remove tidy"
    assert (listed, refused, removed) == (
        wrong,
        f"ImproperlyConfigured: the entry 'tidy' is {wrong}. Nothing was changed. {remedy}\n",
        f"tidy: removed. {NONE_RUNS}\n",
    )
    assert timetable.read() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pause", "tdy"], "ImproperlyConfigured: no entry is called 'tdy'. Nothing was changed. There are tidy. Did you mean 'tidy'?"),
        (["resume", "x"], "ImproperlyConfigured: no entry is called 'x'. Nothing was changed. There are tidy. Entries of your code are found with -A tasks."),
        (["remove", "tidy", "x"], "ImproperlyConfigured: no entry is called 'x'. Nothing was changed. There are tidy. Entries of your code are found with -A tasks."),
        (["add", "x", "planned.ad", "every", "hour", "-A", "planned"], "NotRegistered: no task is called 'planned.ad'; this app has: planned.add. Did you mean 'planned.add'? Nothing was planned. For a task of another program leave -A out."),
        (["add", "x", "a.b", "soon"], "ParseException: 'soon' is no schedule. Write one such as 'every 10 s', 'every 1 h 30 min', 'crontab 0 7 * * mon-fri' (minute, hour, day of the month, month, day of the week) or 'solar sunset 59.9 10.7'"),
        (["list"], None),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("planned")
def test_a_slip_is_one_paragraph_and_changes_nothing(run: Run, timetable: Timetable, arguments, message) -> None:
    with timetable.change() as entries:
        entries["tidy"] = Entry(task="shop.tidy", schedule="every 1 min")
    before = timetable.path.read_text()
    if message is None:
        timetable.path.write_text("{")
        said = run("schedule", *arguments)
        assert said.err.startswith(
            f"ImproperlyConfigured: {timetable.path} cannot be read: line 1, column 2: Expecting"
        )
    else:
        said = run("schedule", *arguments)
        assert (said.err, timetable.path.read_text()) == (f"{message}\n", before)
    assert said.status == 1


def test_the_help_shows_what_to_type(run: Run) -> None:
    said = run("schedule", "--help")

    assert (said.status, "pmtq schedule add tidy shop.tidy every 10 min" in said.out) == (0, True)
