"""``pmtq events``: follows what happens in the folder, one line an event.

It does not know how events come about: ``pmtq.events`` does.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from pmtq.cli.options import existing_folder, is_quiet, takes_app
from pmtq.cli.text import arguments, as_json, colours, shortened, visible
from pmtq.events import Event, Following
from pmtq.watch import SLOW_POLL, Watch

_COLOUR = {"task-succeeded": "green", "task-failed": "red", "task-retried": "yellow", "task-revoked": "yellow"}


@click.command()
@click.option("-d", "--dump", is_flag=True, help="One line an event; this is what it does anyway.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line, with Celery's field names.")
@click.option(
    "-c", "--camera", metavar="CLASS", help="Accepted; there is no snapshot to take, as results.jsonl is one."
)
@click.option(
    "-F",
    "--freq",
    "--frequency",
    type=click.FloatRange(min=0.01),
    metavar="SECONDS",
    help="Look so often, not at once.",
)
@click.option("-r", "--maxrate", metavar="RATE", help="Accepted; it limits the snapshots that there are none of.")
@takes_app
def events(*, dump: bool, as_lines: bool, camera: str | None, freq: float | None, maxrate: str | None) -> None:  # noqa: ARG001
    """Follow what happens, one line an event.

    Task-sent is a new line in a queue file; the others are lines in results.jsonl. What stood there before is not shown.
    """
    folder = existing_folder()
    if not is_quiet():
        if camera:
            click.echo("No snapshots are taken: what is so far stands in results.jsonl. Events follow.", err=True)
        click.echo(f"Following {visible(str(folder.path))}; Ctrl-C ends it", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        for event in _follow(Following(folder, time.time()), folder.path, freq):
            click.echo(as_json(event) if as_lines else line_of(event))


def _follow(following: Following, folder: Path, pause: float | None) -> Iterator[Event]:
    """Yield the events as they happen, for ever; with ``pause`` look only so often, in seconds."""
    while True:
        files = following.files()
        with contextlib.closing(Watch(folder, files)) as watch:
            while following.files() == files:
                seen = watch.seen()
                yield from following.news(time.time())
                if pause:
                    time.sleep(pause)
                else:
                    watch.wait(seen, SLOW_POLL)


def line_of(event: Event) -> str:
    """Return the event as a line: when, what, which task, and what there is to say of it."""
    kind = f"{visible(event.type):<14}"
    if colours(sys.stdout):
        kind = click.style(kind, fg=_COLOUR.get(event.type, "cyan"))
    rest = [event.name, event.uuid, _detail(event), event.hostname and f"on {event.hostname}"]
    return f"{visible(event.timestamp)} {kind} {visible(' '.join(filter(None, rest)))}"


def _detail(event: Event) -> str:
    if event.type == "task-sent":
        return arguments(event.args or (), event.kwargs or {}) + (f" not before {event.eta}" if event.eta else "")
    if event.type == "task-succeeded":
        return f"{shortened(as_json(event.result))} in {event.runtime:.4f} s"
    if event.type == "task-retried":
        return f"{shortened(event.exception)} again at {event.eta}"
    return shortened(event.exception) or ("" if event.result is None else shortened(as_json(event.result)))
