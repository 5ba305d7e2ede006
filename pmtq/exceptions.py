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


class ParseException(ImproperlyConfigured, ValueError):
    """A schedule cannot be meant as it was written: ``minute="*/0"``, ``every ten minutes``."""


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


class QueueNotFound(PmtqError, KeyError):
    """A call was to go to a queue that ``task_queues`` does not list, and ``task_create_missing_queues`` is False.

    ``name`` is the queue, ``known`` what there is instead.
    """

    def __init__(self, message: str, name: str = "", known: tuple[str, ...] = ()) -> None:
        """Take the whole message, the queue's name and the names of those there are."""
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


class Ignore(PmtqError):
    """Raised by a task: it has no result and is not to have one. Its state is IGNORED."""


class Reject(PmtqError):
    """Raised by a task that refuses its call.

    ``requeue`` gives it to the next worker, or to the same one a second later; without it the call is done with, and
    listed by ``pmtq dead``.
    """

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        """Take the reason, which the results file will show."""
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue

    def __str__(self) -> str:
        """Return the reason as a sentence."""
        return f"the task refused the call: {self.reason}" + (" (to be tried elsewhere)" if self.requeue else "")


class Retry(PmtqError):
    """Raised by ``Task.retry`` to end the try that runs; the task runs again at ``when``.

    ``exc`` is the exception that was the reason; ``when`` is a time as RFC 3339 text.
    """

    def __init__(self, message: str = "", exc: BaseException | None = None, when: str = "") -> None:
        """Take what is shown while the task waits for its next try."""
        super().__init__(message)
        self.message, self.exc, self.when = message, exc, when
        self.changes: dict[str, object] = {}

    def __str__(self) -> str:
        """Return when it is tried again, and why."""
        why = f": {self.exc!r}" if self.exc else ""
        return self.message or f"Retry at {self.when or 'once'}{why}"


class Replaced(Retry):
    """Raised by ``Task.replace``: the task goes on under its own id as another one.

    ``value`` is what came of that other one, where it has been run at once.
    """

    value: object = None


class ChordError(PmtqError):
    """A step of a workflow was not run, because one that it waits for has not ended well. The message names that one."""


class MaxRetriesExceededError(PmtqError):
    """A task asked to be tried again once more than ``max_retries`` allows."""

    def __init__(self, *args: object, task_args: object = (), task_kwargs: object = None) -> None:
        """Take the message, and the arguments of the call."""
        super().__init__(*args)
        self.task_args, self.task_kwargs = task_args, task_kwargs


class SoftTimeLimitExceeded(PmtqError):
    """Raised inside a task that has run longer than its ``soft_time_limit``, so that it can clean up."""


class TimeLimitExceeded(PmtqError):
    """The task ran longer than its ``time_limit``, and its process was ended."""


class BackendError(OperationalError):
    """The results could not be read or written."""


class ResultsDisabled(BackendError, NotImplementedError):
    """What a task returned was asked for, and ``result_backend`` is ``disabled://``.

    Celery raises ``NotImplementedError`` then, so this is one too, for ``except`` clauses that know only that.
    """


class SecurityError(PmtqError):
    """Never raised: nothing in the folder is code. For ``except`` clauses that are Celery's too, as is the next one."""


class AlreadyRegistered(PmtqError):
    """Never raised: the later one of two tasks of one name counts."""


class InvalidTaskError(PmtqError):
    """What was asked for is no task record; it was copied to ``rejected.jsonl``, and its neighbours run.

    Raised to whoever waits for the result of such a record, if it had a legible id.
    """


class IncompleteStream(PmtqError):
    """A result was asked for what hangs on it, and it has not ended yet."""


class RemoteTraceback(Exception):
    """Stands behind an exception that a task raised, as its cause: the traceback in the worker, as text."""

    def __str__(self) -> str:
        """Return the text, on lines of its own."""
        return "\n" + str(self.args[0])
