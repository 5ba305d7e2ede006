"""The app in use, for code that has got none: ``shared_task`` in a library, ``current_app`` in a helper.

The app made last is the current one. A shared task belongs to every app, those that are made later too.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class App(Protocol):
    """What is needed of an app here."""

    tasks: dict[str, Any]

    @property
    def task(self) -> Callable[..., Any]:
        """What turns a function into a task."""


_shared: list[Callable[[App], Any]] = []
_apps: weakref.WeakSet[Any] = weakref.WeakSet()
_newest: Callable[[], Any] = lambda: None  # noqa: E731  (stands for a weak reference to nothing)
make_default: Callable[[], Any] = lambda: None  # noqa: E731
"""Makes the app that is used when the program has none; the package says how."""


def enter(app: App, *, newest: bool = True) -> None:
    """Give ``app`` the shared tasks, if it has not got them, and make it the current one."""
    global _newest  # noqa: PLW0603  (there is one current app in a process)
    if newest:
        _newest = weakref.ref(app)
    if app not in _apps:
        _apps.add(app)
        for share in _shared:
            share(app)


def app_in_use() -> Any:
    """Return the app made last that is still there; without any, one on the default folder."""
    return _newest() or next(iter(_apps), None) or _default()


def shared_task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Turn a function into a task of every app; used like ``@app.task``. Calls go to the current app."""
    if function is None:
        return partial(shared_task, **options)
    names: list[str] = []

    def share(app: App) -> Any:
        task = app.task(function, **options)
        names.append(task.name)
        return task

    _shared.append(share)
    for app in list(_apps):
        share(app)

    def find() -> Any:
        app = app_in_use()
        for name in names:
            if name in app.tasks:
                return app.tasks[name]
        return share(app)

    return Proxy(find)


class Proxy(Generic[T]):
    """Stands for what ``find`` returns at the time of asking."""

    def __init__(self, find: Callable[[], T]) -> None:
        """Take the question."""
        object.__setattr__(self, "_find", find)

    def _get_current_object(self) -> T:
        found: T = object.__getattribute__(self, "_find")()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._get_current_object(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what it stands for."""
        found: Any = self._get_current_object()
        return found(*args, **kwargs)

    def __repr__(self) -> str:
        """Return the text of what it stands for."""
        return repr(self._get_current_object())

    def __bool__(self) -> bool:
        return bool(self._get_current_object())

    def __eq__(self, other: object) -> bool:
        return self._get_current_object() == other

    def __hash__(self) -> int:
        return hash(self._get_current_object())


def _default() -> Any:
    global _kept  # noqa: PLW0603  (the default app must not vanish between two questions)
    _kept = _kept or make_default()
    return _kept


_kept: Any = None
