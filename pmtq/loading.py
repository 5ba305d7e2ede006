"""Finds the modules in which an app's tasks are: those it names, and ``<package>.tasks`` of the packages it names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path


def related(packages: Iterable[str], name: str | None) -> list[str]:
    """Return the full names of the modules called ``name`` in ``packages`` that exist; without a name the packages."""
    if not name:
        return list(packages)
    return [full for package in packages if _exists(full := f"{package}.{name}")]


def import_all(names: Iterable[str]) -> None:
    """Import modules; what their code raises goes through."""
    for name in names:
        importlib.import_module(name)


def give_main_its_name() -> None:
    """Let the program that was started be imported by its own name, so that its tasks do not join a second copy of it.

    ``python -m proj.celery`` is the module ``proj.celery`` then, and ``python tasks.py`` is ``tasks``.
    """
    main = sys.modules["__main__"]
    spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec or path:
        sys.modules.setdefault(spec.name if spec else Path(str(path)).stem, main)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            return False
        raise
