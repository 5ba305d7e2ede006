"""``pmtq beat``: the options of the scheduler, and its start.

It does not know how a scheduler works: that is ``pmtq.beat``.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from pmtq.cli import background
from pmtq.cli.banner import show_rows
from pmtq.cli.logs import Style, set_up
from pmtq.cli.nodes import expanded
from pmtq.cli.options import Grouped, as_a_service, in_group, is_quiet, loglevel, required_app, takes_app
from pmtq.cli.text import visible

F = TypeVar("F", bound=Callable[..., Any])
_LOG, _PID = "beat.log", "beat.pid"
"""What the log and the pid file of one in the background are called unless something else is asked for."""
_SHOWN = 5
"""So many entries are named when it starts."""
_beat = in_group("The scheduler")
_accepted = partial(in_group("Accepted, so that Celery's command lines work"), expose_value=False)


@click.command(cls=Grouped)
@_beat(
    "-s",
    "--schedule",
    "--schedule-filename",
    metavar="FILE",
    default="",
    help="Instead of schedule.json in the folder.",
)
@_beat("--max-interval", type=click.FloatRange(min=0), metavar="SECONDS", help="Look at the clock at least that often.")
@_beat("-n", "--hostname", metavar="NAME", default="beat@%h", help="Its name in the log. [default: beat@%h]")
@loglevel(_beat)
@_beat("-f", "--logfile", metavar="FILE", default="", help="Log there, not on stderr.")
@as_a_service("it", _PID)
@_accepted("-S", "--scheduler", metavar="CLASS", help="There is one scheduler; pmtq schedule changes it while it runs.")
@_accepted("--executable", metavar="FILE", help="-D goes on in this Python.")
@_accepted(
    "--enable-remote-control/--no-enable-remote-control", help="pmtq schedule list says whether a scheduler is alive."
)
@takes_app
def beat(
    *,
    schedule: str,
    max_interval: float | None,
    hostname: str,
    loglevel: str,
    logfile: str,
    detach: bool,
    pidfile: str,
    uid: str,
    gid: str,
    umask: str,
) -> None:
    """Post the periodic tasks of your app when their time has come.

    Several may run on one folder: one fires, the others stand by and take over when it dies. What it is to do and has
    done stands in schedule.json, which you may edit; pmtq schedule shows and changes it.
    """
    from pmtq.beat import Service

    up = background.detach() if detach else None
    background.drop_privileges(uid, gid, umask)
    app = required_app("the scheduler needs the code that says what is to be run when")
    name = expanded(hostname, f"beat@{socket.gethostname()}")
    logfile = str(Path(logfile or (_LOG if detach else "")).absolute()) if logfile or detach else ""
    service = Service(app, max_interval, schedule)
    rows = _rows(service, logfile)
    set_up(loglevel, logfile, name, Style.of(app.conf))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: service.stopping.set())
    with background.pid_file(pidfile or (_PID if detach else "")):
        if up:
            click.echo(f"{name} runs in the background as process {os.getpid()}; its log: {visible(logfile)}")
            up(logfile)
        if not is_quiet():
            show_rows(name, rows)
        service.start()


def _rows(service: Any, logfile: str) -> list[tuple[str, str]]:
    """Return what the banner says; raises ``ImproperlyConfigured`` for what the code declares and cannot be planned."""
    from pmtq.beat import declared

    tasks = declared(service.app)
    shown = [f"{name} ({task.schedule.in_words()})" for name, task in list(tasks.items())[:_SHOWN]]
    more = [f"{len(tasks) - _SHOWN} more"] if len(tasks) > _SHOWN else []
    rows = [
        ("file", str(service.timetable.path)),
        ("in code", "; ".join([*shown, *more]) or "nothing; see app.add_periodic_task, or pmtq schedule add"),
        ("zone", str(service.app.conf.zone)),
        ("stop", f"Ctrl-C or kill {os.getpid()}"),
    ]
    return [*rows, ("log", logfile)] if logfile else rows
