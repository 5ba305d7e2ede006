"""Works out what the setting ``task_annotations`` changes about a task: ``{"tasks.add": {"rate_limit": "10/m"}}``.

1. It is a dict of task names, an object with ``annotate(task)``, the dotted name of such a thing, or a list of them. In a
   list the first that has something for the task counts.
2. ``"*"`` (for an object: ``annotate_any()``) is for every task, and wins over what stands under the task's own name, as
   in Celery.
3. A function becomes a method of the task, so that ``on_failure`` can be given.

It sets nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import FunctionType, MethodType
from typing import Any

from pmtq.exceptions import ImproperlyConfigured
from pmtq.importing import find_object


def annotate(task: Any, annotations: Any) -> dict[str, Any]:
    """Return the attributes to set on ``task``, by name, methods bound to it; raises ``ImproperlyConfigured``."""
    if not annotations:
        return {}
    listed = annotations if isinstance(annotations, list | tuple) else [annotations]
    sources = [_source(one) for one in listed]
    own = _first(source.annotate(task) for source in sources)
    every = _first(source.annotate_any() for source in sources if hasattr(source, "annotate_any"))
    return {name: _bound(task, name, value) for name, value in {**own, **every}.items()}


class _ByName:
    """A dict of task names, asked as an object is."""

    def __init__(self, annotations: Mapping[str, Any]) -> None:
        self._annotations = annotations

    def annotate(self, task: Any) -> Any:
        return self._annotations.get(task.name)

    def annotate_any(self) -> Any:
        return self._annotations.get("*")


def _source(given: Any) -> Any:
    if isinstance(given, str):
        given = find_object(given)
    if isinstance(given, type):
        given = given()
    if isinstance(given, Mapping):
        return _ByName(given)
    if hasattr(given, "annotate"):
        return given
    raise _wrong(f"task_annotations holds {given!r}")


def _first(answers: Iterable[Any]) -> Mapping[str, Any]:
    found: Any = next((answer for answer in answers if answer), {})
    if isinstance(found, Mapping):
        return found
    raise _wrong(f"a task's annotation is {found!r}")


def _bound(task: Any, name: str, value: Any) -> Any:
    """Return the value as an attribute of the task has to be."""
    if name.startswith("@"):
        raise _wrong(f"the annotation {name!r} of {task.name} would wrap a method, which only a subclass of Task can")
    is_option = hasattr(task, name) and not callable(getattr(task, name))  # one whose value is a function
    return MethodType(value, task) if isinstance(value, FunctionType) and not is_option else value


def _wrong(what: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{what}. The task was not made. Write app.conf.task_annotations = {{'tasks.add': {{'rate_limit': '10/m'}}}}"
    )
