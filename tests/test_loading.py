"""The modules in which tasks are."""

import sys

import pytest

from pmtq.loading import import_all, related


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program with two packages, of which one has tasks, and a module that is no package."""
    for name in ("shop_a", "shop_b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "shop_a" / "tasks.py").write_text("LOADED = True\n")
    (tmp_path / "shop_b" / "broken.py").write_text("import no_such_module\n")
    (tmp_path / "shop_alone.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("shop_")]:
        del sys.modules[name]


def test_of_some_packages_those_have_tasks_that_have_the_module(program):
    assert related(["shop_a", "shop_b", "shop_alone", "shop_missing"], "tasks") == ["shop_a.tasks"]


def test_without_a_module_the_packages_themselves_are_meant(program):
    assert related(["shop_a", "shop_b"], None) == ["shop_a", "shop_b"]


def test_modules_are_imported(program):
    import_all(["shop_a.tasks"])

    assert sys.modules["shop_a.tasks"].LOADED


def test_what_a_module_raises_goes_through(program):
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        import_all(["shop_b.broken"])


def test_a_package_that_cannot_be_imported_is_not_taken_for_one_without_tasks(program):
    (program / "shop_c").mkdir()
    (program / "shop_c" / "__init__.py").write_text("import no_such_module\n")

    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        related(["shop_c"], "tasks")
