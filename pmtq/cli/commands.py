"""The table of commands: how they are grouped, what each is for, and which module holds it.

1. A command's module is imported when the command is named, so that ``pmtq --help`` is quick.
2. What stands here about a command is the first sentence of its own help.

It does not know what the commands do.
"""

from __future__ import annotations

import difflib
import importlib

import click

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Run tasks": {
        "worker": ("work:worker", "Run the tasks of your app as they arrive."),
        "beat": ("beat:beat", "Post the periodic tasks of your app when their time has come."),
        "multi": ("multi:multi", "Start, stop and restart several workers in the background."),
    },
    "Ask for work": {
        "call": ("send:call", "Post a call to the task NAME and print its id."),
        "schedule": ("schedule:schedule", "Show and change what is posted by the clock."),
        "result": ("send:result", "Show what became of a task."),
        "logs": ("output:logs", "Print what a task printed while it ran."),
        "requeue": ("dead:requeue", "Post dead tasks again, each under a new id."),
        "revoke": ("waiting:revoke", "Call tasks off; one that runs goes on, and is not started again."),
        "edit": ("edit:edit", "Open a queue in your editor; what is posted meanwhile is kept."),
        "move": ("waiting:move", "Have a waiting task run earlier, later or in another queue."),
        "pause": ("waiting:pause", "Start nothing more of a queue or a task; or show what is paused."),
        "resume": ("waiting:resume", "Start again what was paused."),
        "control": ("control:control", "Tell living workers what to do, and limit or call off tasks."),
        "purge": ("purge:purge", "Call off every task that waits; what runs now is left alone."),
    },
    "Look": {
        "status": ("look:status", "Show who works, what each worker runs, and what waits."),
        "queue": ("look:queue", "Show what waits, in order, and why it waits."),
        "dead": ("dead:dead", "Show the tasks that ended badly, the newest first, and why."),
        "list": ("look:list_", "List the queues, their files, and who serves them."),
        "inspect": ("ask:inspect", "Ask the living workers what they know and what they do."),
        "events": ("events:events", "Follow what happens, one line an event."),
        "doctor": ("doctor:doctor", "Check the queue folder, and say what to do about what is found."),
        "report": ("report:report", "Show versions, platform and settings, for a bug report."),
    },
    "Learn and explore": {
        "demo": ("learn:demo", "Watch a worker and a client at work on real pictures."),
        "shell": ("shell:shell", "Open a Python prompt with the app and its tasks at hand."),
        "completion": ("completion:completion", "Print what makes your shell complete commands."),
        "help": ("learn:help_", "Show this list, or the options of a command."),
    },
}
"""By heading and name: module and attribute, and the sentence."""


_SENTENCE = 200
"""Characters of a sentence about a command; click would cut it off after 45."""


class Commands(click.Group):
    """A group that knows what a misspelt sub-command was meant to be, and alone shows its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help where nothing else was typed; click would make that an error."""
        if not args and not self.invoke_without_command:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the sub-command; a name that is nearly one is a usage error that says which."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"Did you mean '{ctx.command_path} {near[0]}'?" if near else f"There are: {', '.join(known)}."
            raise click.UsageError(f"there is no command {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the names in the order in which one needs them."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with the whole first sentence of each."""
        shown = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, it.get_short_help_str(_SENTENCE)) for name, it in shown.items() if it and not it.hidden]
            )


class Program(Commands):
    """The commands of the table, imported one by one as they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the names in the order of the table."""
        return [name for rows in COMMANDS.values() for name in rows]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (click's signature)
        """Import the command of that name; None if there is none."""
        for rows in COMMANDS.values():
            if cmd_name in rows:
                module, _, attribute = rows[cmd_name][0].partition(":")
                command = getattr(importlib.import_module(f"pmtq.cli.{module}"), attribute)
                assert isinstance(command, click.Command)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (click's)
        """Write the commands under their headings, without importing them."""
        widest = max(len(name) for rows in COMMANDS.values() for name in rows)
        for heading, rows in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), sentence) for name, (_, sentence) in rows.items()])
