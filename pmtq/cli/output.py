"""``pmtq logs``: what a task printed and logged while it ran, as far as it was kept.

It does not know how it is kept: the worker writes a text file per task.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click

from pmtq.backend import Backend
from pmtq.cli.options import existing_folder, takes_app
from pmtq.cli.text import visible
from pmtq.exceptions import OperationalError
from pmtq.output import output_path
from pmtq.states import FINAL_STATES

LOOK = 0.1
"""Seconds between two looks at a file that is followed."""


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on with what it prints until it has ended.")
@takes_app
def logs(*, task_id: str, follow: bool) -> None:
    """Print what a task printed while it ran.

    It is kept for tasks that say so, with @app.task(keep_output=True): in a text file per task in queue_dir/logs.
    """
    folder = existing_folder()
    path = output_path(folder.logs, task_id)
    with closing(Backend(folder)) as backend:
        for line in _lines(path, task_id, backend, follow=follow):
            click.echo(visible(line))
        if not path.exists():
            raise OperationalError(
                f"nothing is kept of what task {task_id} printed ({path} is not there; the task is "
                f"{backend.state(task_id).status}). To keep it from now on: @app.task(keep_output=True)"
            )


def _lines(path: Path, task_id: str, backend: Backend, *, follow: bool) -> Iterator[str]:
    """Yield the file's lines; with ``follow`` also those to come, until the task has ended."""
    offset, rest, ended = 0, b"", not follow
    while True:
        ended = ended or backend.state(task_id).status in FINAL_STATES  # before reading: what it printed is there then
        if path.exists():
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read()
            offset += len(data)
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
        if ended:
            break
        time.sleep(LOOK)
    if rest:
        yield rest.decode("utf-8", "replace")
