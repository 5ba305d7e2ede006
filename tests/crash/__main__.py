"""Runs the large forms of the harnesses, and prints one table: ``python -m tests.crash``, or ``make crash``."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.crash import faults, fuzz, kills, model, points, power_cut
from tests.crash.counts import Counts
from tests.crash.table import Row, show
from tests.progress import run_as_program, say

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 10
BATCH = 50
"""Examples that share a seed: so many are run again to find the one that broke."""


class Sizes(NamedTuple):
    """How much of each."""

    tasks: int
    kills: int
    states: int
    examples: int
    cuts: int
    seed: int


def model_row(sizes: Sizes) -> Row:
    """Run the state machine beside its dict."""

    def batch(number: int, examples: int) -> None:
        run_state_machine_as_test(seed(number)(model.Queue), settings=_settings(examples, stateful_step_count=50))

    row = _in_batches("model", sizes, sizes.examples, batch)
    row.kills = model.STEPS["kills"]
    row.count = f"{model.STEPS['steps']:,} steps, {model.STEPS['tasks']:,} tasks"
    return row


def points_row(sizes: Sizes) -> Row:
    """Put a crash between any two effects, and into them."""
    tally = points.explore(
        sizes.seed, sizes.states, 0.05, lambda so_far: say(f"points: {so_far.states:,} of {sizes.states:,} states")
    )
    return Row(
        "points",
        f"{tally.states:,} states of {tally.stories:,} stories",
        None,
        tally.lost + tally.missing,
        0,
        tally.needless,
        tally.unexpected,
        fault=tally.first,
        again=_again("points", tally.last_seed, f"--states {sizes.states}"),
    )


def storm_row(sizes: Sizes) -> Row:
    """Kill, freeze and end real processes."""
    options = ["--tasks", str(sizes.tasks), "--kills", str(sizes.kills), "--seed", str(sizes.seed)]
    again = _again("storm", sizes.seed, f"--tasks {sizes.tasks} --kills {sizes.kills}")
    report, fault = _reported("storm", options)
    if not report:
        return Row("storm", fault=fault, again=again)
    return Row(
        "storm",
        f"{report['tasks']:,} tasks, {report['frozen']:,} freezes, {report['ended']:,} ends",
        report["kills"],
        report["lost"],
        report["doubled"],
        report["needless"],
        report["unexpected"] + report["overlapping"] + report["unruly"],
        report["redelivery"],
        fault=fault,
        again=again,
    )


def rounds_row(sizes: Sizes) -> Row:
    """Post and run very many, round after round, while others revoke, forget and read."""
    again = _again("rounds", sizes.seed, f"--tasks {sizes.tasks}")
    report, fault = _reported("rounds", ["--tasks", str(sizes.tasks), "--rounds", str(ROUNDS)])
    if not report:
        return Row("rounds", fault=fault, again=again)
    sizes_seen = f"{max(report['sizes']):.0f} MB on the disk, {report['memory']:.0f} MB a worker"
    counted = report["lost"], report["doubled"], 0, report["unexpected"]
    return Row("rounds", f"{report['tasks']:,} tasks, at most {sizes_seen}", None, *counted, fault=fault, again=again)


def _reported(name: str, options: list[str]) -> tuple[dict[str, Any], str]:
    """Run the program ``tests.crash.<name>`` in a folder that it is given; return its report, and what went wrong first."""
    place = Path(tempfile.mkdtemp(prefix=f"pmtq-{name}-"))
    command = [sys.executable, "-m", f"tests.crash.{name}", *options, str(place)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        last = ""
        try:
            for line in process.stderr or ():
                last = line.rstrip()
                say(f"{name}: {last}")
            answer = process.stdout.read() if process.stdout else ""
        finally:
            process.terminate()  # when this is broken off; it ends its own
    if not answer:
        return {}, f"it ended without a report: {last}. Its folder is {place}"
    report: dict[str, Any] = json.loads(answer)
    if report["first"]:
        return report, f"{report['first']}. Its folder is {place}"
    shutil.rmtree(place)
    return report, ""


def fuzz_row(sizes: Sizes) -> Row:
    """Have files of any bytes read."""
    checks = fuzz.CHECKS

    def batch(number: int, examples: int) -> None:
        for check in checks:
            fuzz.attempt(check, _settings(examples), number)

    return _in_batches("fuzz", sizes, sizes.examples, batch, f" of {len(checks)} checks")


def calls_row(sizes: Sizes) -> Row:
    """Kill clients, workers and their heirs at every system call that leaves a trace."""
    if why := kills.why_not():
        return Row("calls", f"not run: {why}")
    row, happened = _surveyed("calls", kills.survey_all, "system calls of {} programs", sizes)
    row.kills = happened
    return row


def faults_row(sizes: Sizes) -> Row:
    """Have every system call on the files fail, with every error."""
    return _surveyed("faults", faults.survey_all, "failed calls in {} scenarios", sizes)[0]


def power_row(sizes: Sizes) -> Row:
    """Cut the power under each file system that can be mounted here."""
    row, done, missing = Row("power"), [], []
    for number, file_system in enumerate(power_cut.MAKE):
        if why := power_cut.why_not(file_system):
            missing.append(f"{file_system} not: {why}")
            continue
        say(f"power: {sizes.cuts:,} cuts under {file_system}, the {number + 1}. of {len(power_cut.MAKE)} file systems")
        seen = power_cut.cut_power(file_system, sizes.cuts, sizes.seed)
        done.append(file_system)
        row.lost += seen.lost
        row.unexpected += seen.older + len(seen.troubles)
        row.fault = row.fault or next(iter(seen.troubles), "")
    row.count = "; ".join([f"{sizes.cuts:,} cuts each under {', '.join(done)}"] * bool(done) + missing)
    row.again = _again("power", sizes.seed, f"--cuts {sizes.cuts}")
    return row


HARNESSES: dict[str, Callable[[Sizes], Row]] = {
    "model": model_row,
    "points": points_row,
    "storm": storm_row,
    "rounds": rounds_row,
    "fuzz": fuzz_row,
    "calls": calls_row,
    "faults": faults_row,
    "power": power_row,
}


def _surveyed(name: str, survey_all: Callable[[Path], dict[str, Counts]], of: str, sizes: Sizes) -> tuple[Row, int]:
    """Run the surveys of one kind; return their row, and how often the fault came to pass.

    ``of`` says what they are of, with their number to be put in.
    """
    say(f"{name}: some minutes")
    with tempfile.TemporaryDirectory(prefix=f"pmtq-{name}-") as place:
        found = survey_all(Path(place)).values()
    troubles = [trouble for counts in found for trouble in counts.troubles]
    happened = sum(counts.kills for counts in found)
    row = Row(
        name,
        f"{happened:,} {of.format(len(found))}",
        lost=sum(counts.lost for counts in found),
        doubled=sum(counts.doubled for counts in found),
        needless=sum(counts.needless for counts in found),
        unexpected=len(troubles),
        fault=next(iter(troubles), ""),
        again=_again(name, sizes.seed, ""),
    )
    return row, happened


def _settings(examples: int, **more: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        **more,
    )


def _in_batches(name: str, sizes: Sizes, examples: int, batch: Callable[[int, int], object], of: str = "") -> Row:
    """Run ``batch(seed, examples)`` until there were so many examples, or one of them broke a promise."""
    row, done = Row(name), 0
    while done < examples and not row.fault:
        number, size = sizes.seed + done // BATCH, min(BATCH, examples - done)
        try:
            batch(number, size)
        except Exception as error:
            row.fault = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
            row.unexpected += 1
            row.again = _again(name, number, f"--examples {size}")
        done += size
        say(f"{name}: {done:,} of {examples:,} examples")
    row.count = f"{done:,} examples{of}"
    return row


def _again(name: str, number: int, sizes: str) -> str:
    return f"python -m tests.crash --only {name} --seed {number} {sizes}".rstrip()


def run(sizes: Sizes, names: list[str]) -> list[Row]:
    """Run the harnesses of these names one after the other."""
    rows = []
    for name in names:
        began = time.monotonic()
        row = HARNESSES[name](sizes)
        row.seconds = time.monotonic() - began
        rows.append(row)
    say("")
    return rows


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description="Break things, and see that nothing is lost."
    )
    parser.add_argument("--tasks", type=int, default=100_000, help="of the storm, and of the rounds (%(default)s)")
    parser.add_argument("--kills", type=int, default=1000, help="in the storm (%(default)s)")
    parser.add_argument("--states", type=int, default=250_000, help="after crashes in memory (%(default)s)")
    parser.add_argument(
        "--examples", type=int, default=2000, help="of the model and of each check of the fuzz (%(default)s)"
    )
    parser.add_argument("--cuts", type=int, default=500, help="of the power, under each file system (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() // 10**9 % 10**6, help="of all chance (another one each time)"
    )
    parser.add_argument("--only", action="append", choices=list(HARNESSES), metavar="NAME", help=", ".join(HARNESSES))
    return parser.parse_args()


def main() -> int:
    """Run, and return 1 if a promise was broken."""
    chosen = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    logging.disable(logging.CRITICAL)  # what goes wrong here was meant to
    sizes = Sizes(chosen.tasks, chosen.kills, chosen.states, chosen.examples, chosen.cuts, chosen.seed)
    rows = run(sizes, chosen.only or list(HARNESSES))
    status = show(rows)
    print(f"Seed {sizes.seed}")
    return status


if __name__ == "__main__":
    run_as_program(main)
