"""``make soak``: runs workers and clients for some minutes, and says whether anything grows or is missing.

1. The workers are what users start, one of each pool in turn; the clients are processes, too.
2. Notes are kept as they are taken, so that a run that is ended early is not lost.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from tests.benchmarks.plots import FIGURES, facts_of_the_machine
from tests.benchmarks.processes import Process, Unmeasured, Workshop, python
from tests.benchmarks.soak import growth
from tests.benchmarks.soak.client import PATIENCE
from tests.benchmarks.soak.watching import Diaries, Note, Watcher, charts, watched
from tests.benchmarks.svg import draw
from tests.benchmarks.table import WIDTH
from tests.progress import run_as_program, say

POOLS = [("solo", "-P", "solo"), ("prefork, 2", "-c", "2"), ("threads, 2", "-P", "threads", "-c", "2")]
CLIENTS = 4
NOTES, PICTURE = "soak.json", "soak.svg"
EXPIRES = 60.0
"""Seconds that results are kept: with the usual day, files would rightly grow all the time."""


class Terms(NamedTuple):
    """How long, with how many, and how often a note is taken."""

    seconds: float = 600.0
    workers: int = 4
    clients: int = CLIENTS
    every: float = 5.0
    expires: float = EXPIRES


class Run(NamedTuple):
    """What a run showed."""

    notes: list[Note]
    pools: list[str]
    troubles: list[str]
    done: int

    def verdicts(self) -> list[growth.Verdict]:
        """Return what the second half of each series shows; of too short a run, nothing."""
        times = [note.at for note in self.notes]
        found = [growth.judge(times, series) for series in watched(self.notes, self.pools)]
        return [one for one in found if one]


def soak(shop: Workshop, terms: Terms, say: Callable[[str], None], keep: Callable[[Run], None]) -> Run:
    """Run it all; ``keep`` is given what there is at each note. Raises ``Unmeasured`` if a process ends by itself."""
    folder, diary = shop.new_folder(), shop.new_folder()
    environment = {"PMTQ_BROKER_URL": f"file://{folder}", "PMTQ_RESULT_EXPIRES": str(terms.expires)}
    chosen = [POOLS[number % len(POOLS)] for number in range(terms.workers)]
    run = Run([], [pool[0] for pool in chosen], [], 0)
    with ExitStack() as stack:

        def start(*command: str | Path) -> Process:
            return stack.enter_context(shop.running(python(*command), environment))

        workers = [start(*_worker_command(number + 1, *pool[1:])) for number, pool in enumerate(chosen)]
        paths = [diary / f"{number + 1}" for number in range(terms.clients)]
        numbers = (str(terms.seconds), str(terms.expires))
        clients = [start("tests.benchmarks.soak.client", path, *numbers) for path in paths]
        watcher = Watcher(folder, [one.pid for one in workers], [one.pid for one in clients], Diaries(paths))
        deadline = time.monotonic() + terms.seconds + 10 * PATIENCE
        while True:
            due = time.monotonic() + terms.every
            shop.wait_for(
                lambda due=due: time.monotonic() > due or all(one.poll() is not None for one in clients),
                "the next note",
                terms.every + PATIENCE,
                every=0.05,
            )
            note = watcher.look()
            # What they no longer do all together is another thing, and who is just ending has no memory any more.
            if not watcher.over and all(one.poll() is None for one in clients):
                run.notes.append(note)
            run = run._replace(troubles=watcher.troubles, done=watcher.done)
            keep(run)
            say(f"{note.at:.0f} s: {run.done:,} tasks, {len(run.troubles)} missing or wrong")
            if watcher.over == terms.clients:
                return run
            _see_to_it_that_they_live(shop, workers, clients)
            if time.monotonic() > deadline:
                raise Unmeasured(f"the clients did not come to an end.{shop.said()}")


def _worker_command(number: int, *options: str) -> tuple[str, ...]:
    app = ("-A", "tests.benchmarks.soak.tasks:app")
    return ("pmtq", "worker", *app, "-n", f"worker{number}@%h", "--loglevel", "critical", *options)


def _see_to_it_that_they_live(shop: Workshop, workers: list[Process], clients: list[Process]) -> None:
    ended = [one for one in workers if one.poll() is not None] + [one for one in clients if one.poll()]
    if ended:
        raise Unmeasured(f"process {ended[0].pid} ended with status {ended[0].returncode}.{shop.said()}")


def show(run: Run, console: Console) -> bool:
    """Print the table; say whether all is well."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for heading in ("second half of the run", "median", "rises by", "may rise by", "verdict"):
        table.add_column(heading, justify="left" if heading in {"second half of the run", "verdict"} else "right")
    verdicts = run.verdicts()
    falls = {one.name for one in watched(run.notes, run.pools) if one.falls}
    for one in verdicts:
        bad = "FALLS" if one.name in falls else "GROWS"
        shown = [f"{value:,.1f} {one.unit}".strip() for value in (one.median, one.rise, one.allowed)]
        table.add_row(one.name, *shown, bad if one.grows else "flat")
    console.print(table)
    spent = run.notes[-1].at if run.notes else 0.0
    console.print(f"{run.done:,} tasks in {spent:,.0f} s; missing or wrong results: {len(run.troubles)}")
    for text in run.troubles[:10]:
        console.print(text, markup=False)
    if not verdicts:
        console.print(f"The run was too short to say whether anything grows: {len(run.notes)} notes.")
    return bool(verdicts) and not run.troubles and not any(one.grows for one in verdicts)


