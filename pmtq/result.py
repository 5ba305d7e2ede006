"""What a caller keeps of a task: its id, and the questions one can ask about it.

It knows only the id and where the results are, so any process that knows these two can make one.
"""

from __future__ import annotations

from typing import Any

from pmtq import exceptions
from pmtq.backend import Backend
from pmtq.failures import rebuilt
from pmtq.records import StateRecord
from pmtq.states import EXCEPTION_STATES, FAILURE, FINAL_STATES, SUCCESS


class AsyncResult:
    """The promise of a result, named by its task id."""

    _final: StateRecord | None = None

    def __init__(self, id: str, backend: Backend, task_name: str = "") -> None:  # noqa: A002  (Celery's name)
        """Take the task's id; nothing is read until something is asked."""
        self.id = id
        self.name = task_name
        self._backend = backend

    @property
    def task_id(self) -> str:
        """The same as ``id``."""
        return self.id

    @property
    def state(self) -> str:
        """The state's name now: PENDING, STARTED, SUCCESS, FAILURE, REVOKED, REJECTED or one of the task's own.

        PENDING also when nothing is known of the id.
        """
        return self._record().status

    status = state

    @property
    def result(self) -> Any:
        """The return value, or the exception, or what the task last reported about itself; None while PENDING."""
        record = self._record()
        return rebuilt(record) if record.status in EXCEPTION_STATES else record.result

    info = result

    @property
    def traceback(self) -> str | None:
        """The text of the worker's traceback if the task failed, else None."""
        return self._record().traceback or None

    def ready(self) -> bool:
        """Say whether the task has ended, well or not."""
        return self._record().status in FINAL_STATES

    def successful(self) -> bool:
        """Say whether the task has returned a value."""
        return self._record().status == SUCCESS

    def failed(self) -> bool:
        """Say whether the task has raised."""
        return self._record().status == FAILURE

    def get(self, timeout: float | None = None, *, propagate: bool = True) -> Any:
        """Wait until the task has ended; return its value, or raise its exception (return it if not ``propagate``).

        ``timeout`` is in seconds, None waits for ever. Raises ``pmtq.exceptions.TimeoutError`` when it is over. The
        exception is of its own class where this process has imported that, else a ``TaskError`` that names it.
        """
        self._final = self._final or self._backend.wait(self.id, timeout)
        if self._final is None:
            raise exceptions.TimeoutError(
                f"task {self.id} is {self.state} after {timeout:g} s. If it was ever sent, it is still queued or running, and "
                f"its result will be kept. Is a worker there, and what does the task wait for? pmtq status; pmtq queue"
            )
        if propagate and self._final.status in EXCEPTION_STATES:
            raise rebuilt(self._final)
        return self.result

    wait = get

    def __repr__(self) -> str:
        """Return Celery's form: ``<AsyncResult: id>``."""
        return f"<AsyncResult: {self.id}>"

    def __eq__(self, other: object) -> bool:
        """Say whether the other one speaks of the same task."""
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        """Hash by id."""
        return hash(self.id)

    def _record(self) -> StateRecord:
        if self._final is None:
            record = self._backend.state(self.id)
            if record.status not in FINAL_STATES:
                return record
            self._final = record
        return self._final
