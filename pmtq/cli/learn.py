"""``pmtq demo`` and ``pmtq help``: for whoever is here for the first time."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--plain", is_flag=True, help="No colours and no moving picture.")
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="FOLDER", help="Work there and leave everything there."
)
def demo(*, plain: bool, keep: Path | None) -> int:
    """Watch a worker and a client at work on real pictures."""
    from pmtq.demo import run

    return run(keep, plain)


@click.command("help")
@click.argument("command", nargs=-1)
@click.pass_context
def help_(context: click.Context, command: tuple[str, ...]) -> None:
    """Show this list, or the options of a command."""
    assert context.parent
    found, path = context.parent, list(command)
    while path and isinstance(found.command, click.Group):
        name, inner, _ = found.command.resolve_command(found, path[:1])
        assert inner
        found, path = click.Context(inner, found, name), path[1:]
    click.echo(found.get_help())
