"""``pmtq call`` and ``pmtq result``: posting a call, and asking what became of it.

It does not know more than any client: what it does, a program can do with ``PMTQ.send_task`` and ``AsyncResult``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import click

from pmtq.app import PMTQ
from pmtq.backend import Backend
from pmtq.cli.options import client_app, existing_folder, takes_app
from pmtq.cli.text import arguments, as_json, pairs, shortened, table, visible, visible_lines
from pmtq.exceptions import ImproperlyConfigured, NotRegistered
from pmtq.family import Member, family_of
from pmtq.folder import Folder
from pmtq.inspection import View
from pmtq.presence import living
from pmtq.records import StateRecord
from pmtq.states import EXCEPTION_STATES, FINAL_STATES, PENDING, SUCCESS

FAILED, UNFINISHED = 1, 2
MOST_ALIKE = 10
"""Tasks of a workflow that are shown of those that stand in one place and are in one state."""
HUSH = 2.0
"""Seconds after which somebody who waits is told that no worker is there."""


def _only_json(context: click.Context, parameter: click.Parameter, value: str) -> None:
    if value != "json":
        raise click.BadParameter(
            f"{value!r} is not possible: a queue file holds JSON, so that anyone can read it. Nothing was queued.",
            context,
            parameter,
        )


@click.command()
@takes_app
@click.argument("name")
@click.argument("parameters", nargs=-1, metavar="[JSON]")
@click.option("-a", "--args", "args_text", metavar="JSON", default="", help="Positional arguments: '[2, 3]'")
@click.option("-k", "--kwargs", "kwargs_text", metavar="JSON", default="", help="""Keyword arguments: '{"x": 2}'""")
@click.option("-Q", "--queue", metavar="NAME", help="The queue to post to, instead of the task's own.")
@click.option("--routing-key", metavar="NAME", help="The same: a queue's name is its routing key.")
@click.option("--exchange", metavar="NAME", expose_value=False, help="Accepted; there are no exchanges here.")
@click.option("--countdown", type=float, metavar="SECONDS", help="Not to be run before so many seconds have passed.")
@click.option("--eta", metavar="TIME", help="Not to be run before this time: 2026-11-20T15:04:05Z")
@click.option("--expires", metavar="TIME|SECONDS", help="Not to be run from this time on.")
@click.option(
    "--serializer",
    metavar="json",
    default="json",
    callback=_only_json,
    expose_value=False,
    help="Only json: records are text.",
)
@click.option("--task-id", metavar="ID", default="", help="An id of your choice.")
@click.option("-w", "--wait", is_flag=True, help="Wait for the result and print it, as JSON.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="How long to wait.")
def call(
    *,
    name: str,
    parameters: tuple[str, ...],
    args_text: str,
    kwargs_text: str,
    routing_key: str | None,
    wait: bool,
    timeout: float | None,
    expires: str | None,
    **options: Any,
) -> int:
    """Post a call to the task NAME and print its id.

    JSON is an array of positional arguments or an object of keyword arguments; -a and -k give both. With -A the name and the arguments are
    checked against your code; without it any name is posted, for a worker that knows it.

    \b
        pmtq call tasks.add '[2, 3]' --wait
        pmtq call Image.resize '{"file": "/tmp/a.jpg", "width": 800}'
    """  # noqa: D301  (the backspace tells click to leave these lines as they are)
    args, kwargs = call_arguments(" ".join(parameters), args_text, kwargs_text)
    options["queue"] = options["queue"] or routing_key
    options = {key: value for key, value in options.items() if value is not None}
    if expires is not None:
        options["expires"] = number_or_text(expires)
    app = client_app()
    task_id = _posted(app, name, args, kwargs, options)
    click.echo(task_id, err=wait)
    with closing(app.backend):
        return _wait_for_value(app, task_id, timeout) if wait else 0


def _posted(app: PMTQ, name: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]) -> str:
    """Post the call, checked against the app's code if there is any; return the id."""
    if not app.tasks:
        return app.send_task(name, args, kwargs, **options).id
    try:
        return app.find_task(name).apply_async(args, kwargs, **options).id
    except NotRegistered as error:
        remedy = "Nothing was queued. For a task of another program leave -A out."
        raise NotRegistered(f"{error} {remedy}", error.name, error.known) from None
    except TypeError as error:
        raise click.ClickException(str(error)) from None


