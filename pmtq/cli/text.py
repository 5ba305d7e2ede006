"""How things look on a terminal, and when there is none.

1. Whatever comes from a file or a task is made visible first: no byte of it can steer the terminal or hide another.
2. Without a terminal the output is plain, complete and stable, so that it can be searched and cut.

It does not know what it shows.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TextIO

import click
import msgspec

LONGEST = 70
"""Characters of a value in a table; ``pmtq result`` shows a value whole."""
_HARMLESS = frozenset("\u200c\u200d")
"""The joiners that Persian words and composed emoji need; they are format characters, but move nothing."""


def colours(stream: TextIO) -> bool:
    """Say whether ``stream`` is a terminal whose owner wants colours (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def visible(text: str) -> str:
    r"""Return ``text`` with everything escaped that is not seen or moves what is seen: ``\x1b``, ``\u202e``, ``\n``."""
    if text.isprintable():
        return text
    return "".join(character if _is_seen(character) else _escaped(character) for character in text)


def _is_seen(character: str) -> bool:
    return character == " " or character in _HARMLESS or unicodedata.category(character)[0] not in "CZ"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def visible_lines(text: str) -> str:
    """Return a text of several lines, such as a traceback, with each line made visible."""
    return "\n".join(visible(line) for line in text.splitlines())


def as_json(value: Any) -> str:
    """Return a value as it stands in the files; what ``visible`` would change is escaped so that it stays JSON.

    So is half a character, by which Python stands in for a byte of a file's name that is no text.
    """
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))
    if text.isprintable():
        return text
    return "".join(character if _is_seen(character) else json.dumps(character)[1:-1] for character in text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return ``text``, or its beginning and an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def arguments(args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """Return the arguments of a call in one line, as JSON: positional ones, keyword ones, or both."""
    parts = [as_json(value) for value in (args, kwargs) if value]
    return shortened(" ".join(parts) or "[]")


def duration(seconds: float) -> str:
    """Return seconds in the two units that matter: ``4 s``, ``2 min 5 s``, ``3 d 4 h``."""
    if seconds < 60:
        return f"{max(0.0, seconds):.0f} s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next(position for position, (_, size) in enumerate(units) if seconds >= size)
    (name, size), (next_name, next_size) = units[first : first + 2]
    return f"{seconds // size:.0f} {name} {seconds % size // next_size:.0f} {next_name}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, folds: Collection[str] = ()) -> None:
    """Print rows under their heads; cells are made visible here.

    On a narrow terminal the columns in ``folds`` go on below themselves; the others, which one copies, stay whole.
    """
    cells = [[visible(cell) for cell in row] for row in rows]
    if colours(sys.stdout):
        _table_on_terminal(heads, cells, folds)
    else:
        _table_in_file(heads, cells)


def _table_on_terminal(heads: Sequence[str], cells: list[list[str]], folds: Collection[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads:
        grid.add_column(head, overflow="fold", no_wrap=head not in folds)
    for row in cells:
        grid.add_row(*(Text(cell, style="cyan" if position == 0 else "") for position, cell in enumerate(row)))
    Console(highlight=False).print(grid)


def _table_in_file(heads: Sequence[str], cells: list[list[str]]) -> None:
    lines = [list(heads), *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def pairs(rows: Iterable[tuple[str, str]]) -> None:
    """Print named facts, one a line."""
    for name, value in rows:
        head = f"{name:<9} "
        click.echo((click.style(head, bold=True) if colours(sys.stdout) else head) + visible(value))
