"""What a caller keeps of a task: its id, and with that its state and its value, to be waited for.

1. It knows only the id and where the results are, so any process that knows these two can make one.
2. A final state is asked for once and remembered; all others are read each time.
3. Waiting is woken by a change of the results file.

What callers get is an ``AsyncResult``, a promise of which more can be asked (see ``async_result``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar, cast

import msgspec

from pmtq import current, exceptions
from pmtq.backend import Backend
from pmtq.failures import rebuilt
from pmtq.index import NONE, Sealed
from pmtq.joining import require_may_join
from pmtq.records import StateRecord
from pmtq.states import EXCEPTION_STATES, FINAL_STATES, RETRY, STARTED

R_co = TypeVar("R_co", covariant=True)


class Promise(Generic[R_co]):
    """The promise of a result, named by its task id."""

    TimeoutError = exceptions.TimeoutError
    """What ``get`` raises when its time is over, to be caught without an import."""
    parent: Promise[Any] | None = None
    """The result of the task that this one came after, or that posted it, if that is known here."""
    not_in: Sealed = NONE
    """Results that were sealed before it was posted."""
    _final: StateRecord | None = None
    _ignored = False

    def __init__(
        self,
        id: str,  # noqa: A002  (Celery's name)
        backend: Backend | None = None,
        task_name: str = "",
        app: Any = None,
        parent: Any = None,
    ) -> None:
        """Take the task's id; nothing is read until something is asked. Without a backend it is the current app's."""
        self.id = id
        self._name = task_name
        self._app = app
        self._given_backend = backend
        if parent:
            self.parent = parent

    @property
    def backend(self) -> Backend:
        """Where its state is read."""
        return self._given_backend or cast("Backend", self.app.backend)

    @property
    def app(self) -> Any:
        """The app it was asked of, else the current one."""
        return self._app or current.app_in_use()

    @property
    def task_id(self) -> str:
        """The same as ``id``."""
        return self.id

    @property
    def state(self) -> str:
        """The state's name now: PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED, REJECTED, IGNORED or the task's own.

        PENDING also when nothing is known of the id.
        """
        return self._record().status

    status = state

    @property
    def result(self) -> Any:
        """The return value, or the exception, or what the task last reported about itself; None while PENDING.

        Of a task that has just started, which worker runs it since when.
        """
        record = self._record()
        if record.error is not None and record.status in EXCEPTION_STATES | {RETRY}:
            return rebuilt(record)
        if record.status == STARTED:
            return {"hostname": record.worker, "attempt": record.attempt, "at": record.at}
        return record.result

    info = result

    @property
    def traceback(self) -> str | None:
        """The text of the worker's traceback if the task, or its last try, failed; else None."""
        return self._record().traceback or None

    def ready(self) -> bool:
        """Say whether the task has ended, well or not."""
        return self._record().status in FINAL_STATES

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,  # noqa: ARG002  (nothing is polled)
        no_ack: bool = True,  # noqa: ARG002  (nothing is acknowledged)
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
        EXCEPTION_STATES: Iterable[str] | None = None,  # noqa: N803, ARG002
        PROPAGATE_STATES: Iterable[str] = EXCEPTION_STATES,  # noqa: N803
    ) -> R_co:
        """Wait until the task has ended; return its value, or raise its exception (return it if not ``propagate``).

        ``timeout`` is in seconds, None waits for ever. Raises ``pmtq.exceptions.TimeoutError`` when it is over. The
        exception is of its own class where this process has imported that, else a ``TaskError`` that names it.
        A step that failed because of one before it raises that one's exception, if that is among its parents, unless
        ``follow_parents`` is false. ``callback(id, value)`` is called at the end, ``on_message`` with each state it comes
        through (a dict), ``on_interval`` at each of them. Inside a task it raises ``RuntimeError`` unless
        ``disable_sync_subtasks`` is false.
        """
        if self._ignored:
            return cast("R_co", None)
        if disable_sync_subtasks and not self.is_known:
            require_may_join()
        self._require_value()

        def told(state: StateRecord) -> None:
            if on_interval:
                on_interval()
            if on_message:
                on_message(msgspec.to_builtins(state))

        if self._final is None:
            tell = told if on_message or on_interval else None
            self._final = self.backend.wait(self.id, timeout, tell, self.not_in)
        if self._final is None:
            raise exceptions.TimeoutError(self._still_waiting(timeout or 0.0))
        value = self.result
        if propagate and self._final.status in PROPAGATE_STATES:
            blamed = self.to_blame() if follow_parents else self
            blamed.throw(blamed.result)
        if callback:
            callback(self.id, value)
        return cast("R_co", value)

    wait = get

    def to_blame(self) -> Promise[Any]:
        """Return the one among its parents because of which it has failed; else itself."""
        culprit = (self._record().error or {}).get("culprit")
        return next((one for one in self._parents() if one.id == culprit), self)

    def _parents(self) -> Iterator[Any]:
        """Yield what came before it in its workflow, results and groups of results, the nearest first."""
        parent = self.parent
        while parent is not None:
            yield parent
            parent = parent.parent

    def throw(self, error: BaseException | Any) -> None:
        """Raise an exception, with the worker's traceback as its cause for whoever sees it printed."""
        if not isinstance(error, BaseException):
            raise exceptions.TaskError(f"the task says {self.state}: {error!r}")
        if self.traceback and error.__traceback__ is None:
            error.__cause__ = exceptions.RemoteTraceback(self.traceback)
        raise error

    def __str__(self) -> str:
        """Return the id."""
        return self.id

    def __repr__(self) -> str:
        """Return Celery's form: ``<AsyncResult: id>``."""
        return f"<{type(self).__name__}: {self.id}>"

    def __eq__(self, other: object) -> bool:
        """Say whether the other one speaks of the same task; text counts as an id."""
        return other == self.id if isinstance(other, str) else isinstance(other, Promise) and other.id == self.id

    def __hash__(self) -> int:
        """Hash by id."""
        return hash(self.id)

    @property
    def is_known(self) -> bool:
        """Whether the end of the task is known here already, so that nothing is read any more."""
        return self._final is not None

    def take(self, final: StateRecord) -> None:
        """Remember the final line, which somebody else has found."""
        self._final = final

    def _require_value(self) -> None:
        self.backend.require_values(self.id)

    def _record(self) -> StateRecord:
        if self._final is None:
            record = self.backend.state(self.id, self.not_in)
            if record.status not in FINAL_STATES:
                return record
            self._final = record
        return self._final

    def _still_waiting(self, seconds: float) -> str:
        """Return what to say when the task has not ended in time."""
        if self.backend.was_forgotten(self.id):
            return (
                f"the result of task {self.id} was forgotten, so there is none after {seconds:g} s, and none will come"
            )
        return (
            f"task {self.id} is {self.state} after {seconds:g} s. If it was ever sent, it is still queued or running, and "
            f"its result will be kept. Is a worker there, and what does the task wait for? pmtq status; pmtq queue"
        )