def as_json(run: Run, terms: Terms, facts: dict[str, object]) -> str:
    """Return what is kept of a run: one note a line, so that two runs can be compared."""
    head = facts | {"terms": terms._asdict(), "pools": run.pools, "done": run.done, "troubles": run.troubles}
    lines = [json.dumps(key) + ": " + json.dumps(value) for key, value in head.items()]
    notes = ",\n".join("  " + json.dumps(msgspec.to_builtins(note)) for note in run.notes)
    return "{\n" + ",\n".join(lines) + ',\n"notes": [\n' + notes + "\n]\n}\n"


def save(run: Run, terms: Terms, facts: dict[str, object], folder: Path) -> None:
    """Keep what there is of a run: whole in a draft first, so that an end in the middle leaves the notes before."""
    draft = folder / f"{NOTES}.draft"
    draft.write_text(as_json(run, terms, facts))
    draft.replace(folder / NOTES)


def read_json(text: str) -> Run:
    """Return the run that ``as_json`` has kept."""
    kept: dict[str, Any] = json.loads(text)
    return Run(msgspec.convert(kept["notes"], list[Note]), kept["pools"], kept["troubles"], kept["done"])


def picture(run: Run) -> str:
    """Return the text of the run's SVG file."""
    return draw(charts(run.notes, run.pools))


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description="See whether anything grows.")
    parser.add_argument("--minutes", type=float, default=10.0, help="10 by default")
    parser.add_argument("--workers", type=int, default=4, help="4 by default")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="between two notes; 5 by default")
    parser.add_argument("--into", type=Path, metavar="FOLDER", default=FIGURES, help="where notes and figure go")
    parser.add_argument("--redraw", action="store_true", help="show and draw the last run again, without another one")
    return parser.parse_args()


def main() -> int:
    """Run it; return 1 if something grows, is missing or could not be measured."""
    chosen = options()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if chosen.redraw:
        run = read_json((chosen.into / NOTES).read_text())
        (chosen.into / PICTURE).write_text(picture(run))
        return int(not show(run, console))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    terms = Terms(seconds=chosen.minutes * 60, workers=chosen.workers, every=chosen.every)
    facts = facts_of_the_machine()

    def keep(run: Run) -> None:
        save(run, terms, facts, chosen.into)

    chosen.into.mkdir(parents=True, exist_ok=True)
    try:
        with Workshop() as shop:
            run = soak(shop, terms, say, keep)
    except Unmeasured as error:
        console.print(f"The run was ended: {error}", markup=False)
        return 1
    say("")
    well = show(run, console)
    (chosen.into / PICTURE).write_text(picture(run))
    return int(not well)


if __name__ == "__main__":
    run_as_program(main)
