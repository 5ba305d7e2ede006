"""The house rules that a machine can hold: floors, docstrings, what stands where, and how much there is to read."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pmtq

ROOT = Path(__file__).parents[2]
PACKAGE = Path(pmtq.__file__).parent
MODULES = [
    "pmtq",
    *(found.name for found in pkgutil.walk_packages([str(PACKAGE)], "pmtq.") if "__main__" not in found.name),
]
PATH_OF_A_RECORD = [
    "task", "calls", "app", "records", "broker", "journal", "claimer", "claim", "ledger", "worker/consumer", "execute", "backend", "promise"
]  # fmt: skip
"""The modules that one task passes, from the call to the value; a learner reads these first."""
LINES_OF_THE_PATH = 2_445
TOP_LEVEL = {
    "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "pmtq", "tutorials", "tests", "queue_dir"
}  # fmt: skip


def test_a_module_imports_only_from_floors_below_its_own():
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_every_module_class_and_function_that_others_may_use_says_what_it_is(name):
    module = importlib.import_module(name)
    silent = [] if module.__doc__ else [name]
    tree = ast.parse(inspect.getsource(module))

    def walk(node, path):
        for child in getattr(node, "body", []):
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            special = child.name.startswith("__") and child.name != "__init__"
            if is_setter(child):
                continue
            if (child.name.startswith("_") and child.name != "__init__") or special or is_overload(child):
                continue
            if not ast.get_docstring(child) and child.name != "__init__":
                silent.append(f"{path}.{child.name}")
            if isinstance(child, ast.ClassDef):
                walk(child, f"{path}.{child.name}")

    walk(tree, name)

    assert silent == []


def is_setter(node) -> bool:
    return any(ast.unparse(decorator).endswith(".setter") for decorator in getattr(node, "decorator_list", []))


def is_overload(node) -> bool:
    return any("overload" in ast.unparse(decorator) for decorator in getattr(node, "decorator_list", []))


def test_the_top_of_the_repository_holds_what_a_visitor_expects_and_nothing_else():
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("this is no git checkout")

    found = {line.split("/")[0] for line in tracked.stdout.splitlines()}

    assert {name for name in found if not name.startswith(".")} <= TOP_LEVEL
    assert {name for name in TOP_LEVEL if not (ROOT / name).exists()} == set()


def test_the_path_of_one_record_stays_short_enough_to_be_read_in_an_hour():
    lengths = {name: len((PACKAGE / f"{name}.py").read_text().splitlines()) for name in PATH_OF_A_RECORD}

    assert sum(lengths.values()) < LINES_OF_THE_PATH, lengths


def test_the_function_that_runs_a_task_fits_on_one_screen():
    from pmtq.execute import execute

    assert len(inspect.getsource(execute).splitlines()) <= 40


def test_nothing_speaks_of_the_machine_it_was_made_on():
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    foreign = re.compile(r"/(?:work|root|home)/\w")

    guilty = [
        name
        for name in tracked.stdout.splitlines()
        if (ROOT / name).is_file() and foreign.search((ROOT / name).read_text(errors="replace"))
    ]

    assert guilty == []


def test_importing_pmtq_imports_nothing_of_the_command_line_and_starts_no_thread():
    code = (
        "import sys, threading, pmtq\n"
        "print(sorted({'click', 'rich', 'pmtq.cli', 'pmtq.worker', 'celery', 'PIL'} & set(sys.modules)), threading.active_count())"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[] 1\n"