def call_arguments(text: str, args_text: str, kwargs_text: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the keyword arguments that stand behind the name, in ``-a`` and in ``-k``."""
    args, kwargs = _parsed(text)
    more_args, wrong = _parsed(args_text)
    if wrong:
        raise ImproperlyConfigured(f"-a {args_text} is not an array, such as '[2, 3]'. Nothing was queued.")
    also_wrong, more_kwargs = _parsed(kwargs_text)
    if also_wrong:
        raise ImproperlyConfigured(f"""-k {kwargs_text} is not an object, such as '{{"x": 2}}'. Nothing was queued.""")
    return args + more_args, kwargs | more_kwargs


def _parsed(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments; raises ``ImproperlyConfigured`` with a caret under the slip."""
    if not text.strip():
        return [], {}
    try:
        value = json.loads(text.encode().decode(), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ImproperlyConfigured(_slip(text, error)) from None
    except UnicodeEncodeError:
        raise ImproperlyConfigured("the arguments hold bytes that are no UTF-8 text. Nothing was queued.") from None
    except (RecursionError, ValueError) as error:
        raise ImproperlyConfigured(f"the arguments are no JSON: {error}. Nothing was queued.") from None
    if isinstance(value, list):
        return value, {}
    if isinstance(value, dict):
        return [], value
    raise ImproperlyConfigured(
        f"the arguments are {text.strip()}, which is neither an array nor an object. Nothing was queued. "
        f"Write one positional argument as '[{text.strip()}]'"
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _slip(text: str, error: json.JSONDecodeError) -> str:
    """Return the paragraph for text that is no JSON, and below it the line with a caret."""
    line = text.splitlines()[error.lineno - 1] if text.splitlines() else ""
    start = max(0, error.colno - 1 - 60)
    shown, caret = visible(line[start : start + 76]), " " * len(visible(line[start : error.colno - 1])) + "^"
    return (
        f"the arguments are no JSON: {error.msg.lower()}, line {error.lineno} column {error.colno}. Nothing was queued. Put "
        f"single quotes around JSON, so that the shell leaves its double quotes alone: '[2, \"text\"]'\n    {shown}\n    {caret}"
    )


def number_or_text(value: str) -> float | str:
    """Return seconds as a number, and a time as it was typed."""
    try:
        return float(value)
    except ValueError:
        return value


def _wait_for_value(app: PMTQ, task_id: str, timeout: float | None) -> int:
    """Print the task's value as soon as it is there; return the exit status."""
    state = _waited(app.folder, app.backend, task_id, timeout)
    if state is None:
        _say_why_not_yet(app, task_id, timeout)
        return UNFINISHED
    if state.status == SUCCESS:
        click.echo(as_json(state.result))
        return 0
    more = f" Its traceback: pmtq result {task_id} --traceback" if state.traceback else ""
    raise click.ClickException(f"task {task_id} ended as {state.status}: {_error(state)}.{more}")


def _waited(folder: Folder, backend: Backend, task_id: str, timeout: float | None) -> StateRecord | None:
    """Wait like ``Backend.wait``; whoever waits for nobody is told so after a moment."""
    moment = HUSH if timeout is None else min(HUSH, timeout)
    state = backend.wait(task_id, moment)
    if state or moment == timeout:
        return state
    if not living(folder):
        click.echo(f"No worker is running in {folder.path}; waiting for one. Start it: pmtq worker -A …", err=True)
    return backend.wait(task_id, None if timeout is None else timeout - moment)


def _say_why_not_yet(app: PMTQ, task_id: str, timeout: float | None) -> None:
    owed = View(app.folder, time.time()).find(task_id)
    why = f"; {owed.why}" if owed else ""
    click.echo(
        visible(f"task {task_id} has not ended after {timeout:g} s{why}. Ask again: pmtq result {task_id} --wait"),
        err=True,
    )


@click.command()
@takes_app
@click.argument("task_id", metavar="ID")
@click.option("-w", "--wait", is_flag=True, help="Wait until it has ended.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="How long to wait.")
@click.option("--traceback", is_flag=True, help="Show where the task failed.")
@click.option(
    "-t",
    "--task",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="Without NAME: --traceback. Celery's NAME is accepted.",
)
@click.option("--history", is_flag=True, help="Show every line of its life.")
@click.option("--tree", is_flag=True, help="Show the whole workflow that it belongs to.")
def result(
    *, task_id: str, wait: bool, timeout: float | None, traceback: bool, task: str | None, history: bool, tree: bool
) -> int:
    """Show what became of a task.

    The exit status is 0 if it succeeded, 1 if it ended in any other way, and 2 if it has not ended.
    """
    folder = existing_folder()
    with closing(Backend(folder)) as backend:
        if wait:
            _waited(folder, backend, task_id, timeout)
        state = backend.state(task_id)
        pairs(_facts(folder, state))
        if (traceback or task == "") and state.traceback:
            click.echo(visible_lines(state.traceback))
        if history:
            _show_history(folder, backend, task_id)
        if tree:
            _show_tree(folder, task_id)
    if state.status in FINAL_STATES:
        return 0 if state.status == SUCCESS else FAILED
    return UNFINISHED


def _show_tree(folder: Folder, task_id: str) -> None:
    """Print the workflow of a task, each step below those that it waits for and further in; of many alike the first few."""
    alike: list[Member] = []
    for one in [*family_of(folder, task_id), None]:
        if alike and (one is None or _kind(one) != _kind(alike[0])):
            _show_alike(alike, task_id)
            alike = []
        if one:
            alike.append(one)


def _kind(member: Member) -> tuple[object, ...]:
    return member.depth, member.function, member.state, member.before


def _show_alike(members: list[Member], task_id: str) -> None:
    indent = "  " * members[0].depth
    for one in members[:MOST_ALIKE]:
        mark = "  <- this one" if one.task_id == task_id else ""
        click.echo(visible(f"{indent}{one.function or '(cleared)'} {one.task_id} {one.state}{mark}"))
    if len(members) > MOST_ALIKE:
        click.echo(f"{indent}… and {len(members) - MOST_ALIKE:,} more of these")


def _facts(folder: Folder, state: StateRecord) -> Iterator[tuple[str, str]]:
    """Yield what is to be said about a task, by name."""
    yield "task", state.task_id
    owed = None if state.status in FINAL_STATES else View(folder, time.time()).find(state.task_id)
    yield "state", state.status if state.status != PENDING or owed is None else owed.state
    if state.status in EXCEPTION_STATES:
        yield "error", _error(state)
    elif state.status == SUCCESS or state.result is not None:
        yield "value", as_json(state.result)
    if state.worker:
        yield (
            "worker",
            f"{state.worker}, attempt {state.attempt}" + (f", {state.runtime:.4f} s" if state.runtime else ""),
        )
    if state.at:
        yield "at", state.at
    if owed:
        yield "function", f"{owed.function} {arguments(owed.args, owed.kwargs)}"
        yield "waits", owed.why
    elif state.status == PENDING:
        yield "waits", f"nothing is known of this id in {folder.path}; was it sent to another folder?"


def _error(state: StateRecord) -> str:
    error = state.error or {}
    return f"{error.get('type', '')}: {error.get('message', '')}"


def _show_history(folder: Folder, backend: Backend, task_id: str) -> None:
    owed = View(folder, time.time()).find(task_id)
    lines = [(owed.sent, "sent", "", f"{owed.function} {arguments(owed.args, owed.kwargs)}")] if owed else []
    for state in backend.history(task_id):
        detail = _error(state) if state.error else as_json(state.result) if state.status == SUCCESS else state.eta
        lines.append((state.at, state.status, f"{state.worker} attempt {state.attempt}".strip(), shortened(detail)))
    click.echo()
    table(("AT", "STATE", "WORKER", ""), lines, folds=("",))
