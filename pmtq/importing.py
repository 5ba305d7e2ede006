"""Finds a module, or something in one, by its dotted name, as settings give it: ``celeryconfig``, ``proj.routes:route``.

1. The current directory can be imported from, whatever started the program.
2. A name that leads nowhere is one paragraph with the nearest name; an error of the module's own code stays what it is.

It does not know what the thing is wanted for.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from pmtq.exceptions import ImproperlyConfigured

_GO = "Go to the directory that it is in, or install it"


def find_object(name: str) -> Any:
    """Return what ``module``, ``module:attribute`` or ``module.attribute`` means; raises ``NotFound``."""
    module_name, colon, attribute = name.partition(":")
    with _here_importable():
        if colon:
            return _attribute(_module(module_name, name), attribute)
        try:
            return _module(name, name)
        except NotFound:
            parent, _, attribute = name.rpartition(".")
            if not parent or not hasattr(module := _module(parent, name), attribute):
                raise
            return getattr(module, attribute)


class NotFound(ImproperlyConfigured):
    """The name leads nowhere."""


@contextmanager
def _here_importable() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _module(name: str, wanted: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise  # the module is there, and what it imports is not
        raise _no_module(missing, wanted) from None
    except (ValueError, TypeError):  # an empty name, or one that begins with a dot
        raise _no_module(name, wanted) from None


def _attribute(module: ModuleType, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            where = f"module {module.__name__} ({getattr(module, '__file__', None) or 'built in'})"
            raise NotFound(f"{where} has no {path!r}. {_suggestion(name, dir(found), 'Define it there')}")
        found = getattr(found, name)
    return found


def _no_module(missing: str, wanted: str) -> NotFound:
    here = Path.cwd()
    parent, _, last = missing.rpartition(".")
    if last == "py":
        remedy = f"Did you mean {parent!r}?"
    else:
        near = difflib.get_close_matches(last, _modules(here.joinpath(*parent.split("."))), n=1)
        remedy = f"Did you mean {'.'.join([*parent.split('.'), near[0]]).lstrip('.')!r}?" if near else _GO
    of = f", asked for as {wanted!r}," if wanted != missing else ""
    return NotFound(f"there is no module {missing!r}{of} in {here} or among the installed packages. {remedy}")


def _modules(folder: Path) -> Iterable[str]:
    try:
        return [path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    except OSError:
        return []


def _suggestion(name: str, known: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else otherwise
