"""``pmtq multi``: starts, stops and restarts several workers in the background.

1. A worker that was started is known by its pid file, in the current directory unless ``--pidfile`` says otherwise: to
   stop it, name it the same way, from the same directory.
2. Workers are ended by their process number, never by what they are called.

It does not know what workers do: each is a ``pmtq worker -D``, and ``pmtq multi show`` prints the command.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from pmtq.cli.background import LOG, PID, is_alive, pid_in
from pmtq.cli.cluster import Node, Wanted, understood
from pmtq.cli.commands import Commands
from pmtq.cli.nodes import expanded
from pmtq.cli.options import CODE_OF_TASKS, app_name, be_quiet, broker_url, is_quiet, without_app
from pmtq.cli.text import visible_lines
from pmtq.cli.work import worker
from pmtq.wording import counted

PATIENCE = 10.0
"""Seconds that ``stop`` waits for the running tasks to end; ``stopwait`` and ``restart`` wait as long as it takes."""
_LOOK = 0.02
"""Seconds between two looks whether a process has ended: it is not our child, so nobody tells."""
_RAW = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.group(cls=Commands)
def multi() -> None:
    """Start, stop and restart several workers in the background.

    Workers are named, or a number says how many: `3` means celery1 celery2 celery3. What else is there goes to the
    workers: -c 4 to all of them, -c:1 4 to the first, -Q:1-3 a,b to the first three, -l:video debug to that one. Pid
    and log files are %n.pid and %n%I.log in the current directory; --pidfile and --logfile name others.

    \b
        pmtq multi start 3 -A tasks -c:1 4 -Q:2-3 low
        pmtq multi start image video -A tasks -l:video debug
        pmtq multi restart image video -A tasks -l info
        pmtq multi stop 3
    """  # noqa: D301  (the backspace tells click to leave these lines as they are)


def _command(name: str) -> Callable[[Callable[[tuple[str, ...]], int | None]], click.Command]:
    """Make a command of a function of the arguments as they were typed."""

    def made(function: Callable[[tuple[str, ...]], int | None]) -> click.Command:
        taking = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="NAMES|NUMBER [OPTIONS]")
        command = multi.command(name, context_settings=_RAW)(taking(function))
        assert isinstance(command, click.Command)
        return command

    return made


@_command("start")
def start(arguments: tuple[str, ...]) -> int:
    """Start the workers; each counts as started when it is up."""
    nodes = _nodes(arguments)
    _require_app(nodes, arguments)
    _say(f"Starting {counted(len(nodes), 'worker')}")
    return _worst([_started(node) for node in nodes])


@_command("stop")
def stop(arguments: tuple[str, ...]) -> int:
    """Ask them to end after their running tasks (TERM, or -SIGNAL); wait ten seconds for that."""
    number, arguments = _signal(arguments)
    return _stopped(_nodes(arguments), number, PATIENCE)


@_command("stopwait")
def stopwait(arguments: tuple[str, ...]) -> int:
    """Do the same, and wait as long as it takes."""
    number, arguments = _signal(arguments)
    return _stopped(_nodes(arguments), number, None)


@_command("restart")
def restart(arguments: tuple[str, ...]) -> int:
    """Stop them, wait until they have ended, and start them again, with these options."""
    number, arguments = _signal(arguments)
    nodes = _nodes(arguments)
    _require_app(nodes, arguments)
    _stopped(nodes, number, None)
    _say(f"Starting {counted(len(nodes), 'worker')}")
    return _worst([_started(node) for node in nodes])


@_command("kill")
def kill(arguments: tuple[str, ...]) -> int:
    """End them at once; what they ran is run again by others."""
    return _stopped(_nodes(arguments), signal.Signals(getattr(signal, "SIGKILL", signal.SIGTERM)), PATIENCE)


@_command("show")
def show(arguments: tuple[str, ...]) -> None:
    """Print the commands that start would run."""
    for node in _nodes(arguments):
        click.echo(shlex.join(_command_line(node)))


@_command("names")
def names(arguments: tuple[str, ...]) -> None:
    """Print the workers' names."""
    for node in _nodes(arguments):
        click.echo(node.name)


@_command("expand")
def expand(arguments: tuple[str, ...]) -> None:
    """Print what a text such as /var/run/%n.pid becomes for each worker: expand TEXT NAMES|NUMBER."""
    if not arguments:
        raise click.UsageError("what is to be expanded? pmtq multi expand %n.pid 3", click.get_current_context())
    for node in _nodes(arguments[1:]):
        click.echo(expanded(arguments[0], node.name, keep="iI"))


