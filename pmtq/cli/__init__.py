"""The command line: ``pmtq worker``, ``pmtq call``, ``pmtq queue`` and the others.

1. Whatever goes wrong is one paragraph on stderr, with exit status 1 or 2; ``PMTQ_DEBUG=1`` adds the traceback.
2. A command imports what it needs when it runs, so that ``pmtq --help`` is quick.

``options`` says what ``-A`` and ``-b`` mean, ``finding`` finds the app, ``text`` and ``logs`` write; the commands are in
``work``, ``send``, ``look`` and ``purge``.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import click

from pmtq import __version__
from pmtq.cli.look import inspect, queue, status
from pmtq.cli.options import Commands, takes_app
from pmtq.cli.purge import purge
from pmtq.cli.send import call, result
from pmtq.cli.text import colours, visible_lines
from pmtq.cli.work import worker
from pmtq.exceptions import PmtqError

ERROR, MISUSE = 1, 2


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="pmtq %(version)s")
@takes_app
@click.pass_context
def cli(context: click.Context) -> None:
    """Run functions later, in other processes, by way of two text files.

    \b
        pmtq worker -A tasks            runs the tasks of tasks.py
        pmtq call tasks.add '[2, 3]'    posts a call
        pmtq queue                      shows what waits, and why
    """  # noqa: D301  (the backspace tells click to leave these lines as they are)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (worker, call, result, status, queue, inspect, purge):
    cli.add_command(_command)


@cli.command()
@click.option("--plain", is_flag=True, help="No colours and no moving picture.")
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="FOLDER", help="Work there and leave everything there."
)
def demo(*, plain: bool, keep: Path | None) -> int:
    """Watch a worker and a client at work on real pictures."""
    from pmtq.demo import run

    return run(keep, plain)


@cli.command("help")
@click.argument("command", nargs=-1)
@click.pass_context
def help_(context: click.Context, command: tuple[str, ...]) -> None:
    """Show this list, or the options of a command."""
    assert context.parent
    found, path = context.parent, list(command)
    while path and isinstance(found.command, click.Group):
        name, inner, _ = found.command.resolve_command(found, path[:1])
        assert inner
        found, path = click.Context(inner, found, name), path[1:]
    click.echo(found.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Run the command that ``arguments`` (by default the process's own) name; return the exit status."""
    try:
        status = cli.main(arguments, prog_name="pmtq", standalone_mode=False)
        sys.stdout.flush()
    except (click.ClickException, click.Abort, PmtqError, OSError, KeyboardInterrupt) as error:
        return _told(error)
    except Exception as error:  # noqa: BLE001  (a mistake of ours is told in one paragraph, too)
        return _told(error)
    return status if isinstance(status, int) else 0


def _told(error: BaseException) -> int:
    """Say in one paragraph what went wrong; return the exit status."""
    if os.environ.get("PMTQ_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has had enough. The interpreter must not try to write the rest when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    head, message, status = _paragraph(error)
    if colours(sys.stderr):
        head = click.style(head, fg="red", bold=True)
    click.echo(f"{head}: {visible_lines(message)}", err=True)
    return status


def _paragraph(error: BaseException) -> tuple[str, str, int]:
    """Return the head and the text of the paragraph, and the exit status."""
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "pmtq"
        message = error.format_message()
        return path, f"{message[:1].lower()}{message[1:]} All options: {path} --help", MISUSE
    if isinstance(error, click.ClickException):
        return "pmtq", error.format_message(), error.exit_code
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "pmtq", "interrupted before it was done", ERROR
    if isinstance(error, PmtqError):
        return type(error).__name__, str(error), ERROR
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return (
            type(error).__name__,
            f"the system refused{where}: {error.strerror or error}. Look at it: ls -la{where}",
            ERROR,
        )
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {error}, at {frame.filename}:{frame.lineno}"
    return "pmtq has a bug", f"{what}. Please report it with what PMTQ_DEBUG=1 in front of the command shows", ERROR
