"""The command line: ``pmtq worker``, ``pmtq call``, ``pmtq queue`` and the others.

1. Whatever goes wrong is one paragraph on stderr, with exit status 1 or 2; ``PMTQ_DEBUG=1`` adds the traceback.
2. A command imports what it needs when it runs, so that ``pmtq --help`` is quick.

``commands`` is the table of what there is, and says in which module; ``options`` says what ``-A`` and ``-b`` mean,
``finding`` finds the app, ``text`` and ``logs`` write.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from pmtq import __version__
from pmtq.app import PMTQ
from pmtq.cli.commands import Program
from pmtq.cli.options import takes_globals
from pmtq.cli.text import colours, visible_lines
from pmtq.exceptions import PmtqError
from pmtq.wording import typed

ERROR, MISUSE = 1, 2


@click.group(cls=Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="pmtq %(version)s")
@takes_globals
@click.pass_context
def cli(context: click.Context) -> None:
    """Run functions later, in other processes, by way of two text files."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def start(app: PMTQ, argv: Sequence[str] | None = None) -> None:
    """Run the command line with ``app`` where ``-A`` would name another; ``argv`` is by default the process's own.

    This is what ``app.start()`` does, so that ``python -m proj.celery worker`` works. Raises ``SystemExit`` with the
    status of a command that failed.
    """
    if status := main(None if argv is None else list(argv), app):
        raise SystemExit(status)


def main(arguments: list[str] | None = None, app: PMTQ | None = None) -> int:
    """Run the command that ``arguments`` (by default the process's own) name; return the exit status."""
    try:
        status = cli.main(arguments, prog_name="pmtq", standalone_mode=False, obj=app)
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
        stop = "" if message.endswith((".", "?", "!")) else "."  # click sets none
        return path, f"{message[:1].lower()}{message[1:]}{stop} All options: {path} --help", MISUSE
    if isinstance(error, click.ClickException):
        return "pmtq", error.format_message(), error.exit_code
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "pmtq", "interrupted before it was done", ERROR
    if isinstance(error, PmtqError):
        return type(error).__name__, str(error), ERROR
    if isinstance(error, OSError):
        where, what = (f" {error.filename}", f" {typed(error.filename)}") if error.filename else ("", "")
        return (
            type(error).__name__,
            f"the system refused{where}: {error.strerror or error}. Look at it: ls -la{what}",
            ERROR,
        )
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {error}, at {frame.filename}:{frame.lineno}"
    return "pmtq has a bug", f"{what}. Please report it with what PMTQ_DEBUG=1 in front of the command shows", ERROR
