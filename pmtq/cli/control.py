"""``pmtq control``: tells living workers what to do, and sets what holds for all of them, with Celery's commands.

1. What concerns tasks needs no worker: it stands in the results, and is obeyed by those that start later, too.
2. The exit status is 1 if a worker could not do what it was told.

It does not know how a worker obeys: what it does, a program can do with ``app.control``.
"""

from __future__ import annotations

from typing import Any

import click

from pmtq.cli.commands import Commands
from pmtq.cli.options import client_app, existing_folder, names_in, takes_app
from pmtq.cli.text import as_json, table, visible
from pmtq.control import Control, Replies
from pmtq.revoking import Fate

_DESTINATION, _JSON = "pmtq.control.destination", "pmtq.control.json"


@click.group(cls=Commands)
@takes_app
@click.option("-d", "--destination", metavar="A,B", default="", help="Only these workers. [default: all]")
@click.option("-j", "--json", "as_lines", is_flag=True, help="Answer in JSON.")
@click.option("-t", "--timeout", type=float, metavar="SECONDS", help="Accepted; nobody waits for an answer.")
@click.pass_context
def control(context: click.Context, *, destination: str, as_lines: bool, timeout: float | None) -> None:  # noqa: ARG001
    """Tell living workers what to do, and limit or call off tasks."""
    context.meta[_DESTINATION] = names_in(destination) or None
    context.meta[_JSON] = as_lines


def _steer(command: str, *arguments: Any, **options: Any) -> int:
    """Give a command to the workers that were named, and print what they say; return the exit status."""
    existing_folder()
    destination = click.get_current_context().meta[_DESTINATION]
    if destination is not None:
        options["destination"] = destination
    replies: Replies = getattr(Control(client_app()), command)(*arguments, **options)
    return _show(replies)


def _show(replies: Replies) -> int:
    answers = [(name, *said) for reply in replies for name, answer in reply.items() for said in answer.items()]
    if click.get_current_context().meta[_JSON]:
        click.echo(as_json(replies))
    elif answers:
        table(("WORKER", "", "ANSWER"), [(name, kind, str(said)) for name, kind, said in answers], folds=("ANSWER",))
    else:
        click.echo(
            "No worker is running to be told. What holds for tasks is set, and holds for those that start later."
        )
    return int(any(kind == "error" for _, kind, _ in answers))


@control.command()
@takes_app
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option("--terminate", is_flag=True, help="End the process that runs it as well (pool prefork).")
@click.option("-s", "--signal", default="SIGTERM", show_default=True, help="With --terminate: how.")
def revoke(*, ids: tuple[str, ...], terminate: bool, signal: str) -> int:
    """Call tasks off; one that runs goes on, and is not started again."""
    return _call_off(ids, terminate=terminate, signal=signal)


@control.command("terminate")
@takes_app
@click.argument("signal")
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
def terminate_(*, signal: str, ids: tuple[str, ...]) -> int:
    """Call tasks off, and end the processes that run them by SIGNAL: pmtq control terminate SIGKILL ID."""
    return _call_off(ids, terminate=True, signal=signal)


def _call_off(ids: tuple[str, ...], **how: Any) -> int:
    existing_folder()
    return told_fates(Control(client_app()).call_off(dict.fromkeys(ids), **how))


def told_fates(fates: list[Fate]) -> int:
    """Say what became of each task that was to be called off; return the exit status."""
    for fate in fates:
        click.echo(visible(f"task {fate.task_id} {fate.what}"), err=fate.is_refused)
    if not fates:
        click.echo("no such task is owed")
    return int(any(fate.is_refused for fate in fates))


@control.command("rate_limit")
@takes_app
@click.argument("task")
@click.argument("rate")
def rate_limit(*, task: str, rate: str) -> int:
    """Let TASK start only so often in all workers together.

    pmtq control rate_limit tasks.add 10/m. A rate of 0 is no limit; the word "none" takes it back to what the code says.
    """
    return _steer("rate_limit", task, None if rate.lower() == "none" else rate)


@control.command("time_limit")
@takes_app
@click.argument("task")
@click.argument("soft", type=float)
@click.argument("hard", type=float, required=False)
def time_limit(*, task: str, soft: float, hard: float | None) -> int:
    """Limit the seconds that TASK may run: SOFT raises in it, HARD ends its process. SOFT 0 takes both back."""
    return _steer("time_limit", task, soft=soft or None, hard=hard)


@control.command("pool_grow")
@takes_app
@click.argument("n", type=int, default=1)
def pool_grow(*, n: int) -> int:
    """Have workers run N tasks more at a time."""
    return _steer("pool_grow", n)


@control.command("pool_shrink")
@takes_app
@click.argument("n", type=int, default=1)
def pool_shrink(*, n: int) -> int:
    """Have workers run N tasks fewer at a time."""
    return _steer("pool_shrink", n)


@control.command("pool_restart")
@takes_app
def pool_restart() -> int:
    """Have workers replace the processes of their pools, one by one."""
    return _steer("pool_restart")


@control.command()
@takes_app
@click.argument("most", metavar="MAX", type=int)
@click.argument("least", metavar="MIN", type=int)
def autoscale(*, most: int, least: int) -> int:
    """Have workers keep between MIN and MAX processes, as many as there is work for."""
    return _steer("autoscale", most, least)


@control.command("add_consumer")
@takes_app
@click.argument("queue")
def add_consumer(*, queue: str) -> int:
    """Have workers serve QUEUE, too."""
    return _steer("add_consumer", queue)


@control.command("cancel_consumer")
@takes_app
@click.argument("queue")
def cancel_consumer(*, queue: str) -> int:
    """Have workers serve QUEUE no more."""
    return _steer("cancel_consumer", queue)


@control.command()
@takes_app
def shutdown() -> int:
    """End workers after the tasks that they run."""
    return _steer("shutdown")


@control.command("enable_events")
@takes_app
def enable_events() -> int:
    """Change nothing: every step of a task stands in the results anyway (pmtq events)."""
    return _steer("enable_events")


@control.command("disable_events")
@takes_app
def disable_events() -> int:
    """Change nothing: the steps in the results are how workers work together."""
    return _steer("disable_events")


@control.command()
@takes_app
def election() -> int:
    """Change nothing: workers agree by the lock of the results."""
    return _steer("election")


@control.command()
@takes_app
def heartbeat() -> int:
    """Change nothing: a worker is alive as long as it holds the lock of its file."""
    return _steer("heartbeat")
