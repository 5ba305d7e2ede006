"""Makes ``tutorials/reference.md``: every name of Celery's, and what there is of it here.

1. What is here is asked of the code; only why something is different or absent stands in ``remarks``.
2. A name that is in the code and has no remark is as in Celery. A remark that the code contradicts is an error.
3. What is accepted and comes to nothing is not here: a setting that nothing reads, a signal that nobody sends.

``make reference`` writes the page, and a test compares it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import click

from pmtq import call_options, defaults, events, exceptions, result, signals
from pmtq.app import PMTQ
from pmtq.cli import cli
from pmtq.cli.commands import COMMANDS
from pmtq.request import Request
from pmtq.task import Task
from tests.docs import celery_names as names
from tests.docs import evidence
from tests.docs.evidence import CODE, ROOT, tree
from tests.docs.remarks import ABSENT, COMING, DIFFERENT, ONLY_HERE

PAGE = ROOT / "tutorials" / "reference.md"
SAME, OTHER, NONE, OURS = "as in Celery", "different", "absent", "only here"
_NOT_YET = "not yet: it is accepted, and nothing is done about it"
_ACCEPTED = "Accepted"
"""How the help of an option begins, or its heading, that is taken and does nothing."""
_HEAD = """\
# Celery's names, and what there is of them here

Each name that Celery 5.7 has stands in a table below with one of three words. **As in Celery**: it does the same, so what
you know of it holds. **Different**: it is here, and the last column says what it does otherwise, or that it is accepted
and changes nothing. **Absent**: it is not here, and the column says why, or what to use. What pmtq has besides is listed as
**only here**.

