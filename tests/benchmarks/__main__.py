"""Measures and prints the table: ``python -m tests.benchmarks``, or ``make bench``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from tests.benchmarks.figures import FIGURES, FULL, QUICK, Bench, measure
from tests.benchmarks.processes import Workshop
from tests.benchmarks.table import circumstances, save, show


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure pmtq beside its targets.")
    parser.add_argument("--quick", action="store_true", help="small counts: less than a minute, more noise")
    parser.add_argument("--only", action="append", choices=list(FIGURES), metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--no-peers", action="store_true", help="leave Celery and Huey out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there, too")
    return parser.parse_args()


def main() -> int:
    """Measure; return 1 if something could not be measured. A missed target is a figure like any other."""
    chosen = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    facts = circumstances()
    with Workshop() as shop:
        bench = Bench(shop, QUICK if chosen.quick else FULL, say, with_peers=not chosen.no_peers)
        rows = measure(bench, chosen.only or list(FIGURES))
    say("")
    if chosen.json:
        save(rows, facts, chosen.json)
    show(rows, facts)
    return int(any(row.failed for row in rows))


def say(text: str) -> None:
    """Show what is going on, on a line that the next one replaces; in a log file, not at all."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.pop("PMTQ_BROKER_URL", None)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
