"""The handlers of a task: methods that a subclass overrides to be told how its tries go. As they stand they do nothing.

It does not know who calls them: ``trace`` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Handlers:
    """What a task may be told of. ``task_id``, ``args`` and ``kwargs`` are those of the call."""

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Be told that a try begins; what this raises is raised by the task."""

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Be told that the task has returned ``retval``."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Be told that the task has failed for good; ``einfo`` is a ``failures.ExceptionInfo``."""

    def on_retry(
        self, exc: BaseException | None, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Be told that the task is going to be tried again; ``exc`` is what ``retry`` was given, None if nothing."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Be told that the task has returned or failed for good; ``retval`` is the value or the exception."""