This page is made from the code by `make reference`, and a test compares it with the code; so it cannot be out of date.
"""


class Row(NamedTuple):
    """One name, the word for it, and how it differs or why it is absent."""

    name: str
    word: str
    remark: str = ""


class Table(NamedTuple):
    """A heading, a sentence about what stands below it, and the rows."""

    title: str
    about: str
    rows: list[Row]


@cache
def tables() -> list[Table]:
    """Return all tables of the page in order; raises ``AssertionError`` for a remark that the code contradicts."""
    group = getattr(result, "GroupResult", object)
    return [
        Table("Commands", "What stands behind `celery`, and here behind `pmtq`.", _commands()),
        *_options(),
        Table("Settings", "In `app.conf`, in a configuration module, or as `PMTQ_…` in the environment.", _settings()),
        _table("The app", "`app = PMTQ(…)`", names.APP, _attributes(PMTQ) - evidence.unsent_signals()),
        _table("Tasks", "Options of `@app.task`, attributes and methods.", names.TASK, _attributes(Task)),
        Table("Calls", "Options of `apply_async` and `send_task`.", _call_options()),
        _table(
            "The request", "`self.request` of a bound task.", names.REQUEST, _attributes(Request) - _constants(Request)
        ),
        _table("Results", "`AsyncResult`", names.ASYNC_RESULT, _attributes(result.AsyncResult)),
        _table("Several results", "`ResultSet`", names.RESULT_SET, _attributes(result.ResultSet)),
        _table("Results of groups", "`GroupResult`, besides what a set has.", names.GROUP_RESULT, _attributes(group)),
        _table("Exceptions", "`pmtq.exceptions`", names.EXCEPTIONS, _exceptions()),
        Table("Signals", "`pmtq.signals`", _signals()),
        _table("Events", "What `pmtq events` shows.", names.EVENTS, _texts_in(Path(events.__file__))),
    ]


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(text for table in tables() for text in _written(table))])


def _written(table: Table) -> Iterator[str]:
    yield f"## {table.title}\n\n{table.about}\n"
    yield "| In Celery | Here | How, or why not |\n|---|---|---|"
    for (word, remark), found in _joined(table.rows).items():
        shown = ", ".join(f"`{name}`" for name in found)
        yield f"| {shown} | {word} | {_escaped(remark)} |"
    yield ""


def _joined(rows: Iterable[Row]) -> dict[tuple[str, str], list[str]]:
    """Return the names by what is said of them, in the order of the words above."""
    joined: dict[tuple[str, str], list[str]] = {}
    for row in sorted(rows, key=lambda row: [SAME, OTHER, NONE, OURS].index(row.word)):
        joined.setdefault((row.word, row.remark), []).append(row.name)
    return joined


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _table(title: str, about: str, of_celery: Iterable[str], here: Iterable[str]) -> Table:
    here = set(here)
    return Table(
        title, about, [*(_row(title, name, found=name in here) for name in of_celery), *_only_here(title, here)]
    )


def _row(title: str, name: str, *, found: bool) -> Row:
    """Return what is to be said about a name, given whether the code has it."""
    different, absent, coming = (_remark(remarks, title, name) for remarks in (DIFFERENT, ABSENT, COMING))
    assert not (found and absent), f"{title}: {name} is here now; take it out of ABSENT in tests/docs/remarks.py"
    assert found or not different, f"{title}: {name} is not here; take it out of DIFFERENT in tests/docs/remarks.py"
    assert found or absent or coming, f"{title}: {name} is not here; say why in ABSENT in tests/docs/remarks.py"
    if not found:
        return Row(name, NONE, absent or f"not yet: it comes {coming}")
    return Row(name, OTHER, different) if different else Row(name, SAME)


def _remark(remarks: Mapping[str, Mapping[str, str]], title: str, name: str) -> str:
    """Return the remark about a name; remarks are the keys, and the names they are about the values."""
    return next((text for text, about in remarks.get(title, {}).items() if name in about.split()), "")


def _only_here(title: str, here: set[str]) -> list[Row]:
    rows = [Row(name, OURS, text) for text, about in ONLY_HERE.get(title, {}).items() for name in about.split()]
    gone = [row.name for row in rows if row.name not in here]
    assert not gone, f"{title}: {gone} is not here any more; take it out of ONLY_HERE in tests/docs/remarks.py"
    return rows


def _attributes(kind: type) -> set[str]:
    """Return the names of all that a class has, announces, or sets on its objects.

    What ``Task`` sets is left out: its ``signature`` is Python's, and would pass for Celery's.
    """
    announced = {name for base in kind.__mro__ for name in vars(base).get("__annotations__", {})}
    return {*dir(kind), *announced, *(_set_in_init(kind) if kind is not Task else ())}


def _constants(kind: type) -> set[str]:
    """Return what a class has for all its objects alike: that is no answer."""
    return {name for name, value in vars(kind).items() if not (callable(value) or isinstance(value, property))}


def _set_in_init(kind: type) -> set[str]:
    bodies = [
        ast.parse(dedent(inspect.getsource(base.__init__)))
        for base in kind.__mro__
        if base.__init__ is not object.__init__
    ]
    nodes = [node for body in bodies for node in ast.walk(body) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"}


def _exceptions() -> set[str]:
    """Return the exceptions that somebody raises, catches or derives from, or writes into a results file by name."""
    nodes = [node for path in CODE for node in ast.walk(tree(path))]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    used |= {text.removeprefix("pmtq.exceptions.") for text in texts}
    return {name for name, value in vars(exceptions).items() if isinstance(value, type) and name in used}


def _texts_in(path: Path) -> set[str]:
    """Return the texts that stand in the code of a module."""
    nodes = ast.walk(tree(path))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _settings() -> list[Row]:
    words = [(SAME, defaults.HONOURED), (OTHER, defaults.DIFFERENT), (NONE, defaults.IGNORED)]
    rows = [Row(name, word, note) for word, notes in words for name, note in notes.items() if name in names.SETTINGS]
    unknown = set(names.SETTINGS) - {row.name for row in rows}
    assert not unknown, f"pmtq/defaults.py says nothing about {unknown}"
    unread = evidence.unread_settings()
    return [Row(row.name, NONE, _NOT_YET) if row.name in unread else row for row in rows]


def _signals() -> list[Row]:
    here = {name for name, value in vars(signals).items() if isinstance(value, signals.Signal)}
    for name in names.SIGNALS:
        assert (name in here) != (name in signals.ABSENT), f"pmtq/signals.py must have {name} or say why not"
    reasons = signals.ABSENT | dict.fromkeys(evidence.unsent_signals(), "not yet: nobody sends it")
    return [Row(name, NONE, reasons[name]) if name in reasons else Row(name, SAME) for name in names.SIGNALS]


def _call_options() -> list[Row]:
    here = {"args", "kwargs", *call_options.CallOptions.__annotations__}
    rows = []
    for row in _table("Calls", "", names.CALL_OPTIONS, here).rows:
        reason = call_options.WITHOUT_EFFECT.get(row.name)
        assert not (reason and row.word == OTHER), f"Calls: {row.name} has two reasons"
        rows.append(Row(row.name, OTHER, f"accepted, and changes nothing: {reason}") if reason else row)
    return rows


def _commands() -> list[Row]:
    here = {name for rows in COMMANDS.values() for name in rows}
    rows = [_row("Commands", name, found=name in here) for name in [*names.OPTIONS, "help"] if name]
    for command, inner in names.SUBCOMMANDS.items():
        if command in here:
            found = _inner_commands(command)
            rows += [_inner_row(f"{command} {name}", found.get(name)) for name in inner]
            rows += [
                Row(f"{command} {name}", OURS, it.get_short_help_str(200))
                for name, it in found.items()
                if name not in inner
            ]
    sentences = {name: sentence for some in COMMANDS.values() for name, (_, sentence) in some.items()}
    return rows + [Row(name, OURS, sentences[name]) for name in sorted(here - {*names.OPTIONS, "help"})]


def _inner_row(name: str, command: click.Command | None) -> Row:
    if command and command.hidden:  # it is there to say why it is not
        return Row(name, NONE, command.help or "")
    return _row("Commands", name.rsplit(maxsplit=1)[-1], found=command is not None)._replace(name=name)


def _inner_commands(name: str) -> dict[str, click.Command]:
    command = found_command(name)
    return command.commands if isinstance(command, click.Group) else {}


def found_command(name: str) -> click.Command:
    """Return the command of that name; the program itself for an empty one."""
    if not name:
        return cli
    command = cli.get_command(click.Context(cli), name)
    assert command, name
    return command


def _options() -> list[Table]:
    here = {"", *(name for rows in COMMANDS.values() for name in rows)}
    of_all = {opt for parameter in cli.params for opt in parameter.opts}
    return [
        Table(
            title, f"Options of `{'pmtq ' + name if name else 'pmtq'}`.", _option_rows(title, name, of_celery, of_all)
        )
        for name, of_celery in names.OPTIONS.items()
        if name in here and of_celery
        for title in [f"pmtq {name}" if name else "pmtq"]
    ]


def _option_rows(title: str, name: str, of_celery: Iterable[str], of_all: set[str]) -> list[Row]:
    found = {opt: parameter for parameter in _parameters(name) for opt in (*parameter.opts, *parameter.secondary_opts)}
    rows, known = [], set(of_all) if name else set()
    for spec in of_celery:
        spellings = spec.split("/")
        known.update(spellings)
        have = [one for one in spellings if one in found]
        missing = [one for one in spellings if one not in found]
        shown = " ".join(spellings)
        assert not (have and missing), f"{title}: {have} is there and {missing} is not"
        row = _row(title, spellings[-1], found=bool(have))
        accepted = _accepted(found[have[0]]) if have else ""
        assert not (accepted and row.word == OTHER), f"{title}: {shown} has two reasons"
        if name == "worker" and have and found[have[0]].name in evidence.idle_wishes():
            rows.append(Row(shown, NONE, _NOT_YET))
        else:
            rows.append(Row(shown, OTHER, accepted) if accepted else row._replace(name=shown))
    ours = {id(found[one]): found[one] for one in found if not {"--help", *known} & set(found[one].opts)}
    return rows + [Row(" ".join(one.opts), OURS, one.help or "") for one in ours.values()]


def _parameters(name: str) -> list[click.Option]:
    if name == "multi":  # it takes its arguments as they are, and looks for these texts
        texts = _texts_in(ROOT / "pmtq/cli/cluster.py") | _texts_in(ROOT / "pmtq/cli/multi.py")
        return [click.Option([text]) for text in names.OPTIONS["multi"] if text in texts]
    command = found_command(name)
    parameters = command.get_params(click.Context(command))
    return [parameter for parameter in parameters if isinstance(parameter, click.Option)]


def _accepted(option: click.Option) -> str:
    """Return why an option that is taken does nothing; empty for one that does something."""
    text = option.help or ""
    if not text.startswith(_ACCEPTED) and not getattr(option, "group", "").startswith(_ACCEPTED):
        return ""
    reason = text.removeprefix(_ACCEPTED).lstrip("; ").rstrip(".")
    return f"accepted: {reason[0].lower()}{reason[1:]}"


if __name__ == "__main__":
    PAGE.write_text(page())
