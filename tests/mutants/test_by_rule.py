"""Changes by rule are made in a copy, and count as killed only where a test noticed them."""

import pytest

from tests.mutants import by_rule
from tests.mutants.__main__ import ROOT, copy_of_the_project
from tests.mutants.by_rule import Mutants, change, main, table, try_all


@pytest.fixture
def project(tmp_path):
    """A copy of the project with one more module, and a test that notices one of the two changes that can be made there."""
    project = copy_of_the_project(tmp_path)
    (project / "pmtq" / "size.py").write_text("def is_large(number):\n    return number > 10\n")
    (project / "tests" / "test_size.py").write_text(
        "from pmtq.size import is_large\n\n\ndef test_size():\n    assert (is_large(10), is_large(20)) == (False, True)\n"
    )
    return project


def test_a_change_is_killed_where_a_test_fails_and_survives_where_none_does(project):
    found = try_all(project, ("size",), ("tests/test_size.py",))["size"]

    assert (found.total, [change(project, name) for name in found.survivors]) == (
        2,
        ["    - return number > 10\n    + return number > 11"],
    )
    assert not (ROOT / "mutants").exists()


def test_tests_that_fail_before_anything_is_changed_kill_nothing(project):
    (project / "tests" / "test_size.py").write_text("def test_size():\n    assert False\n")

    with pytest.raises(RuntimeError, match=r"mutmut run --max-children 2 failed:\n(.|\n)*failed to collect stats"):
        try_all(project, ("size",), ("tests/test_size.py",))


FATES = {"one": "killed", "two": "timeout", "three": "survived", "four": "no tests", "five": "suspicious"}


def test_only_a_test_that_failed_or_hung_has_killed():
    mutants = Mutants(FATES)

    assert (mutants.total, mutants.survivors, mutants.share) == (5, ["three", "four", "five"], 40.0)


def test_the_table_says_of_each_module_how_many_were_killed():
    assert table({"broker": Mutants(FATES), "ledger": Mutants(dict.fromkeys(map(str, range(133)), "killed"))}) == (
        "module   mutants  killed    share\nbroker         5       2   40.0 %\nledger       133     133  100.0 %"
    )


@pytest.mark.parametrize(
    ("survivors", "status", "last"), [(1, 0, "enough were killed"), (2, 1, "below 90 %: broker, journal, ledger")]
)
def test_more_than_a_tenth_of_survivors_is_a_failure(monkeypatch, capsys, survivors, status, last):
    fates = {str(number): "survived" if number < survivors else "killed" for number in range(10)}
    monkeypatch.setattr(by_rule, "try_all", lambda project, modules, tests: dict.fromkeys(modules, Mutants(fates)))
    monkeypatch.setattr(by_rule, "change", lambda project, name: f"    + change {name}")
    monkeypatch.setattr("sys.argv", ["by_rule"])

    assert main() == status
    said = capsys.readouterr().out.splitlines()
    assert said[1:3] == ["0 survived:", "    + change 0"]
    assert said[-1].endswith(f" s; {last}")
