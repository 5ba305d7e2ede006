"""Understands ``pmtq multi``'s way of naming workers: which there are, and which options each of them gets.

1. ``3`` means ``celery1 celery2 celery3``; anything else is taken as names. A name without ``@`` gets the host behind it.
2. ``-c 3`` is for all of them, ``-c:1-2 10`` for the first two, ``-Q:image,video a`` for those of that name. The more
   particular one counts.
3. Options are those of ``pmtq worker``, and which of them have values is asked there.

It does not start anything.
"""

from __future__ import annotations

import difflib
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import click

from pmtq.cli.nodes import expanded
from pmtq.worker.supervisor import expand_name

PREFIX = "celery"
"""The names of numbered workers begin so unless ``--range-prefix`` says otherwise, as in Celery."""
_OF_MULTI = {
    "--range-prefix": True,
    "--nosplash": False,
    "--verbose": False,
    "--quiet": False,
    "-q": False,
    "--no-color": False,
    "-C": False,
}
"""Options of multi itself, and whether they have a value."""


@dataclass
class Node:
    """One worker to be."""

    name: str
    options: dict[str, tuple[str, str | None]]
    """By the parameter they set: the option as it was written, and its value; None for a flag."""
    rest: list[str]
    """What stood behind ``--``."""

    def value(self, parameter: str, default: str = "") -> str:
        """Return what an option says."""
        return self.options.get(parameter, ("", default))[1] or default

    def arguments(self) -> list[str]:
        """Return the command line of the worker, beginning with the command."""
        line = ["worker", "--detach", "-n", self.name]
        for option, value in self.options.values():
            if value is None:
                line.append(option)
            else:
                line += [f"{option}={value}"] if option.startswith("--") else [option, value]
        return line + self.rest


@dataclass
class Wanted:
    """A command line of multi's, taken apart."""

    names: list[str] = field(default_factory=list)
    shared: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    particular: list[tuple[str, str, tuple[str, str | None]]] = field(default_factory=list)
    """For whom, which parameter, and the option with its value."""
    own: dict[str, str | None] = field(default_factory=dict)
    """The options of multi itself."""
    rest: list[str] = field(default_factory=list)

    def nodes(self, pid_file: str, log_file: str) -> list[Node]:
        """Return the workers; ``pid_file`` and ``log_file`` name their files where no option does."""
        names = self._full_names()
        return [self._node(name, number, names, pid_file, log_file) for number, name in enumerate(names, 1)]

    def _full_names(self) -> list[str]:
        """Return the names of the workers, each with its host."""
        host = (self.shared.get("hostname") or ("", None))[1] or socket.gethostname()
        host = host.rpartition("@")[2]
        names = self.names
        if len(names) == 1 and names[0].isdigit():
            names = [f"{self.own.get('--range-prefix') or PREFIX}{number}" for number in range(1, int(names[0]) + 1)]
        return [expand_name(name if "@" in name else f"{name}@{host}", socket.gethostname()) for name in names]

    def _node(self, name: str, number: int, names: list[str], pid_file: str, log_file: str) -> Node:
        options = {parameter: given for parameter, given in self.shared.items() if parameter != "hostname"}
        options.setdefault("pidfile", ("--pidfile", pid_file))
        options.setdefault("logfile", ("--logfile", log_file))
        options |= {
            parameter: given
            for chosen, parameter, given in self.particular
            if number in _numbers(chosen, names, given[0])
        }
        for parameter in ("pidfile", "logfile"):
            option, value = options[parameter]
            options[parameter] = (option, expanded(value or "", name, keep="iI"))
        return Node(name, options, self.rest)


def understood(arguments: Sequence[str], worker: click.Command) -> Wanted:
    """Take a command line apart, with the options that ``worker`` has. Raises ``UsageError`` for any other."""
    wanted, left, known = Wanted(), list(arguments), _options_of(worker)
    while left:
        argument = left.pop(0)
        if argument == "--":
            wanted.rest, left = ["--", *left], []
        elif not argument.startswith("-") or argument == "-":
            wanted.names.append(argument)
        else:
            _take_option(argument, left, wanted, known)
    return wanted


def _options_of(worker: click.Command) -> dict[str, tuple[str, bool]]:
    """Return by option: the parameter it sets, and whether it has a value."""
    return {
        option: (parameter.name or "", not parameter.is_flag)
        for parameter in worker.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }


def _take_option(argument: str, left: list[str], wanted: Wanted, known: dict[str, tuple[str, bool]]) -> None:
    """Put one option where it belongs, with its value, which may be the next argument."""
    head, equals, value = argument.partition("=") if argument.startswith("--") else (argument, "", "")
    option, colon, chosen = head.partition(":")
    if option not in known and option not in _OF_MULTI and not option.startswith("--"):
        option, value = option[:2], option[2:]  # -c4
    if option not in known and option not in _OF_MULTI:
        near = difflib.get_close_matches(option, [*known, *_OF_MULTI], n=1)
        hint = f"Did you mean {near[0]}?" if near else "The options are those of a worker: pmtq worker --help."
        raise click.UsageError(f"there is no option {head}. {hint}", click.get_current_context())
    parameter, has_value = known.get(option) or ("", _OF_MULTI[option])
    if has_value and not (equals or value):
        if not left:
            raise click.UsageError(f"{argument} needs a value.", click.get_current_context())
        value = left.pop(0)
    given = (option, value if has_value else None)
    if option in _OF_MULTI:
        wanted.own[option] = given[1]
    elif colon:
        wanted.particular.append((chosen, parameter, given))
    else:
        wanted.shared[parameter] = given


def _numbers(chosen: str, names: list[str], option: str) -> set[int]:
    """Return the places, counted from 1, of the workers that ``1-3``, ``1,4`` or ``image,video@host`` means."""
    places = {name: number for number, name in enumerate(names, 1)}
    short = {name.partition("@")[0]: number for name, number in places.items()}
    numbers: set[int] = set()
    for part in chosen.split(","):
        first, dash, last = part.partition("-")
        if part in places or part in short:
            numbers.add(places.get(part) or short[part])
        elif first.isdigit() and (last.isdigit() if dash else True) and _fits(int(first), int(last or first), names):
            numbers |= set(range(int(first), int(last or first) + 1))
        else:
            raise click.UsageError(
                f"{option}:{chosen} speaks of {part!r}, and there {_those(names)}. Write numbers from 1 or names.",
                click.get_current_context(),
            )
    return numbers


def _fits(first: int, last: int, names: list[str]) -> bool:
    return 1 <= first <= last <= len(names)


def _those(names: Iterable[str]) -> str:
    shown = list(names)
    return f"is only {shown[0]}" if len(shown) == 1 else f"are {', '.join(shown)}"
