"""The options that several commands share, and what they mean together.

1. ``-A``, ``-b`` and the other global options may stand before or after the sub-command; the later one counts.
2. Without ``-A`` a command works on the folder of ``--broker``, else of ``PMTQ_BROKER_URL``, else on ``queue_dir`` in the
   current directory.
3. A program that calls ``app.start()`` has named its app by that: there ``-A`` is not needed.

It does not know the commands.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from pmtq import disk, signals
from pmtq.app import PMTQ
from pmtq.cli.logs import LEVELS
from pmtq.disk import ALLOW_SHARED
from pmtq.exceptions import ImproperlyConfigured, OperationalError
from pmtq.folder import DEFAULT_QUEUE, DEFAULT_URL, Folder, priority_of

F = TypeVar("F", bound=Callable[..., Any])
_APP, _BROKER, _BACKEND, _CONFIG, _QUIET = "pmtq.app", "pmtq.broker", "pmtq.backend", "pmtq.config", "pmtq.quiet"
CODE_OF_TASKS = "a worker needs the code of your tasks"
_GLOBAL_KEYS, _TOLD = {_APP, _BROKER, _BACKEND, _CONFIG, _QUIET}, "pmtq.told"


class Option(click.Option):
    """An option that stands under a heading of its own in the help, when ``group`` names one."""

    def __init__(self, *names: Any, group: str = "", **settings: Any) -> None:
        """Take click's settings, and the heading."""
        super().__init__(*names, **settings)
        self.group = group


class Grouped(click.Command):
    """A command whose help shows its options under their headings, those without one last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in the order of their declaration, heading by heading."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if shown := parameter.get_help_record(ctx):
                groups.setdefault(getattr(parameter, "group", ""), []).append(shown)
        rest = groups.pop("", [])
        for heading, rows in [*groups.items(), ("Options", rest)]:
            with formatter.section(heading):
                formatter.write_dl(rows)


def in_group(heading: str) -> Callable[..., Callable[[F], F]]:
    """Return ``click.option`` for options that stand under ``heading``."""

    def option(*names: str, **settings: Any) -> Callable[[F], F]:
        return click.option(*names, cls=Option, group=heading, **settings)

    return option


def loglevel(group: Callable[..., Callable[[F], F]]) -> Callable[[F], F]:
    """Return the option ``-l`` of a program that runs for long, under the heading of ``group``."""
    return group(
        "-l",
        "--loglevel",
        type=click.Choice(LEVELS, case_sensitive=False),
        metavar="LEVEL",
        default="info",
        help=f"{', '.join(LEVELS)}. [default: info]",
    )


def as_a_service(up: str, pid: str) -> Callable[[F], F]:
    """Return the options of a program that may run in the background.

    ``up`` says when it goes there, ``pid`` what its pid file is called unless something else is asked for.
    """
    group = in_group("As a service")
    options: list[Callable[[F], F]] = [
        group("-D", "--detach", is_flag=True, help=f"Go into the background as soon as {up} is up."),
        group("--pidfile", metavar="FILE", default="", help=f"Keep the process's number there. [with -D: {pid}]"),
        group("--uid", metavar="USER", default="", help="Become that user first; a name or a number."),
        group("--gid", metavar="GROUP", default="", help="Become that group first."),
        group("--umask", metavar="OCTAL", default="", help="Make files with that umask: 027"),
    ]

    def give(command: F) -> F:
        for option in reversed(options):  # the one declared last is shown first
            command = option(command)
        return command

    return give


def takes_app(command: F) -> F:
    """Let the global options stand behind the name of a command, too; its help shows ``-A`` and ``-b``."""
    return _with_globals(command, shown=False)


def takes_globals(command: F) -> F:
    """Give the program the global options, and show them all."""
    return _with_globals(command, shown=True)


def _with_globals(command: F, *, shown: bool) -> F:
    for names, settings in reversed(_GLOBALS):  # the one declared last is shown first
        hidden = names[0] in _NOT_SHOWN or not (shown or names[0] in _SHOWN_EVERYWHERE)
        command = click.option(*names, **settings, expose_value=False, hidden=hidden)(command)
    return command


def _keep(key: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def keep(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value:
            context.meta[key] = value

    return keep


def _go_there(_context: click.Context, _parameter: click.Parameter, folder: str | None) -> None:
    if folder:
        os.chdir(folder)


def _without_colour(_context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        os.environ["NO_COLOR"] = "1"  # the processes we start have no colours either


def _accept_shared(_context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        os.environ[ALLOW_SHARED] = "1"  # the processes we start accept it, too


_SHOWN_EVERYWHERE = {"-A", "-b"}
_NOT_SHOWN = {"--loader", "--allow-shared"}
"""Not worth a line of the first screen that a person sees: whoever needs the second is told of it by the error."""
_GLOBALS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("-A", "--app"), {"metavar": "MODULE[:ATTR]", "callback": _keep(_APP), "help": "Where your app is: tasks:app"}),
    (("-b", "--broker"), {"metavar": "URL", "callback": _keep(_BROKER), "help": f"The queue folder: {DEFAULT_URL}"}),
    (("--result-backend",), {"metavar": "URL", "callback": _keep(_BACKEND), "help": "disabled:// keeps no results."}),
    (("--config",), {"metavar": "MODULE", "callback": _keep(_CONFIG), "help": "Read the settings from there."}),
    (("--workdir",), {"metavar": "FOLDER", "callback": _go_there, "help": "Go there first."}),
    (("--loader",), {"metavar": "NAME", "help": "Accepted; there is one way to find apps."}),
    (("-C", "--no-color"), {"is_flag": True, "callback": _without_colour, "help": "No colours; NO_COLOR=1 too."}),
    (("--allow-shared",), {"is_flag": True, "callback": _accept_shared, "help": "Use a folder that others may write."}),
    (("-q", "--quiet"), {"is_flag": True, "callback": _keep(_QUIET), "help": "No banner and no notes."}),
]


def is_quiet() -> bool:
    """Say whether ``-q`` asked for no banner and no notes."""
    return bool(click.get_current_context().meta.get(_QUIET))


def names_in(text: str) -> list[str]:
    """Return the names in ``a,b``, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def chosen_queues(folder: Folder, wanted: str, unwanted: str = "") -> list[str]:
    """Return the queues that ``-Q`` names, by default those that have a file, without those that ``-X`` names.

    The files of a queue's higher priorities belong to it. Raises ``ImproperlyConfigured`` for a name that no queue can have.
    """
    names, without = names_in(wanted), names_in(unwanted)
    for name in [*names, *without]:
        folder.queue(name)
    found = dict.fromkeys(priority_of(name)[0] for name in folder.queue_names())
    return [name for name in names or list(found) or [DEFAULT_QUEUE] if name not in without]


