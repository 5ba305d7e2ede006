"""``pmtq doctor``: what is wrong with a queue folder, one line each, and what to do about it.

It does not know how things are found or mended: ``pmtq.examining`` and ``pmtq.mending`` do.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from pmtq.cli.options import existing_folder, takes_app
from pmtq.cli.text import as_json, colours, visible
from pmtq.examining import examine
from pmtq.mending import mend as mended
from pmtq.surroundings import Finding
from pmtq.wording import counted

PROBLEM, NOTE, MENDED = "problem", "note", "mended"
_COLOURS = {PROBLEM: "red", NOTE: "cyan", MENDED: "green"}


@click.command()
@takes_app
@click.option("--mend", is_flag=True, help="Mend what can be mended without you; no record is thrown away.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line.")
def doctor(*, mend: bool, as_lines: bool) -> int:
    """Check the queue folder, and say what to do about what is found.

    \b
        problem   somebody should do something about it
        note      good to know; nothing need be done
        mended    it was found, and is not there any more (--mend)

    Needs no worker, and may run beside some. With --mend it also does, once, what a worker does that knows no function. The
    exit status is 1 if a problem is left, else 0.
    """  # noqa: D301  (the backspace tells click to leave these lines as they are)
    folder = existing_folder()
    gone: list[Finding] = []
    with _without_log():
        found = examine(folder)
        if mend:
            before, troubles = found, mended(folder, found)
            found = examine(folder)
            left = {(one.check, one.file) for one in found}
            gone = [one for one in before if one.mends and (one.check, one.file) not in left]
            for trouble in troubles:
                click.echo(visible(f"{type(trouble).__name__}: {trouble}"), err=True)
    rows = [*((MENDED, one) for one in gone), *((NOTE if one.is_note else PROBLEM, one) for one in found)]
    if as_lines:
        for word, one in rows:
            click.echo(_as_json(word, one))
    else:
        click.echo(f"folder {visible(str(folder.path))}")
        for word, one in rows:
            click.echo(_line(word, one))
        click.echo(_summary(found, gone, mend=mend))
    return 1 if any(not one.is_note for one in found) else 0


@contextmanager
def _without_log() -> Iterator[None]:
    """Have nothing logged: what there is to say is among the findings."""
    nowhere, logger = logging.NullHandler(), logging.getLogger("pmtq")
    before, logger.propagate = logger.propagate, False
    logger.addHandler(nowhere)
    try:
        yield
    finally:
        logger.removeHandler(nowhere)
        logger.propagate = before


def _line(word: str, one: Finding) -> str:
    head = f"{word:<8}"
    if colours(sys.stdout):
        head = click.style(head, fg=_COLOURS[word], bold=True)
    return head + visible(f" {one.what}: {one.mends}." if word == MENDED else f" {one.what}. {one.remedy}")


def _as_json(word: str, one: Finding) -> str:
    remedy = "" if word == MENDED else one.remedy
    done = one.mends if word == MENDED else ""
    facts = {"found": word, "check": one.check, "file": one.file, "what": one.what, "remedy": remedy, "mended": done}
    return as_json({name: value for name, value in facts.items() if value})


def _summary(found: list[Finding], gone: list[Finding], *, mend: bool) -> str:
    problems, mendable = sum(not one.is_note for one in found), sum(bool(one.mends) for one in found)
    notes = len(found) - problems
    if not found:
        return "nothing else is wrong" if gone else "nothing is wrong"
    said = counted(problems, "problem") + (f", {counted(notes, 'note')}" if notes else "")
    return f"{said}; pmtq doctor --mend mends {mendable} of them" if mendable and not mend else said
