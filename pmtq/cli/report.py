"""``pmtq report``: versions, platform and settings, for a bug report.

1. What looks like a secret is not shown (see ``pmtq.censor``).
"""

from __future__ import annotations

import platform
import sys
from importlib import metadata

import click

from pmtq import __version__
from pmtq.censor import censored
from pmtq.cli.options import client_app, takes_app
from pmtq.cli.text import as_json, visible

_PACKAGES = ("filelock", "watchdog", "msgspec", "click", "rich")


@click.command()
@takes_app
def report() -> None:
    """Show versions, platform and settings, for a bug report."""
    app = client_app()
    facts = versions() | {"broker": str(censored("broker_url", app.broker_url)), "folder": str(app.folder.path)}
    for name, value in facts.items():
        click.echo(f"{name:<9} {visible(value)}")
    if app.tasks:
        click.echo(f"{'tasks':<9} {visible(', '.join(sorted(app.tasks)))}")
    for name, value in app.conf.table().items():
        click.echo(f"{visible(name)}: {value if isinstance(value, str) else as_json(value)}")


def versions() -> dict[str, str]:
    """Return what runs here: pmtq, Python, the system, and the packages that pmtq is made of."""
    return {
        "pmtq": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})",
        "system": platform.platform(),
        "packages": ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES),
    }
