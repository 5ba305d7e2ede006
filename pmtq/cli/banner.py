"""What a worker says when it starts: who it is, what it serves, and how to end it; on stderr, as the log is."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable

import click

from pmtq import __version__
from pmtq.app import PMTQ
from pmtq.cli.text import colours, shortened, visible
from pmtq.worker.supervisor import SOLO, Plan

_WIDEST = 200
"""Characters of a line of the banner."""
_THINGS = {"prefork": "child processes", "threads": "threads", "asyncio": "coroutines"}


def show_banner(app: PMTQ, name: str, plan: Plan, log: str, excluded: Collection[str] = ()) -> None:
    """Say who starts with which plan; ``log`` is the file of its log, empty for stderr.

    Queues that tasks go to and that it does not serve are noted, unless they are ``excluded`` on purpose.
    """
    show_rows(name, _rows(app, plan, log, excluded))


def show_rows(name: str, rows: Iterable[tuple[str, str]]) -> None:
    """Say who starts as ``name``, and some facts about it."""
    bright = colours(sys.stderr)
    head = click.style(name, bold=True, fg="green") if bright else name
    click.echo(f"pmtq {__version__}  {head}  (process {os.getpid()})", err=True)
    for label, value in rows:
        shown = click.style(f"{label:<8}", dim=True) if bright else f"{label:<8}"
        click.echo(f"  {shown}{shortened(visible(value), _WIDEST)}", err=True)


def _rows(app: PMTQ, plan: Plan, log: str, excluded: Collection[str]) -> list[tuple[str, str]]:
    rows = [
        ("folder", str(app.folder.path)),
        ("queues", ", ".join(plan.queues)),
        ("tasks", ", ".join(sorted(app.tasks)) or "none; put @app.task above a function"),
        ("pool", f"{plan.pool} ({_size(plan)})"),
        ("stop", f"Ctrl-C or kill {os.getpid()}: after the running task; twice: at once"),
    ]
    if log:
        rows.append(("log", log))
    if elsewhere := sorted({task.queue for task in app.tasks.values() if task.queue} - {*plan.queues, *excluded}):
        rows.append(("note", f"nobody here serves {', '.join(elsewhere)}: -Q {','.join([*plan.queues, *elsewhere])}"))
    return rows


def _size(plan: Plan) -> str:
    if plan.pool == SOLO:
        return "this process"
    most, fewest = plan.autoscale or (plan.concurrency, plan.concurrency)
    number = f"{most}" if most == fewest else f"{fewest} to {most}"
    things = _THINGS.get(plan.pool, "at a time")
    return "one child process" if (things, most) == (_THINGS["prefork"], 1) else f"{number} {things}"


def say_in_colour(line: str) -> None:
    """Show a stage of a task's life to the person who follows it."""
    line = visible(line)
    click.echo(click.style(line, fg="cyan") if colours(sys.stderr) else line, err=True)
