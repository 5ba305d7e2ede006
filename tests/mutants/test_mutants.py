"""The bugs on purpose fit the code as it is, and whoever looks for them finds out what catches them."""

import pytest

from tests.mutants.__main__ import ROOT, judge, put_in, verdicts_on
from tests.mutants.bugs import BUGS, Bug

HARMLESS = Bug("none", "nothing", "states.py", "SUCCESS", "SUCCESS", ())


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_bug_can_be_put_in_where_the_code_stands_now(bug):
    text = (ROOT / "pmtq" / bug.file).read_text()

    assert text.count(bug.before) == 1
    compile(text.replace(bug.before, bug.after), bug.file, "exec")
    assert bug.caught_by
    assert [tests for tests in bug.caught_by if not (ROOT / tests.partition("::")[0]).exists()] == []


def test_a_bug_is_caught_where_a_test_fails_and_missed_where_none_does():
    bug = Bug("ids", "nothing", "ids.py", "digest_size=11", "digest_size=12", ())

    caught, missed = verdicts_on(bug, ("tests/test_ids.py", "tests/test_rates.py"))

    assert (caught.caught, missed.caught) == (True, False)
    assert caught.by == "test_a_derived_id_is_the_same_for_the_same_text_and_looks_like_any_other"


def test_a_text_that_does_not_stand_there_is_no_bug(tmp_path):
    (tmp_path / "pmtq").mkdir()
    (tmp_path / "pmtq" / "states.py").write_text("")

    with pytest.raises(ValueError, match=r"none: the text stands 0 times in pmtq/states\.py"):
        put_in(HARMLESS, tmp_path)


def test_tests_that_cannot_be_run_catch_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="could not be run"):
        judge("tests/test_nothing.py", tmp_path)
