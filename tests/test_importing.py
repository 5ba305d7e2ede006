"""Finding modules, and things in modules, by name."""

from __future__ import annotations

import sys

import pytest

from pmtq.importing import NotFound, find_object


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The directory the program was started in, with a module and a package; not yet on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "pmtq_test_settings.py").write_text("class Config:\n    debug = True\n\nport = 7\n")
    (tmp_path / "pmtq_test_package").mkdir()
    (tmp_path / "pmtq_test_package" / "__init__.py").write_text("")
    (tmp_path / "pmtq_test_package" / "conf.py").write_text("import a_module_that_nobody_has\n")
    return tmp_path


def test_a_name_means_a_module_or_something_in_one(here):
    path = list(sys.path)

    assert find_object("pmtq_test_settings").port == 7
    assert find_object("pmtq_test_settings:port") == 7
    assert find_object("pmtq_test_settings.port") == 7
    assert find_object("pmtq_test_settings:Config.debug") is True
    assert sys.path == path


@pytest.mark.parametrize(
    ("name", "missing", "remedy"),
    [
        ("pmtq_test_setings", "'pmtq_test_setings'", "Did you mean 'pmtq_test_settings'?"),
        ("pmtq_test_settings.py", "'pmtq_test_settings.py'", "Did you mean 'pmtq_test_settings'?"),
        ("pmtq_test_package.cnf:x", "'pmtq_test_package.cnf', asked for as 'pmtq_test_package.cnf:x',", "Did you mean 'pmtq_test_package.conf'?"),
        ("zzz", "'zzz'", "Go to the directory that it is in, or install it"),
        ("", "''", "Go to the directory that it is in, or install it"),
        (".x", "'.x'", "Go to the directory that it is in, or install it"),
    ],
)  # fmt: skip
def test_a_module_that_is_not_there_is_one_paragraph_with_the_place_and_the_nearest_name(here, name, missing, remedy):
    with pytest.raises(NotFound) as caught:
        find_object(name)

    assert str(caught.value) == f"there is no module {missing} in {here} or among the installed packages. {remedy}"


def test_what_is_not_in_the_module_is_refused_with_the_nearest_name(here):
    with pytest.raises(NotFound) as caught:
        find_object("pmtq_test_settings:Confg")

    file = here / "pmtq_test_settings.py"
    assert str(caught.value) == f"module pmtq_test_settings ({file}) has no 'Confg'. Did you mean 'Config'?"


def test_an_error_of_the_modules_own_code_stays_what_it_is(here):
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        find_object("pmtq_test_package.conf")
