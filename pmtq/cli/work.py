"""``pmtq worker``: the options of a worker, its banner, and its start.

It does not know how a worker works: that is ``pmtq.worker``.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import click

from pmtq import __version__
from pmtq.app import PMTQ
from pmtq.cli.logs import LEVELS, set_up
from pmtq.cli.options import app_name, required_app, takes_app
from pmtq.cli.text import colours, shortened, visible
from pmtq.folder import DEFAULT_QUEUE
from pmtq.worker.pace import Slow

_WIDEST = 200
"""Characters of a line of the banner."""


@click.command()
@takes_app
@click.option("-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), default="info", show_default=True)
@click.option(
    "-c", "--concurrency", type=click.IntRange(min=1), default=1, help="Processes that run tasks. [default: 1]"
)
@click.option(
    "-P",
    "--pool",
    type=click.Choice(["solo", "prefork"]),
    help="In this process or in children. [default: solo for -c 1]",
)
@click.option("-Q", "--queues", metavar="A,B", default=DEFAULT_QUEUE, show_default=True, help="The queues to serve.")
@click.option(
    "-n",
    "--hostname",
    metavar="NAME",
    default="",
    help="The worker's name. %h is the host, %n its first part, %d its domain. [default: worker1@%h, or the next free one]",
)
@click.option("--step", is_flag=True, help="Stop at every stage of a task until Enter is pressed.")
@click.option("--slow", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop so long at every stage of a task.")
@click.option("--burst", is_flag=True, help="Run what is there, then end.")
def worker(
    *,
    loglevel: str,
    concurrency: int,
    pool: str | None,
    queues: str,
    hostname: str,
    step: bool,
    slow: float | None,
    burst: bool,
) -> None:
    """Run the tasks of your app as they arrive."""
    concurrency = 1 if step else concurrency
    if (pool == "solo" and concurrency > 1) or (pool == "prefork" and step):
        raise click.UsageError(_AT_ODDS[step], click.get_current_context())
    app = required_app()
    from pmtq.cli.finding import Tasks
    from pmtq.worker import supervisor

    plan = supervisor.Plan(
        folder=app.folder,
        queues=_split(queues, app),
        load=Tasks(app_name(), app),
        pool=pool or (supervisor.SOLO if concurrency == 1 else supervisor.PREFORK),
        concurrency=concurrency,
        burst=burst,
        make_pace=partial(Slow, None if step else slow, _say) if step or slow is not None else None,
        prepare=partial(set_up, loglevel),
    )
    app.folder.make()
    with supervisor.holding_signals():
        presence = supervisor.take_name(plan, hostname)
        plan.prepare(presence.name)
        _show_banner(app, presence.name, plan.queues, plan.pool, plan.concurrency)
        supervisor.work(plan, presence)


_AT_ODDS = {
    False: "-P solo is one process, and -c asks for several. Leave one of them out.",
    True: "--step follows one task at a time, in this process. Leave -P prefork out.",
}


def _split(queues: str, app: PMTQ) -> list[str]:
    """Return the names in ``a,b``, each once; raises ``ImproperlyConfigured`` for one that no queue can have."""
    names = list(dict.fromkeys(name.strip() for name in queues.split(",") if name.strip()))
    for name in names:
        app.folder.queue(name)
    return names or [DEFAULT_QUEUE]


def _show_banner(app: PMTQ, name: str, queues: list[str], pool: str, concurrency: int) -> None:
    """Say who starts, what it serves and how to end it; on stderr, as the log is."""
    processes = "this process" if pool == "solo" else f"{concurrency} child processes"
    rows = [
        ("folder", str(app.folder.path)),
        ("queues", ", ".join(queues)),
        ("tasks", ", ".join(sorted(app.tasks)) or "none; put @app.task above a function"),
        ("pool", f"{pool} ({processes})"),
        ("stop", "Ctrl-C ends it after the running task, a second one at once"),
    ]
    elsewhere = sorted({task.queue for task in app.tasks.values()} - set(queues))
    if elsewhere:
        rows.append(("note", f"nobody here serves {', '.join(elsewhere)}: -Q {','.join([*queues, *elsewhere])}"))
    bright = colours(sys.stderr)
    head, version = (click.style(name, bold=True, fg="green") if bright else name), f"pmtq {__version__}"
    click.echo(f"{version}  {head}  (process {os.getpid()})", err=True)
    for label, value in rows:
        shown = click.style(f"{label:<8}", dim=True) if bright else f"{label:<8}"
        click.echo(f"  {shown}{shortened(visible(value), _WIDEST)}", err=True)


def _say(line: str) -> None:
    """Show a stage of a task's life to the person who follows it."""
    bright = colours(sys.stderr)
    line = visible(line)
    click.echo(click.style(line, fg="cyan") if bright else line, err=True)
