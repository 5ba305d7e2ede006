"""Measures and prints the table: ``python -m tests.benchmarks``, or ``make bench``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.benchmarks import kills, plots
from tests.benchmarks.figures import FIGURES, FULL, QUICK, Bench, measure
from tests.benchmarks.kill_peers import all_targets
from tests.benchmarks.processes import Unmeasured, Workshop
from tests.benchmarks.table import circumstances, save, show, show_circumstances, show_kills
from tests.progress import run_as_program, say

KILLS = "kills"
"""The kill test's name beside those of the figures."""


def options() -> argparse.Namespace:
    """Read the command line."""
    names = [*FIGURES, KILLS]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure pmtq beside its targets.")
    parser.add_argument("--quick", action="store_true", help="small counts: less than a minute, more noise")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--no-peers", action="store_true", help="leave the other queues out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there, too")
    parser.add_argument("--plots", action="store_true", help="draw the figures of the tutorials instead")
    parser.add_argument("--rounds", type=int, metavar="N", help="so many for each point of the figures")
    parser.add_argument("--redraw", action="store_true", help="the same from what was measured the last time")
    parser.add_argument("--into", type=Path, metavar="FOLDER", default=plots.FIGURES, help="where the figures go")
    return parser.parse_args()


def main() -> int:
    """Measure; return 1 if something could not be measured. A missed target is a figure like any other."""
    chosen = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    if chosen.redraw:
        plots.redraw(chosen.into)
        return 0
    if chosen.plots:
        return draw(chosen)
    facts = circumstances()
    peers = not chosen.no_peers
    names = chosen.only or [*FIGURES, KILLS]
    figures = [name for name in names if name != KILLS]
    with Workshop() as shop:
        rows = measure(Bench(shop, QUICK if chosen.quick else FULL, say, with_peers=peers), figures) if figures else []
        targets = all_targets(shop, with_peers=peers) if KILLS in names else []
        scale = kills.QUICK if chosen.quick else kills.FULL
        outcomes = kills.measure(shop, targets, scale, say)
    say("")
    if chosen.json:
        save(rows, outcomes, facts, chosen.json)
    if rows:
        show(rows)
    if outcomes:
        show_kills(outcomes, scale.patience)
    show_circumstances(facts)
    return int(any(one.failed for one in (*rows, *outcomes)))


def draw(chosen: argparse.Namespace) -> int:
    """Measure and draw the figures of the tutorials; return 1 if they could not be measured."""
    facts = plots.facts_of_the_machine()
    scale = plots.QUICK if chosen.quick else plots.FULL
    try:
        with Workshop() as shop:
            measured = plots.measure(shop, scale._replace(rounds=chosen.rounds or scale.rounds), say)
    except Unmeasured as error:
        print(f"The figures were left as they are: {error}", file=sys.stderr)
        return 1
    plots.save(facts | measured, chosen.into)
    return 0


if __name__ == "__main__":
    run_as_program(main)
