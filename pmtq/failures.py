"""An exception on its way through a file: described where it was raised, rebuilt where it is asked for.

1. Whatever an exception holds, there are words for it that can be written down.
2. Nothing is imported because a file names it: an exception comes back as its own class only where the reader has
   imported that class, else as a stand-in that names it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from pmtq.exceptions import TaskError, TaskRevokedError, WorkerLostError
from pmtq.jsonable import require_json
from pmtq.records import StateRecord, encode

LONGEST_TEXT = 100_000
"""Characters of a message or traceback that are kept."""


class ExceptionInfo:
    """An exception and its traceback as text, in the form that handlers and receivers get (Celery's ``einfo``)."""

    def __init__(self, exception: BaseException, text: str) -> None:
        """Take the exception and the text of its traceback."""
        self.type = type(exception)
        self.exception = exception
        self.traceback = text

    def __str__(self) -> str:
        """Return the traceback."""
        return self.traceback


def described(error: BaseException) -> dict[str, Any]:
    """Return the exception as the ``error`` of a state record: its class, its message, and its args where JSON can."""
    kind, message = type(error), _text(str, error)
    name = _clean(f"{kind.__module__}.{kind.__qualname__}").removeprefix("builtins.")
    description: dict[str, Any] = {"type": name, "message": message}
    try:
        args = list(error.args)
        require_json(args, "the exception's args")
        if args != [message] and len(encode(args)) <= LONGEST_TEXT:  # the message alone rebuilds most exceptions
            description["args"] = args
    except Exception:  # noqa: BLE001, S110  (without its args the exception comes back with its message)
        pass
    return description


def failure_told(meta: Any) -> dict[str, Any]:
    """Return the ``error`` of a failure that a task reports by ``update_state`` instead of raising.

    ``meta`` is as Celery wants it, ``{"exc_type": "ValueError", "exc_message": …, "exc_module": …}``, or any text.
    """
    if not isinstance(meta, dict) or "exc_type" not in meta:
        return {"type": "pmtq.exceptions.TaskError", "message": "" if meta is None else str(meta)}
    module, message = str(meta.get("exc_module") or "builtins"), meta.get("exc_message", "")
    args = list(message) if isinstance(message, list | tuple) else [message]
    name = f"{module}.{meta['exc_type']}".removeprefix("builtins.")
    return {"type": name, "message": ", ".join(map(str, args)), "args": args}


def traceback_of(error: BaseException) -> str:
    """Return the traceback as Python prints it, shortened to ``LONGEST_TEXT``."""
    return _text(lambda _: "".join(traceback.format_exception(error)), error)


def rebuilt(record: StateRecord) -> Exception:
    """Return the exception of a task that failed.

    Its class is looked for among those that this process has imported and that derive from Exception; nothing is
    imported because a file names it.
    """
    error = record.error or {}
    name, message = str(error.get("type", "")), str(error.get("message", ""))
    kind = _imported_exceptions().get(name)
    if kind in {WorkerLostError, TaskRevokedError}:
        return kind(f"task {record.task_id}: {message}")
    if kind is not None:
        try:
            return kind(*error.get("args", [message]))
        except Exception:  # noqa: BLE001  (a constructor of another shape: the stand-in says it all)
            return TaskError(message, name)
    return TaskError(message, name)


def _imported_exceptions() -> dict[str, type[Exception]]:
    found: dict[str, type[Exception]] = {}
    classes: list[type[Exception]] = [Exception]
    while classes:
        kind = classes.pop()
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        if name not in found:
            found[name] = kind
            classes += type.__subclasses__(kind)
    return found


def _text(show: Callable[[object], str], value: object) -> str:
    """Return what ``show`` makes of a value, even when that fails."""
    try:
        return _clean(show(value))
    except Exception as error:  # noqa: BLE001  (a broken __str__ must not cost the outcome)
        return f"<{_clean(type(value).__name__)}, whose text cannot be made: {type(error).__name__}>"


def _clean(text: str) -> str:
    """Return text that can stand in a file: no lone surrogates, and not without end."""
    return text.encode("utf-8", "backslashreplace").decode()[:LONGEST_TEXT]
