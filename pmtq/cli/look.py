"""``pmtq status``, ``pmtq queue`` and ``pmtq inspect``: what is in the folder, whether a worker runs or not.

It does not know the files: ``pmtq.inspection`` reads them.
"""

from __future__ import annotations

import time

import click
import msgspec

from pmtq.cli.options import Commands, existing_folder, takes_app
from pmtq.cli.text import arguments, duration, shortened, table, visible
from pmtq.exceptions import OperationalError
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.inspection import Owed, Running, View, Worker
from pmtq.records import epoch

_START_ONE = "Start one: pmtq worker -A tasks"


@click.command()
@takes_app
def status() -> None:
    """Show the living workers, what each runs, and the queues' lengths."""
    view = View(existing_folder(), time.time())
    click.echo(f"folder {visible(str(view.folder.path))}\n")
    if view.workers:
        running = {task.worker: task for task in reversed(view.running())}  # the first of each worker is what it runs
        rows = [_worker_row(worker, running.get(worker.name), view.now) for worker in view.workers]
        table(("WORKER", "PID", "UP", "POOL", "QUEUES", "RUNS"), rows)
    else:
        click.echo(f"No worker is running. {_START_ONE}")
    click.echo()
    table(("QUEUE", "WAITING", "RUNNING", "FILE"), [_queue_row(view, name) for name in _queues(view.folder)])


def _worker_row(worker: Worker, task: Running | None, now: float) -> tuple[str, ...]:
    pool = (
        f"{worker.pool}, {worker.concurrency} processes"
        if worker.concurrency > 1 and not worker.parent
        else worker.pool
    )
    up = duration(now - _epoch(worker.started, now))
    return worker.name, str(worker.pid), up, pool, ",".join(worker.queues), _shown(task, now) if task else "-"


def _shown(task: Running, now: float) -> str:
    return f"{task.function} {task.task_id} for {duration(now - _epoch(task.since, now))}"


def _queue_row(view: View, name: str) -> tuple[str, ...]:
    backlog = view.backlog(name, 0)
    return name, str(backlog.owed - backlog.held), str(backlog.held), view.folder.queue(name).name


def _queues(folder: Folder) -> list[str]:
    return folder.queue_names() or [DEFAULT_QUEUE]


@click.command()
@takes_app
@click.option(
    "-n", "--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Show so many of each queue."
)
@click.option("-Q", "--queue", "names", metavar="A,B", default="", help="Only these queues. [default: all]")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line.")
def queue(*, limit: int, names: str, as_lines: bool) -> None:
    """Show what waits, in order, with its arguments, and why it waits."""
    view = View(existing_folder(), time.time())
    for name in [name for name in names.split(",") if name] or _queues(view.folder):
        backlog = view.backlog(name, limit)
        if as_lines:
            for owed in backlog.first:
                click.echo(visible(msgspec.json.encode(owed).decode()))
            continue
        click.echo(f"{backlog.owed:,} in queue {name} ({visible(str(view.folder.queue(name)))})")
        if backlog.first:
            table(("TASK", "FUNCTION", "ARGUMENTS", "WHY IT WAITS"), [_owed_row(owed) for owed in backlog.first])
        if backlog.owed > len(backlog.first):
            click.echo(f"… and {backlog.owed - len(backlog.first):,} more; see them with --limit {backlog.owed}")


def _owed_row(owed: Owed) -> tuple[str, ...]:
    shown = arguments(owed.args, owed.kwargs) if owed.function else "-"
    return owed.task_id or "(none yet)", shortened(owed.function or "-"), shown, shortened(owed.why, 200)


@click.group(cls=Commands)
@takes_app
def inspect() -> None:
    """Ask the living workers what they know and what they do."""


@inspect.command()
@takes_app
def registered() -> None:
    """Show which functions each living worker knows."""
    view = _living_view()
    table(
        ("WORKER", "FUNCTION"), [(worker.name, name) for worker in view.workers for name in worker.functions or ["-"]]
    )


@inspect.command()
@takes_app
def active() -> None:
    """Show what each living worker runs, and what it has claimed to run next."""
    view = _living_view()
    rows = [
        (
            task.worker,
            "runs" if task.begun else "has next",
            task.task_id,
            task.function or "(its record is gone)",
            arguments(task.args, task.kwargs),
            duration(view.now - _epoch(task.since, view.now)),
            str(task.attempt),
        )
        for task in view.running()
    ]
    if rows:
        table(("WORKER", "", "TASK", "FUNCTION", "ARGUMENTS", "FOR", "ATTEMPT"), rows)
    else:
        click.echo(f"{len(view.workers)} living, and none runs anything.")


def _living_view() -> View:
    """Return a view of a folder in which a worker lives; raises ``OperationalError`` if none does."""
    view = View(existing_folder(), time.time())
    if not view.workers:
        raise OperationalError(f"no worker is running on {view.folder.path}, so there is nobody to ask. {_START_ONE}")
    return view


def _epoch(moment: str, default: float) -> float:
    """Return a time out of a file, or ``default`` if somebody wrote something else there."""
    try:
        return epoch(moment)
    except ValueError:
        return default
