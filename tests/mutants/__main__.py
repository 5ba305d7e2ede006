"""``make mutants``: puts each bug into a copy of the project, and shows which tests catch it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.mutants.bugs import BUGS, Bug

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds after which tests that go on count as failed: with the bug they hang."""
_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "queue_dir", "figures")


class Verdict(NamedTuple):
    """What one test file made of one bug."""

    tests: str
    caught: bool
    by: str
    """The first test that failed."""


def copy_of_the_project(folder: Path) -> Path:
    """Copy the code and its tests into ``folder``; return where they stand now."""
    return Path(shutil.copytree(ROOT, folder / "project", ignore=_NOT_COPIED))


def put_in(bug: Bug, project: Path) -> None:
    """Make the change in a copy of the project; raises ``ValueError`` if the text does not stand there once."""
    path = project / "pmtq" / bug.file
    text = path.read_text()
    if text.count(bug.before) != 1:
        raise ValueError(
            f"{bug.name}: the text stands {text.count(bug.before)} times in pmtq/{bug.file}: {bug.before!r}"
        )
    path.write_text(text.replace(bug.before, bug.after))


def judge(tests: str, project: Path) -> Verdict:
    """Run a test file of that project until the first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout=30", *tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return Verdict(tests, True, f"it went on for {PATIENCE:g} s")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED tests/", "ERROR tests/"))]
    if done.returncode == 0:
        return Verdict(tests, False, "")
    if not failed and "+ Timeout +" not in done.stdout + done.stderr:
        raise RuntimeError(f"{tests} could not be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Verdict(tests, True, failed[0].partition("::")[2].partition(" - ")[0] if failed else "it hung")


def verdicts_on(bug: Bug, tests: tuple[str, ...]) -> list[Verdict]:
    """Return what each of these test files makes of a bug."""
    with tempfile.TemporaryDirectory(prefix="pmtq-mutant-") as folder:
        project = copy_of_the_project(Path(folder))
        put_in(bug, project)
        return [judge(one, project) for one in tests]


def main() -> int:
    """Try the bugs that were asked for, and say how many were caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", default="", help="only bugs with this text in their name")
    wanted = [bug for bug in BUGS if parser.parse_args().only in bug.name]
    missed = 0
    for number, bug in enumerate(wanted, 1):
        begun = time.monotonic()
        print(f"{number:2} of {len(wanted)}  {bug.name} (pmtq/{bug.file})", flush=True)
        for verdict in verdicts_on(bug, bug.caught_by):
            missed += not verdict.caught
            found = f"caught: {verdict.by}" if verdict.caught else f"MISSED, so nothing shows that {bug.promise}"
            print(f"          {verdict.tests}  {found}", flush=True)
        print(f"          {time.monotonic() - begun:.0f} s", flush=True)
    print(f"{len(wanted)} bugs, {missed} times missed")
    return 1 if missed or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