@_command("get")
def get(arguments: tuple[str, ...]) -> int:
    """Print the options of one worker among them: get NAME NAMES|NUMBER."""
    wanted = arguments[0] if arguments else ""
    nodes = _nodes(arguments[1:])
    for node in nodes:
        if wanted in {node.name, node.name.partition("@")[0]}:
            click.echo(shlex.join(node.arguments()))
            return 0
    raise click.UsageError(
        f"there is no worker {wanted!r} among {', '.join(node.name for node in nodes)}.", click.get_current_context()
    )


@multi.command("help")
@click.pass_context
def help_(context: click.Context) -> None:
    """Show this list."""
    assert context.parent
    click.echo(context.parent.get_help())


def _nodes(arguments: Sequence[str]) -> list[Node]:
    """Return the workers that a command line speaks of; raises ``UsageError`` if that is none."""
    wanted = understood(arguments, worker)
    if not wanted.names or wanted.names == ["0"]:
        raise click.UsageError("which workers? Name them, or say how many, such as 3.", click.get_current_context())
    for parameter, option, value in (("app", "-A", app_name()), ("broker", "-b", broker_url())):
        if value:
            wanted.shared.setdefault(parameter, (option, value))
    _obey_own_options(wanted)
    return wanted.nodes(PID, LOG)


def _require_app(nodes: list[Node], arguments: Sequence[str]) -> None:
    """Raise ``ImproperlyConfigured`` if a worker gets no ``-A``: once for all, and before anything is stopped."""
    if not all(node.value("app") for node in nodes):
        raise without_app(CODE_OF_TASKS, arguments)


def _obey_own_options(wanted: Wanted) -> None:
    if wanted.own.keys() & {"-C", "--no-color"}:
        os.environ["NO_COLOR"] = "1"
    if wanted.own.keys() & {"-q", "--quiet"}:
        be_quiet()


def _signal(arguments: tuple[str, ...]) -> tuple[signal.Signals, tuple[str, ...]]:
    """Take ``-TERM``, ``-SIGQUIT`` or ``-9`` out of the arguments; return the signal, TERM without one, and the others."""
    for position, argument in enumerate(arguments):
        name = argument[1:].removeprefix("SIG")
        rest = arguments[:position] + arguments[position + 1 :]
        if argument.startswith("-") and f"SIG{name}" in signal.Signals.__members__:
            return signal.Signals[f"SIG{name}"], rest
        if argument.startswith("-") and name.isdigit() and int(name) in set(signal.Signals):
            return signal.Signals(int(name)), rest
    return signal.SIGTERM, arguments


def _command_line(node: Node) -> list[str]:
    return [node.value("executable", sys.executable), "-m", "pmtq", *node.arguments()]


def _started(node: Node) -> int:
    """Start one worker and say what became of it; return its exit status."""
    done = subprocess.run(  # noqa: S603  (the user's own command line)
        _command_line(node), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        _say(f"  {node.name}: OK, process {pid_in(_pid_file(node))}")
    else:
        click.echo(f"  {node.name}: not started\n{visible_lines(done.stderr)}", err=True)
    return done.returncode


def _stopped(nodes: list[Node], number: signal.Signals, patience: float | None) -> int:
    """Send a signal to each worker and wait until all have ended; return 0, or 1 if one has not."""
    told = [(node, pid) for node in nodes if (pid := _told(node, number))]
    deadline = None if patience is None else time.monotonic() + patience
    return _worst([_awaited(node, pid, deadline) for node, pid in told])


def _told(node: Node, number: signal.Signals) -> int:
    """Send the signal to one worker; return its process number, 0 if it does not run."""
    path = _pid_file(node)
    pid = pid_in(path)
    if not pid or not is_alive(pid):
        _say(f"  {node.name}: is not running ({path} {'is left over' if pid else 'is not there'})")
        path.unlink(missing_ok=True)
        return 0
    os.kill(pid, number)
    _say(f"  {node.name}: {number.name} to process {pid}")
    return pid


def _awaited(node: Node, pid: int, deadline: float | None) -> int:
    """Wait until the process has ended; return 1 if it has not when the time is over."""
    while is_alive(pid):
        if deadline is not None and time.monotonic() > deadline:
            click.echo(
                f"  {node.name}: still runs its last tasks; it ends after them. To wait for that: pmtq multi stopwait {node.name}",
                err=True,
            )
            return 1
        time.sleep(_LOOK)
    _pid_file(node).unlink(missing_ok=True)
    _say(f"  {node.name}: has ended")
    return 0


def _pid_file(node: Node) -> Path:
    """Return where the worker keeps its number; a relative path begins where the worker goes first."""
    return Path(node.value("workdir", ".")) / expanded(node.value("pidfile"), node.name)


def _worst(statuses: list[int]) -> int:
    return max(statuses, default=0)


def _say(line: str) -> None:
    if not is_quiet():
        click.echo(line)
