"""``pmtq dead`` and ``pmtq requeue``: what ended badly, and having it run after all.

It does not know how: what these commands do, a program can do with ``app.control``.
"""

from __future__ import annotations

import json
from typing import Any

import click

from pmtq.cli.options import client_app, existing_folder, takes_app
from pmtq.cli.text import arguments, as_json, shortened, table, visible
from pmtq.control import Control
from pmtq.dead import DEAD_STATES, Dead, NotRequeuedError
from pmtq.exceptions import ImproperlyConfigured
from pmtq.wording import counted


@click.command()
@takes_app
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show so many.")
@click.option("-T", "--function", metavar="NAME", default="", help="Only calls of this task.")
@click.option(
    "--state", type=click.Choice(sorted(DEAD_STATES), case_sensitive=False), help="Only what ended so. [default: all]"
)
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line.")
def dead(*, limit: int, function: str, state: str | None, as_lines: bool) -> None:
    """Show the tasks that ended badly, the newest first, and why."""
    existing_folder()
    found = Control(client_app()).dead(limit, {state.upper()} if state else DEAD_STATES, function)
    if as_lines:
        for one in found:
            click.echo(as_json(one))
    elif found:
        heads = ("TASK", "ENDED AS", "FUNCTION", "ARGUMENTS", "REASON")
        table(heads, map(_row, found), folds=("ARGUMENTS", "REASON"))
        click.echo("Have one run again: pmtq requeue ID")
    else:
        click.echo("No task that results are kept of ended badly.")


def _row(one: Dead) -> tuple[str, ...]:
    again = f" (requeued as {one.requeued_as})" if one.requeued_as else ""
    line = f" (line {one.rejected} of rejected.jsonl)" if one.rejected else ""
    shown = arguments(one.args, one.kwargs) if one.function else "-"
    return one.task_id, one.status, one.function or "-", shown, shortened(one.reason, 120) + line + again


@click.command()
@takes_app
@click.argument("what", nargs=-1, metavar="[ID… | TEXT]")
@click.option("-a", "--args", metavar="JSON", help="With these positional arguments instead of its own.")
@click.option("-k", "--kwargs", metavar="JSON", help="With these keyword arguments instead of its own.")
@click.option("-Q", "--queue", metavar="NAME", help="To this queue instead of its own.")
@click.option("--countdown", type=float, metavar="SECONDS", help="Not to be run before so many seconds have passed.")
@click.option("--rejected", type=int, metavar="N", help="Post line N of rejected.jsonl again, or TEXT in its place.")
@click.option("--edit", is_flag=True, help="With --rejected: open its text in your editor ($EDITOR).")
@click.option("--all", "everything", is_flag=True, help="All that failed and was not requeued before.")
@click.option("-T", "--function", metavar="NAME", default="", help="With --all: only calls of this task.")
def requeue(
    *, what: tuple[str, ...], rejected: int | None, edit: bool, everything: bool, function: str, **changes: Any
) -> None:
    """Post dead tasks again, each under a new id.

    \b
        pmtq requeue ID --args '[2, 3]'
        pmtq requeue --all --function tasks.add
        pmtq requeue --rejected 1 --edit
    """  # noqa: D301  (the backspace tells click to leave these lines as they are)
    existing_folder()
    control = Control(client_app())
    if everything or rejected is not None:
        _require_unchanged("--all" if everything else "--rejected", changes)
    if rejected is not None:
        _again(f"line {rejected}", control.requeue_rejected(rejected, _text(control, rejected, what, edit=edit)).id)
    elif everything:
        count = len(control.requeue_all(function))
        click.echo(f"{counted(count, 'task')} queued again")
    elif what:
        changes |= {
            "args": _parsed("args", changes["args"], list),
            "kwargs": _parsed("kwargs", changes["kwargs"], dict),
        }
        for task_id in what:
            _again(f"task {task_id}", control.requeue(task_id, **changes).id)
    else:
        raise click.UsageError("name tasks by their ids, or give --all or --rejected.", click.get_current_context())


def _require_unchanged(way: str, changes: dict[str, Any]) -> None:
    """Raise ``UsageError`` if something is to be changed in a way of posting that changes nothing."""
    for name, value in changes.items():
        if value is not None:
            raise click.UsageError(
                f"{way} posts calls as they were, and --{name} would change nothing. Nothing was queued. Name the tasks by "
                "their ids, or leave it out.",
                click.get_current_context(),
            )


def _again(what: str, task_id: str) -> None:
    click.echo(visible(f"{what} is queued again as {task_id}"))


def _text(control: Control, number: int, what: tuple[str, ...], *, edit: bool) -> str | None:
    """Return the mended text, from the command line or the person's editor; None for the text as it is."""
    if not edit:
        return " ".join(what) or None
    text = click.edit(control.rejected_text(number), extension=".json")
    if text is None:
        raise NotRequeuedError(
            f"line {number} of rejected.jsonl was left as it is. Nothing was queued. Save it when it is mended"
        )
    return text


def _parsed(option: str, text: str | None, kind: type) -> Any:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"--{option} {text} is no JSON: {error}. Nothing was queued.") from None
    if not isinstance(value, kind):
        shape = "an array: '[2, 3]'" if kind is list else "an object: '{\"x\": 2}'"
        raise ImproperlyConfigured(f"--{option} {text} is not {shape}. Nothing was queued.")
    return value
