"""Finds the app that ``-A`` names, the way Celery does.

1. ``module:attribute`` is taken at its word, and so is ``module.attribute``. A bare module is searched for ``app``, then ``celery``, then any PMTQ
   instance, then its sub-module ``celery``.
2. The current directory can be imported from, whatever started the program.
3. What goes wrong while your code is imported is shown as your error, with file and line.

It does not know what the app is wanted for.
"""

from __future__ import annotations

import difflib
import importlib
import linecache
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pmtq import signals
from pmtq.app import PMTQ
from pmtq.exceptions import ImproperlyConfigured
from pmtq.task import Task

_OURS = str(Path(__file__).parents[1]) + os.sep
_MOST_FILES = 200
"""So many Python files of a directory are looked into for an app to suggest."""


class NoSuchModuleError(ImproperlyConfigured):
    """There is no module of that name."""


class Tasks:
    """Finds an app's tasks in whichever process asks for them; it can be sent to one that must import them afresh."""

    def __init__(self, name: str, app: PMTQ) -> None:
        """Take what ``-A`` said, and the app that this process found under it."""
        self._name = name
        self._app: PMTQ | None = app

    def __getstate__(self) -> str:
        """Send the name only: functions cannot be sent."""
        return self._name

    def __setstate__(self, name: str) -> None:
        """Come with the name; the app is imported when it is asked for."""
        self._name, self._app = name, None

    def __call__(self) -> Mapping[str, Task[..., Any]]:
        """Return the tasks by name."""
        if self._app is None:
            self._app = find_app(self._name)
            import_included(self._app)
            self._app.finalize()
        return self._app.tasks


def find_app(name: str) -> PMTQ:
    """Return the app that ``name`` (``module`` or ``module:attribute``) means; raises ``ImproperlyConfigured``."""
    _make_importable(Path.cwd())
    module_name, colon, attribute = name.partition(":")
    if not module_name or (colon and not attribute):
        raise ImproperlyConfigured(f"-A {name!r} is no module or module:attribute. Write it like -A tasks:app")
    try:
        module = import_module(module_name)
    except NoSuchModuleError:
        parent, dot, attribute = module_name.rpartition(".")
        if colon or not dot or not hasattr(module := import_module(parent), attribute):
            raise
        colon = ":"
    return _attribute(module, attribute) if colon else _search(module)


def main_module() -> str:
    """Return the name under which the program that runs could be imported: ``proj.celery`` for ``python -m proj.celery``."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return spec.name if spec else Path(getattr(main, "__file__", "") or "").stem


def import_included(app: PMTQ) -> None:
    """Import the modules whose tasks the app wants to have."""
    signals.import_modules.send(app)
    for name in app.modules():
        import_module(name)


def import_module(name: str) -> ModuleType:
    """Import a module of the user's, turning every error of its code into one paragraph."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise _no_module(name, error.name) from None
        raise _broken(name, error) from error
    except (Exception, SystemExit) as error:  # whatever the code of a module may raise
        raise _broken(name, error) from error


def suggested_app(folder: Path) -> str:
    """Return what to write behind ``-A`` for the first module in ``folder`` that makes an app; empty if none does."""
    for path in sorted(folder.glob("*.py"))[:_MOST_FILES]:
        try:
            found = "PMTQ(" in path.read_text("utf-8", "replace")
        except OSError:
            continue
        if found and path.stem.isidentifier():
            return path.stem
    return ""


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _attribute(module: ModuleType, name: str) -> PMTQ:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ImproperlyConfigured(
                f"module {module.__name__} ({_file(module)}) has no {name!r}. Nothing was started. "
                f"{_hint(module, name)}"
            ) from None
    if not isinstance(found, PMTQ):
        raise ImproperlyConfigured(
            f"{module.__name__}:{name} is a {type(found).__name__}, not a PMTQ app. Nothing was started. "
            f"{_hint(module, '')}"
        )
    return found


def _search(module: ModuleType) -> PMTQ:
    apps = _apps(module)
    for name in ("app", "celery", *apps):
        if name in apps:
            return apps[name]
    if hasattr(module, "__path__"):
        inner = f"{module.__name__}.celery"
        try:
            found = _apps(importlib.import_module(inner))
        except ModuleNotFoundError as error:
            if error.name != inner:
                raise _broken(inner, error) from error
        except (Exception, SystemExit) as error:  # whatever the code of a module may raise
            raise _broken(inner, error) from error
        else:
            if found:
                return found.get("app") or next(iter(found.values()))
    raise ImproperlyConfigured(
        f"module {module.__name__} ({_file(module)}) holds no PMTQ app. Nothing was started. {_hint(module, '')}"
    )


def _apps(module: ModuleType) -> dict[str, PMTQ]:
    return {name: value for name, value in vars(module).items() if isinstance(value, PMTQ)}


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "built in"


def _hint(module: ModuleType, wanted: str) -> str:
    """Say which app of the module could have been meant."""
    apps = _apps(module)
    if not apps:
        return f'Make one in it: app = PMTQ("{module.__name__}")'
    near = difflib.get_close_matches(wanted, apps, n=1, cutoff=0.5) or list(apps)[:1]
    return f"Did you mean -A {module.__name__}:{near[0]}?"


def _no_module(name: str, missing: str) -> NoSuchModuleError:
    here = Path.cwd()
    parent, _, last = missing.rpartition(".")
    where = f"the package {parent}" if parent else f"{here} or among the installed packages"
    folder = here.joinpath(*parent.split(".")) if parent else here
    near = difflib.get_close_matches(last, _modules(folder), n=1)
    remedy = f"Did you mean {f'{parent}.' if parent else ''}{near[0]}?" if near else _elsewhere(here)
    return NoSuchModuleError(f"there is no module {name!r} in {where}. Nothing was started. {remedy}")


def _elsewhere(here: Path) -> str:
    if found := suggested_app(here):
        return f"There is an app in {found}.py: -A {found}"
    return "Go to the directory that your module is in, or install it"


def _modules(folder: Path) -> list[str]:
    try:
        return [path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    except OSError:
        return []


def _broken(name: str, error: BaseException) -> ImproperlyConfigured:
    """Return the paragraph about an exception in the user's module: what, where, and the line of code."""
    if isinstance(error, SyntaxError) and error.filename:
        path, line, code = error.filename, error.lineno or 0, (error.text or "").strip()
        what = f"{type(error).__name__}: {error.msg}"
    else:
        path, line, code = _last_place(error)
        what = "".join(traceback.format_exception_only(error)).strip()
    shown = f"`{code}`" if code else "its code"
    return ImproperlyConfigured(
        f"importing {name} failed with {what}, at {path}:{line}, {shown}. Nothing was started. "
        "Mend that and try again; PMTQ_DEBUG=1 in front of the command shows the whole traceback"
    )


def _last_place(error: BaseException) -> tuple[str, int, str]:
    """Return file, line number and code of the deepest frame that is neither pmtq's nor of the import machinery."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith(_OURS) and f"{os.sep}importlib{os.sep}" not in frame.filename
    ]
    if not own:
        return "?", 0, ""
    frame = own[-1]
    return (
        frame.filename,
        frame.lineno or 0,
        (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip(),
    )
