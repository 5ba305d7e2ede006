"""The options that several commands share, and what they mean together.

``-A`` and ``-b`` may stand before or after the sub-command; the later one counts. Without ``-A`` a command works on the
folder of ``--broker``, else of ``PMTQ_BROKER_URL``, else on ``queue_dir`` in the current directory.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pmtq.app import PMTQ
from pmtq.exceptions import ImproperlyConfigured, OperationalError
from pmtq.folder import DEFAULT_URL, Folder

F = TypeVar("F", bound=Callable[..., Any])
_APP, _BROKER = "pmtq.app", "pmtq.broker"


class Commands(click.Group):
    """A group that knows what a misspelt sub-command was meant to be."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the sub-command; a name that is nearly one is a usage error that says which."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.commands, n=1, cutoff=0.5)
            hint = (
                f"Did you mean '{ctx.command_path} {near[0]}'?" if near else f"There are: {', '.join(self.commands)}."
            )
            raise click.UsageError(f"there is no command {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the names in the order in which one needs them."""
        return list(self.commands)


def _keep(key: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def keep(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value:
            context.meta[key] = value

    return keep


def takes_app(command: F) -> F:
    """Give a command the options ``-A`` and ``-b``."""
    app = click.option(
        "-A",
        "--app",
        metavar="MODULE[:ATTR]",
        expose_value=False,
        callback=_keep(_APP),
        help="Where your app is: tasks:app",
    )
    broker = click.option(
        "-b",
        "--broker",
        metavar="URL",
        expose_value=False,
        callback=_keep(_BROKER),
        help=f"The queue folder, instead of the app's: {DEFAULT_URL}",
    )
    return app(broker(command))


def app_name() -> str:
    """Return what ``-A`` said; empty without it."""
    return str(click.get_current_context().meta.get(_APP, ""))


def given_app() -> PMTQ | None:
    """Return the app that ``-A`` names, its included modules imported; None without ``-A``."""
    from pmtq.cli.finding import find_app, import_included

    if not (name := app_name()):
        return None
    app = find_app(name)
    import_included(app)
    return _with_given_broker(app)


def required_app() -> PMTQ:
    """Return the app that ``-A`` names; raises ``ImproperlyConfigured`` without ``-A``."""
    from pmtq.cli.finding import suggested_app

    if app := given_app():
        return app
    found = suggested_app(Path.cwd())
    what = (
        f"There is an app in {found}.py: pmtq worker -A {found}" if found else "Name your module: pmtq worker -A tasks"
    )
    raise ImproperlyConfigured(f"a worker needs the code of your tasks, and no -A says where it is. {what}")


def client_app() -> PMTQ:
    """Return the app that ``-A`` names, else one without tasks, for the folder in use."""
    return given_app() or _with_given_broker(PMTQ())


def existing_folder() -> Folder:
    """Return the folder in use; raises ``OperationalError`` if nobody has made it yet."""
    folder = client_app().folder
    if not folder.path.is_dir():
        raise OperationalError(
            f"there is no queue folder {folder.path}: nothing was ever sent there, and no worker was started. Go to the "
            "directory of your program, or name the folder: --broker file:///path/to/queue_dir"
        )
    return folder


def _with_given_broker(app: PMTQ) -> PMTQ:
    """Let ``-b`` override what the code and the environment say."""
    if url := click.get_current_context().meta.get(_BROKER):
        for used in ("folder", "broker", "backend"):  # made already if the module sent a task while it was imported
            vars(app).pop(used, None)
        app.broker_url = url
    return app
