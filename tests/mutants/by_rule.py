"""``make mutmut``: changes the core by rule, one place at a time, and counts how many of the changes its tests notice.

1. mutmut makes the changes (``<`` becomes ``<=``, a number one more, an argument None …) and runs the tests that reach each.
2. It works in a copy of the project, so nothing is left in the checkout.
3. A mutant counts as killed when a test fails or hangs; one that no test reaches has survived like any other.

mutmut leaves alone what stands outside of functions, and functions with a decorator. It does not know which survivors do no
harm: they are shown, for people to judge.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.__main__ import copy_of_the_project

MODULES = ("broker", "journal", "ledger")
TESTS = ("tests/test_broker.py", "tests/test_journal.py", "tests/test_ledger.py", "tests/test_claimer.py", "tests/test_backend.py")  # fmt: skip
"""Those that call the modules straight or from one floor above, and take a second or two together."""
FLOOR = 90.0
"""Per cent of a module's mutants that must be killed."""
AT_A_TIME = 2
"""Mutants that are tried side by side."""
KILLED = {"killed", "timeout"}
"""What mutmut calls a mutant at which a test failed, or went on for ever."""

# A collection of garbage in the middle of ContextVar.set closes journals, whose `close` mutmut has wrapped in another
# ContextVar.set, and Python crashes: https://github.com/python/cpython/issues/148891. So only tests that ask collect.
MUTMUT = "import gc; gc.disable(); from mutmut.__main__ import cli; cli()"


class Mutants:
    """What became of the mutants of one module, by the name that mutmut gave each."""

    def __init__(self, fates: dict[str, str]) -> None:
        """Take what became of each; there is one at least."""
        self.total = len(fates)
        self.survivors = [name for name, fate in fates.items() if fate not in KILLED]

    @property
    def share(self) -> float:
        """Per cent that were killed."""
        return 100 * (self.total - len(self.survivors)) / self.total


def settings(modules: tuple[str, ...], tests: tuple[str, ...]) -> str:
    """Return the lines of pyproject.toml that tell mutmut what to change, and what to run."""
    return f"""
[tool.mutmut]
source_paths = ["pmtq"]
only_mutate = {[f"pmtq/{module}.py" for module in modules]}
pytest_add_cli_args_test_selection = {list(tests)}
pytest_add_cli_args = ["-p", "no:cacheprovider", "--timeout=30"]
use_setproctitle = false
"""


def mutmut(project: Path, *arguments: str) -> str:
    """Run a command of mutmut in that project; return what it printed, or raise ``RuntimeError`` with the end of it."""
    command = [sys.executable, "-P", "-c", MUTMUT, *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"mutmut {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def fates_in(results: str, module: str) -> dict[str, str]:
    """Read what ``mutmut results`` says of one module: what became of each mutant, by name."""
    found = (line.strip().rpartition(": ") for line in results.splitlines())
    return {name: fate for name, _, fate in found if name.startswith(f"pmtq.{module}.")}


def try_all(project: Path, modules: tuple[str, ...], tests: tuple[str, ...]) -> dict[str, Mutants]:
    """Try all mutants of these modules in a copy of the project."""
    with (project / "pyproject.toml").open("a") as file:
        file.write(settings(modules, tests))
    mutmut(project, "run", "--max-children", str(AT_A_TIME))
    results = mutmut(project, "results", "--all", "true")
    return {module: Mutants(fates_in(results, module)) for module in modules}


def change(project: Path, name: str) -> str:
    """Return the line that a mutant changed, before and after."""
    lines = mutmut(project, "show", name).splitlines()
    changed = [line for line in lines if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))]
    return "\n".join(f"    {line[0]} {line[1:].strip()}" for line in changed)


def table(found: dict[str, Mutants]) -> str:
    """Return how many of each module's mutants were killed."""
    lines = ["module   mutants  killed    share"]
    lines += [
        f"{module:7}  {mutants.total:7}  {mutants.total - len(mutants.survivors):6}  {mutants.share:5.1f} %"
        for module, mutants in found.items()
    ]
    return "\n".join(lines)


def main() -> int:
    """Try the mutants of the modules that were asked for; say which survived, and whether they are too many."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.by_rule", description=__doc__)
    parser.add_argument("--only", choices=MODULES, help="only this module")
    only = parser.parse_args().only
    modules = (only,) if only else MODULES
    begun = time.monotonic()
    print(f"Changing {', '.join(modules)} by rule; some hundred changes take minutes ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="pmtq-mutmut-") as folder:
        project = copy_of_the_project(Path(folder))
        found = try_all(project, modules, TESTS)
        for name in (name for mutants in found.values() for name in mutants.survivors):
            print(f"{name} survived:\n{change(project, name)}", flush=True)
    print(table(found))
    low = [module for module, mutants in found.items() if mutants.share < FLOOR]
    print(
        f"{time.monotonic() - begun:.0f} s; "
        + (f"below {FLOOR:g} %: {', '.join(low)}" if low else "enough were killed")
    )
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
