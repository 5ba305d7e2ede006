"""``pmtq revoke``, ``move``, ``pause`` and ``resume``: what becomes of tasks that wait.

It does not know how: what these commands do, a program can do with ``app.control``.
"""

from __future__ import annotations

import click

from pmtq.cli.control import told_fates
from pmtq.cli.options import client_app, existing_folder, takes_app
from pmtq.cli.text import visible
from pmtq.control import Control
from pmtq.family import family_of
from pmtq.revoking import Fate
from pmtq.states import FINAL_STATES


@click.command()
@takes_app
@click.argument("ids", nargs=-1, metavar="ID…")
@click.option("--group", metavar="ID", default="", help="Call off all tasks of this group.")
@click.option("--workflow", metavar="ID", default="", help="Call off all of the workflow that this task belongs to.")
@click.option("--terminate", is_flag=True, help="End the process that runs it as well (pool prefork).")
@click.option("-s", "--signal", default="SIGTERM", show_default=True, help="With --terminate: how.")
def revoke(*, ids: tuple[str, ...], group: str, workflow: str, terminate: bool, signal: str) -> int:
    """Call tasks off; one that runs goes on, and is not started again."""
    folder = existing_folder()
    if [bool(ids), bool(group), bool(workflow)].count(True) != 1:
        raise click.UsageError("name tasks by their ids, or a --group, or a --workflow.", click.get_current_context())
    if workflow:
        ids = tuple(one.task_id for one in family_of(folder, workflow) if one.state not in FINAL_STATES)
    control = Control(client_app())
    fates: list[Fate] = (
        control.revoke_group(group, terminate=terminate, signal=signal)
        if group
        else control.call_off(dict.fromkeys(ids), terminate=terminate, signal=signal)
    )
    return told_fates(fates)


@click.command()
@takes_app
@click.argument("task_id", metavar="ID")
@click.option("--front", is_flag=True, help="Before all that has not the highest priority, 9.")
@click.option("-p", "--priority", type=click.IntRange(0, 9), help="With this priority; the highest runs first.")
@click.option("-Q", "--queue", metavar="NAME", help="In this queue.")
def move(*, task_id: str, front: bool, priority: int | None, queue: str | None) -> None:
    """Have a waiting task run earlier, later or in another queue."""
    existing_folder()
    name, rank = Control(client_app()).move(task_id, front=front, queue=queue, priority=priority)
    click.echo(visible(f"task {task_id} waits in queue {name} with priority {rank}"))


_queue = click.option("-Q", "--queue", metavar="NAME", help="This queue.")
_task = click.option("-T", "--task", metavar="NAME", help="This task, in all queues.")


@click.command()
@takes_app
@_queue
@_task
def pause(*, queue: str | None, task: str | None) -> None:
    """Start nothing more of a queue or a task; or show what is paused."""
    existing_folder()
    control = Control(client_app())
    if not queue and not task:
        click.echo("\n".join(map(visible, control.paused())) or "nothing is paused")
        return
    control.pause(queue, task)
    click.echo(visible(f"paused: what is sent waits, what runs goes on. pmtq resume {_option(queue, task)}"))


@click.command()
@takes_app
@_queue
@_task
def resume(*, queue: str | None, task: str | None) -> None:
    """Start again what was paused."""
    existing_folder()
    control = Control(client_app())
    was = f"queue {queue}" if queue else f"task {task}"
    is_paused = was in control.paused()
    control.resume(queue, task)
    click.echo(visible(f"{was} goes on" if is_paused else f"{was} was not paused"))


def _option(queue: str | None, task: str | None) -> str:
    return f"-Q {queue}" if queue else f"-T {task}"
