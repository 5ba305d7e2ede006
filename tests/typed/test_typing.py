"""mypy, run once over the modules beside this one, complains about exactly the lines that are marked."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pmtq

HERE = Path(__file__).parent
READ = sorted(path for path in HERE.glob("*.py") if path.name not in {"__init__.py", Path(__file__).name})


@pytest.fixture(scope="module")
def complaints():
    """What mypy says, as (file, line, word); of a line that it complains about twice in one word, once."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--hide-error-context", *map(str, READ)],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = re.findall(r"^(.+?):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert len(found) == len(re.findall(": error: ", done.stdout)), done.stdout
    return sorted({(Path(file).name, int(line), word) for file, line, word in found})


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_mypy_complains_about_exactly_the_lines_that_are_marked(complaints, path):
    marked = sorted(
        (path.name, number, word)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for word in line.partition("# error: ")[2].split()
    )

    assert [one for one in complaints if one[0] == path.name] == marked


def test_mypy_complains_about_no_other_file(complaints):
    assert [one for one in complaints if one[0] not in {path.name for path in READ}] == []


def test_programs_are_told_that_there_are_types():
    assert (Path(pmtq.__file__).parent / "py.typed").exists()
