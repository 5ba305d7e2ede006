"""``pmtq purge``: calls off everything that waits, after asking.

It does not know how: that is ``pmtq.revoking``.
"""

from __future__ import annotations

import time

import click

from pmtq.cli.options import chosen_queues, existing_folder, takes_app
from pmtq.cli.text import visible
from pmtq.wording import counted


@click.command()
@takes_app
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("-Q", "--queues", metavar="A,B", default="", help="Only these queues. [default: all]")
@click.option("-X", "--exclude-queues", metavar="A,B", default="", help="All but these queues.")
def purge(*, force: bool, queues: str, exclude_queues: str) -> None:
    """Call off every task that waits; what runs now is left alone."""
    from pmtq.inspection import View
    from pmtq.revoking import Revoking

    folder = existing_folder()
    names = chosen_queues(folder, queues, exclude_queues)
    view = View(folder, time.time())
    waiting = sum(backlog.owed - backlog.held for backlog in (view.backlog(name, 0) for name in names))
    if waiting and not force:
        _ask(f"Call off {counted(waiting, 'waiting task')} in {', '.join(names)} of {folder.path}?")
    count = Revoking(folder).purge(names) if waiting else 0
    click.echo(f"{counted(count, 'waiting task')} called off (REVOKED) in {visible(str(folder.path))}")


def _ask(question: str) -> None:
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        agreed = False
        click.echo(err=True)
    if not agreed:
        raise click.ClickException("nothing was called off, because nobody said yes. pmtq purge -f does not ask")
