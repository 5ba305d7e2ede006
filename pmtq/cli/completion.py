"""``pmtq completion``: makes your shell complete pmtq's commands and options with the Tab key."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print what makes your shell complete commands.

    Put the line for your shell into its start-up file:

    \b
        bash   ~/.bashrc    eval "$(pmtq completion bash)"
        zsh    ~/.zshrc     eval "$(pmtq completion zsh)"
        fish   ~/.config/fish/completions/pmtq.fish
                            pmtq completion fish | source
    """  # noqa: D301  (the backspace tells click to leave these lines as they are)
    kind = get_completion_class(shell)
    assert kind
    click.echo(kind(context.find_root().command, {}, "pmtq", "_PMTQ_COMPLETE").source())
