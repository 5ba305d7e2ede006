"""``pmtq schedule``: shows and changes what is posted by the clock, while the scheduler runs or not.

1. What is changed stands in ``schedule.json``; the scheduler takes it from there at once, or when it starts.
2. Entries of the code are shown with ``-A``, even before a scheduler has written them down. They can be paused, not removed.

It does not know how to fire: for a run now it asks the scheduler, unless none is there.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

import click
import msgspec
from msgspec import UNSET

from pmtq import clock
from pmtq.app import PMTQ
from pmtq.beat import declared, send, take_in, timetable_of, words_of
from pmtq.cli.commands import Commands
from pmtq.cli.options import app_name, client_app, takes_app
from pmtq.cli.send import call_arguments, number_or_text
from pmtq.cli.text import arguments, as_json, duration, table, visible
from pmtq.disk import read_file
from pmtq.exceptions import ImproperlyConfigured, NotRegistered, OperationalError
from pmtq.ids import new_task_id
from pmtq.lock import is_free
from pmtq.schedules import from_text
from pmtq.timetable import Entry, Missed, Timetable, parse_time

F = TypeVar("F", bound=Callable[..., Any])


@click.group("schedule", cls=Commands)
def schedule() -> None:
    """Show and change what is posted by the clock.

    \b
        pmtq schedule list
        pmtq schedule add tidy shop.tidy every 10 min
        pmtq schedule add report shop.report '0 7 * * mon-fri' -a '["weekly"]'
        pmtq schedule pause report
    """  # noqa: D301  (the backspace tells click to leave these lines as they are)


def _takes_file(command: F) -> F:
    option = click.option(
        "-s", "--schedule", "filename", metavar="FILE", help="Instead of schedule.json in the folder."
    )
    return option(takes_app(command))


_takes_names = click.argument("names", nargs=-1, required=True, metavar="NAME…")


class Desk:
    """The timetable that a command works on, with what the code declares."""

    def __init__(self, filename: str | None) -> None:
        """Find the app and the file, as the options say."""
        self.app: PMTQ = client_app()
        self.timetable: Timetable = timetable_of(self.app, filename)
        self.tasks = declared(self.app)

    def entries(self) -> dict[str, Entry]:
        """Return the entries, those too that stand in the code and not yet in the file."""
        entries = self.timetable.read()
        take_in(entries, self.tasks)
        return entries

    @contextmanager
    def change(self) -> Iterator[dict[str, Entry]]:
        """Yield the entries, and write them afterwards."""
        with self.timetable.change() as entries:
            take_in(entries, self.tasks)
            yield entries

    def scheduler(self) -> str:
        """Return who fires, for people; empty if nobody does."""
        path = self.timetable.leadership.path
        if is_free(path):
            return ""
        try:
            who = msgspec.json.decode(read_file(path))
            return f"process {who['pid']} on {who['host']}"
        except (FileNotFoundError, msgspec.DecodeError, KeyError, TypeError):
            return "a process that is just starting"


@schedule.command("list")
@click.option("-j", "--json", "wants_json", is_flag=True, help="Answer in JSON.")
@_takes_file
def list_(*, filename: str | None, wants_json: bool) -> None:
    """Show each entry: its task, when it runs, its last and its next run."""
    desk = Desk(filename)
    entries = desk.entries()
    if wants_json:
        click.echo(as_json({name: _as_object(entry) for name, entry in entries.items()}))
        return
    who = desk.scheduler()
    click.echo(
        f"{visible(str(desk.timetable.path))}, {f'fired by {visible(who)}' if who else 'and no scheduler runs'}\n"
    )
    if entries:
        now = clock.now()
        table(
            ("NAME", "TASK", "WHEN", "LAST RUN", "NEXT RUN", "STATE"),
            [_row(name, entry, now) for name, entry in entries.items()],
            folds=("TASK", "WHEN", "STATE"),
        )
    else:
        click.echo("Nothing is planned. Plan something: pmtq schedule add NAME TASK every 10 min")
    if not who:
        click.echo(f"\n{visible(_none_runs())}")


def _as_object(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(entry, enc_hook=str)
    return found


def _row(name: str, entry: Entry, now: float) -> tuple[str, ...]:
    call = f"{entry.task} {arguments(entry.args, entry.kwargs)}" if entry.args or entry.kwargs else entry.task
    state = "paused" if entry.paused else entry.error or entry.made_by
    return (
        name,
        call,
        entry.in_words or str(entry.schedule),
        _moment(entry.last_run, now),
        _moment(entry.next_run, now),
        state,
    )


def _moment(text: str | None, now: float) -> str:
    """Return a time of the file, without parts of a second, and how far away it is."""
    if not text:
        return "-"
    moment = parse_time(text)
    shown = datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")
    away = (moment - datetime.fromtimestamp(now, UTC)).total_seconds()
    return f"{shown} ({f'in {duration(away)}' if away > 0 else f'{duration(-away)} ago'})"


@schedule.command()
@click.argument("name")
@click.argument("task")
@click.argument("when", nargs=-1, required=True, metavar="WHEN…")
@click.option("-a", "--args", "args_text", metavar="JSON", default="", help="Positional arguments: '[2, 3]'")
@click.option("-k", "--kwargs", "kwargs_text", metavar="JSON", default="", help="""Keyword arguments: '{"x": 2}'""")
@click.option("-Q", "--queue", metavar="NAME", help="The queue to post to, instead of the task's own.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 to 9; the highest runs first.")
@click.option("--expires", metavar="TIME|SECONDS", help="From then on it is not to be run any more.")
@click.option(
    "--missed",
    type=click.Choice(get_args(Missed)),
    default="once",
    show_default=True,
    help="What is done about runs that no scheduler was there for: one for them all, none, or all of them.",
)
@_takes_file
def add(
    *,
    name: str,
    task: str,
    when: tuple[str, ...],
    args_text: str,
    kwargs_text: str,
    missed: Missed,
    filename: str | None,
    expires: str | None,
    **options: Any,
) -> None:
    """Plan a task: have TASK posted WHEN, under a name of your choice.

    WHEN is `every 10 s`, `every 1 h 30 min`, `every 1 h by the clock`, a crontab `0 7 * * mon-fri` (minute, hour, day of
    the month, month, day of the week), or `solar sunset 59.9 10.7`. A name that is there already is planned anew.
    """
    desk = Desk(filename)
    plan = from_text(" ".join(when))
    args, kwargs = call_arguments("", args_text, kwargs_text)
    _require_task(desk.app, task)
    options["expires"] = None if expires is None else number_or_text(expires)
    with desk.change() as entries:
        known = entries.get(name)
        fresh = Entry(
            task=task,
            schedule=str(plan),
            in_words=words_of(plan),
            args=args,
            kwargs=kwargs,
            options={key: value for key, value in options.items() if value is not None},
            missed=missed,
        )
        if known:
            fresh.last_run, fresh.last_task, fresh.paused = known.last_run, known.last_task, known.paused
        entries[name] = fresh
    over = " It stands in the code too; what was said here counts, until you remove it." if name in desk.tasks else ""
    _say(desk, f"{name} runs {task} {plan.in_words()}.{over}")


def _require_task(app: PMTQ, name: str) -> None:
    """Raise ``NotRegistered`` if the app has tasks, and none of that name."""
    try:
        if app.tasks:
            app.find_task(name)
    except NotRegistered as error:
        remedy = "Nothing was planned. For a task of another program leave -A out."
        raise NotRegistered(f"{error} {remedy}", error.name, error.known) from None


@schedule.command()
@_takes_names
@_takes_file
def pause(*, names: tuple[str, ...], filename: str | None) -> None:
    """Have entries not run until they are resumed."""
    desk = Desk(filename)
    with desk.change() as entries:
        for entry in _wanted(entries, names):
            entry.paused, entry.next_run = True, None
    _say(desk, f"{', '.join(names)}: paused.")


@schedule.command()
@_takes_names
@_takes_file
def resume(*, names: tuple[str, ...], filename: str | None) -> None:
    """Have paused entries run again, from their next time on; what was planned meanwhile is not made up for."""
    desk = Desk(filename)
    with desk.change() as entries:
        for entry in _wanted(entries, names):
            entry.paused = False
    _say(desk, f"{', '.join(names)}: resumed.")


@schedule.command()
@_takes_names
@_takes_file
def remove(*, names: tuple[str, ...], filename: str | None) -> None:
    """Remove entries that were added by hand."""
    desk, names = Desk(filename), tuple(dict.fromkeys(names))
    with desk.change() as entries:
        for name, entry in zip(names, _found(entries, names), strict=True):
            if entry.made_by == "code":
                raise ImproperlyConfigured(
                    f"the entry {name!r} stands in the code, which would bring it back. Nothing was removed. Take it out "
                    f"there, or: pmtq schedule pause {name}"
                )
            del entries[name]
    back = [name for name in names if name in desk.tasks]
    _say(desk, f"{', '.join(names)}: removed.{f' What the code says about {back[0]} counts again.' if back else ''}")


@schedule.command()
@click.argument("name")
@_takes_file
def run(*, name: str, filename: str | None) -> None:
    """Post the task of an entry now, beside its planned runs, and print its id."""
    desk, task_id = Desk(filename), new_task_id()
    fires = bool(desk.scheduler())
    if not fires:
        if not desk.app.tasks:
            raise OperationalError(
                f"no scheduler is running that could post {name!r}, and without the code it is not known to which queue. "
                f"Nothing was queued. Name your module: pmtq schedule run {name} -A tasks"
            )
        send(desk.app, _wanted(desk.entries(), [name])[0], desk.tasks.get(name), task_id)
    with desk.change() as entries:
        entry = _wanted(entries, [name])[0]
        if not fires:
            entry.last_task = task_id
        elif entry.run_now and isinstance(entry.run_now, str):
            task_id = entry.run_now  # somebody has just wished for the same, and it is one run
        else:
            entry.run_now = task_id
    click.echo(task_id)


def _wanted(entries: dict[str, Entry], names: Any) -> list[Entry]:
    """Return the entries of those names; raises ``ImproperlyConfigured`` for one that is not there or has a slip."""
    found = _found(entries, names)
    for name, entry in zip(names, found, strict=True):
        if entry.slip is not UNSET:
            raise ImproperlyConfigured(
                f"the entry {name!r} is {entry.error}. Nothing was changed. Mend it in the file, or: pmtq schedule remove {name}"
            )
    return found


def _found(entries: dict[str, Entry], names: Any) -> list[Entry]:
    """Return the entries of those names, whatever stands there."""
    for name in names:
        if name not in entries:
            near = difflib.get_close_matches(name, entries, n=1)
            known = f"There are {', '.join(entries)}." if entries else "There is none."
            hint = f" Did you mean {near[0]!r}?" if near else " Entries of your code are found with -A tasks."
            raise ImproperlyConfigured(f"no entry is called {name!r}. Nothing was changed. {known}{hint}")
    return [entries[name] for name in names]


def _say(desk: Desk, what: str) -> None:
    click.echo(visible(what if desk.scheduler() else f"{what} {_none_runs()}"))


def _none_runs() -> str:
    module = app_name() or "MODULE (the one in which the schedule stands)"
    return f"No scheduler is running. Start one: pmtq beat -A {module}"