def app_name() -> str:
    """Return what ``-A`` said; empty without it."""
    return str(click.get_current_context().meta.get(_APP, ""))


def broker_url() -> str:
    """Return what ``-b`` said; empty without it."""
    return str(click.get_current_context().meta.get(_BROKER, ""))


def be_quiet() -> None:
    """Have no banner and no notes from now on."""
    click.get_current_context().meta[_QUIET] = True


def given_app() -> PMTQ | None:
    """Return the app that ``-A`` names, or that was started, its included modules imported; None if there is neither."""
    from pmtq.cli.finding import find_app, import_included

    started = click.get_current_context().find_root().obj
    app = find_app(app_name()) if app_name() else started if isinstance(started, PMTQ) else None
    if app is None:
        return None
    import_included(app)
    _configured(app)
    _say_that_it_begins(app)
    return app


def _say_that_it_begins(app: PMTQ) -> None:
    """Tell receivers, once, which command begins, and all that it was asked, the global options too."""
    context = click.get_current_context()
    if not context.meta.get(_TOLD):
        context.meta[_TOLD] = True
        given = {key.removeprefix("pmtq."): value for key, value in context.meta.items() if key in _GLOBAL_KEYS}
        signals.user_preload_options.send(context.command, app=app, options=given | context.params)


def required_app(what: str) -> PMTQ:
    """Return the app that ``-A`` names; raises ``ImproperlyConfigured`` without one, which says ``what`` needs it."""
    if app := given_app():
        return app
    raise without_app(what)


def without_app(what: str, arguments: Sequence[str] = ()) -> ImproperlyConfigured:
    """Return the error of a command that needs an app, ``what`` for, and that was typed without one."""
    from pmtq.cli.finding import suggested_app

    found = suggested_app(Path.cwd())
    head = f"There is an app in {found}.py" if found else "Name your module"
    typed = shlex.join([*click.get_current_context().command_path.split(), *arguments])
    return ImproperlyConfigured(f"{what}, and no -A says where it is. {head}: {typed} -A {found or 'tasks'}")


def client_app() -> PMTQ:
    """Return the app that ``-A`` names, else one without tasks, for the folder in use."""
    return given_app() or _configured(PMTQ())


def existing_folder() -> Folder:
    """Return the folder in use; raises ``OperationalError`` if nobody has made it yet, or its place is closed to us."""
    folder = client_app().folder
    if not (disk.exists(folder.path) and folder.path.is_dir()):
        raise OperationalError(
            f"there is no queue folder {folder.path}: nothing was ever sent there, and no worker was started. Go to the "
            "directory of your program, or name the folder: --broker file:///path/to/queue_dir"
        )
    return folder


def setting(app: PMTQ, name: str) -> Any:
    """Return what the app's configuration says under ``name``; None where it is as by default."""
    return app.conf.table(censored=False).get(name)


def _configured(app: PMTQ) -> PMTQ:
    """Let ``--config``, ``--result-backend`` and ``-b`` override what the code and the environment say."""
    meta = click.get_current_context().meta
    if config := meta.get(_CONFIG):
        app.config_from_object(config)
    if backend := meta.get(_BACKEND):
        app.conf.result_backend = backend
    if url := broker_url():
        app.broker_url = url
    return app
