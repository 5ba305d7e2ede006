"""Every error pmtq raises, in one place.

1. A message says what happened with the actual value, what it left behind, and what to type next.
2. The facts of a message are attributes too, so that programs need not read prose.
3. Names that Celery has too are Celery's names.
"""

from __future__ import annotations

import builtins


class PmtqError(Exception):
    """The root of all errors that pmtq itself raises."""


class ImproperlyConfigured(PmtqError):
    """A setting, a broker URL or an ``-A`` argument names something that is not there."""


class OperationalError(PmtqError):
    """The queue folder could not be written or read: no space, no permission, a failing disk.

    ``__cause__`` is the ``OSError`` behind it. Whatever was being written has been cut back, so that the file
    ends where it ended before.
    """


class LockHeld(OperationalError):
    """Another program holds the lock of a file, and this call was not to wait for it."""


class UnsafeFile(OperationalError):
    """A name in the queue folder is not a plain file of ours: a link, a pipe, or somebody else's."""


class NotSerializable(PmtqError, TypeError):
    """An argument or a result holds something that JSON has no form for.

    ``where`` is the path to it, such as ``argument 'when'`` or ``result['rows'][3]``; ``value`` is the thing itself.
    """

    def __init__(self, where: str, value: object, why: str) -> None:
        """Take the path to the thing, the thing, and the clause that says what is wrong with it."""
        super().__init__(f"{where} {why}")
        self.where = where
        self.value = value
        self.why = why


class NotRegistered(PmtqError, KeyError):
    """No task of that name is known here. ``name`` is the name, ``known`` what there is instead."""

    def __init__(self, message: str, name: str, known: tuple[str, ...] = ()) -> None:
        """Take the whole message, the unknown name and the names that are known."""
        super().__init__(message)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        """Return the message; a plain ``KeyError`` would print it in quotes."""
        return str(self.args[0])


class WorkerNameTaken(PmtqError):
    """A live worker already goes by this name; names tell workers apart in every file."""


class TimeoutError(PmtqError, builtins.TimeoutError):  # noqa: A001  (the name Celery's users catch)
    """``get(timeout=…)`` gave up waiting. The task is not touched by that: it may still run."""


class TaskError(PmtqError):
    """Stands in for a task's exception whose class this process has not imported.

    ``type_name`` is the dotted name of that class.
    """

    def __init__(self, message: str = "", type_name: str = "") -> None:
        """Take the exception's text and the dotted name of its class."""
        super().__init__(f"{type_name}: {message}" if type_name else message)
        self.type_name = type_name


class WorkerLostError(PmtqError):
    """The worker died while it ran the task, and the task is not to be (or no longer to be) tried again."""


class TaskRevokedError(PmtqError):
    """The task was revoked, purged, or had expired before a worker took it."""
