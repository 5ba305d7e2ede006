"""``pmtq status``, ``pmtq queue`` and ``pmtq list``: what is in the folder, whether a worker runs or not.

It does not know the files: ``pmtq.inspection`` reads them.
"""

from __future__ import annotations

import time

import click

from pmtq.cli.ask import destinations, takes_destination, wants_json
from pmtq.cli.commands import Commands
from pmtq.cli.options import chosen_queues, existing_folder, takes_app
from pmtq.cli.text import arguments, as_json, duration, shortened, table, visible
from pmtq.folder import priority_of
from pmtq.inspection import Owed, Running, View, Worker

_START_ONE = "Start one: pmtq worker -A tasks"


@click.command()
@takes_destination
@takes_app
def status() -> int:
    """Show who works, what each worker runs, and what waits."""
    view = View(existing_folder(), time.time())
    workers = destinations(view)
    if wants_json():
        click.echo(as_json({worker.name: {"ok": "pong"} for worker in workers if not worker.parent}))
        return 0
    click.echo(f"folder {visible(str(view.folder.path))}\n")
    if workers:
        running = {task.worker: task for task in reversed(view.running())}  # the first of each worker is what it runs
        rows = [_worker_row(worker, running.get(worker.name), view.now) for worker in workers]
        table(("WORKER", "PID", "UP", "POOL", "QUEUES", "RUNS"), rows, folds=("POOL", "QUEUES", "RUNS"))
    else:
        click.echo(f"No worker is running. {_START_ONE}")
    click.echo()
    queues = [_queue_row(view, name) for name in chosen_queues(view.folder, "")]
    table(("QUEUE", "WAITING", "RUNNING", "FILE"), queues, folds=("FILE",))
    return 0


def _worker_row(worker: Worker, task: Running | None, now: float) -> tuple[str, ...]:
    pool = (
        f"{worker.pool}, {worker.concurrency} processes"
        if worker.concurrency > 1 and not worker.parent
        else worker.pool
    )
    up = duration(worker.seconds_up(now))
    return worker.name, str(worker.pid), up, pool, ",".join(worker.queues), _shown(task, now) if task else "-"


def _shown(task: Running, now: float) -> str:
    return f"{task.function} {task.task_id} for {duration(task.seconds(now))}"


def _queue_row(view: View, name: str) -> tuple[str, ...]:
    backlog = view.backlog(name, 0)
    return name, str(backlog.owed - backlog.held), str(backlog.held), view.folder.queue(name).name


@click.command()
@takes_app
@click.option(
    "-n", "--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Show so many of each queue."
)
@click.option("-Q", "--queue", "names", metavar="A,B", default="", help="Only these queues. [default: all]")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line.")
def queue(*, limit: int, names: str, as_lines: bool) -> None:
    """Show what waits, in order, and why it waits."""
    view = View(existing_folder(), time.time())
    for name in chosen_queues(view.folder, names):
        backlog = view.backlog(name, limit)
        if as_lines:
            for owed in backlog.first:
                click.echo(as_json(owed))
            continue
        click.echo(f"{backlog.owed:,} in queue {name} ({visible(str(view.folder.queue(name)))})")
        if backlog.first:
            rows = [_owed_row(owed) for owed in backlog.first]
            table(("TASK", "FUNCTION", "ARGUMENTS", "WHY IT WAITS"), rows, folds=("ARGUMENTS", "WHY IT WAITS"))
        if backlog.owed > len(backlog.first):
            click.echo(f"… and {backlog.owed - len(backlog.first):,} more; see them with --limit {backlog.owed}")


def _owed_row(owed: Owed) -> tuple[str, ...]:
    shown = arguments(owed.args, owed.kwargs) if owed.function else "-"
    return owed.task_id or "(none yet)", shortened(owed.function or "-"), shown, shortened(owed.why, 200)


@click.group("list", cls=Commands, invoke_without_command=True)
@takes_app
@click.pass_context
def list_(context: click.Context) -> None:
    """List the queues, their files, and who serves them."""
    if context.invoked_subcommand is None:
        _list_queues()


@list_.command("queues")
@takes_app
def queues() -> None:
    """List the queues, their files, and who serves them."""
    _list_queues()


@list_.command("bindings")
@takes_app
def bindings() -> None:
    """List the same: there are no exchanges here, so that a queue's name is also its routing key."""
    _list_queues()


def _list_queues() -> None:
    view = View(existing_folder(), time.time())
    served = [name for worker in view.workers for name in worker.queues]
    names = dict.fromkeys([*chosen_queues(view.folder, ""), *served])
    rows = [(*_queue_row(view, name), _servants(view, name)) for name in names]
    table(("QUEUE", "WAITING", "RUNNING", "FILE", "SERVED BY"), rows, folds=("SERVED BY",))


def _servants(view: View, queue: str) -> str:
    names = [worker.name for worker in view.workers if priority_of(queue)[0] in worker.queues and not worker.parent]
    return ", ".join(names) or f"nobody: pmtq worker -Q {priority_of(queue)[0]} …"
