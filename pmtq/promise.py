"""What a caller keeps of a task: its id, and the questions one can ask about it.

1. It knows only the id and where the results are, so any process that knows these two can make one.
2. A final state is asked for once and remembered; all others are read each time.
3. Waiting is woken by a change of the results file, whoever waits: ``get``, ``await``, ``then``, a ``ResultSet``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

import msgspec

from pmtq import current, exceptions
from pmtq.archive import call_of
from pmtq.backend import Backend
from pmtq.failures import rebuilt
from pmtq.family import family_of
from pmtq.records import StateRecord, TaskRecord
from pmtq.request import running
from pmtq.states import (
    EXCEPTION_STATES,
    FAILURE,
    FINAL_STATES,
    IGNORED,
    LOST,
    PENDING,
    RELEASED,
    RETRY,
    STARTED,
    SUCCESS,
)

R_co = TypeVar("R_co", covariant=True)

_ENDS_A_TRY = FINAL_STATES | {RETRY, LOST, RELEASED}
_may_join: ContextVar[bool] = ContextVar("may_join", default=False)


@contextlib.contextmanager
def allow_join_result() -> Iterator[None]:
    """Let tasks that run here wait for others, although that may use up all workers with waiting."""
    token = _may_join.set(True)
    try:
        yield
    finally:
        _may_join.reset(token)


@contextlib.contextmanager
def denied_join_result() -> Iterator[None]:
    """Take that back for a while."""
    token = _may_join.set(False)
    try:
        yield
    finally:
        _may_join.reset(token)


def require_may_join() -> None:
    """Raise ``RuntimeError`` inside a task that was not allowed to wait for others."""
    claim = running.get()
    if claim is not None and not claim.is_eager and not _may_join.get():  # an eager one keeps no worker
        raise RuntimeError(
            "get() inside a task waits for a worker while it keeps one: with all of them waiting nothing would go on. "
            "Let the next task follow by a workflow, or, if you know that workers are left: get(disable_sync_subtasks=False)"
        )


class AsyncResult(Generic[R_co]):
    """The promise of a result, named by its task id."""

    TimeoutError = exceptions.TimeoutError
    """What ``get`` raises when its time is over, to be caught without an import."""
    parent: AsyncResult[Any] | None = None
    """The result of the task that this one came after, or that posted it, if that is known here."""
    _final: StateRecord | None = None
    _ignored = False
    _call: tuple[TaskRecord, str] | None = None

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

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """The tasks that it posted while it ran, and those that wait for it; None as long as it has not ended."""
        record = self._record()
        if record.status not in FINAL_STATES:
            return None
        children = [*(record.children or ()), *(record.followers or ())]
        return [AsyncResult(child, self._given_backend, app=self._app, parent=self) for child in children]

    @property
    def worker(self) -> str | None:
        """The worker that runs it or ran it last."""
        return self._record().worker or None

    @property
    def retries(self) -> int:
        """How often it has asked to be tried again."""
        return self._record().retries

    @property
    def date_done(self) -> datetime | None:
        """When it ended, in UTC."""
        record = self._record()
        return datetime.fromisoformat(record.at) if record.status in FINAL_STATES and record.at else None

    @property
    def name(self) -> str | None:
        """The function's name; as far as the record is not there any more, what this result was told."""
        return self._name or (call.function if (call := self._sent()[0]) else None)

    @property
    def args(self) -> list[Any] | None:
        """The positional arguments, as long as the record stands in a file; else None."""
        return list(call.arguments()[0]) if (call := self._sent()[0]) else None

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """The keyword arguments, as long as the record stands in a file; else None."""
        return dict(call.arguments()[1]) if (call := self._sent()[0]) else None

    @property
    def queue(self) -> str | None:
        """The queue it was sent to, as long as the record stands there; else None."""
        return self._sent()[1] or None

    @property
    def ignored(self) -> bool:
        """Whether it is not to have a result: the task said so, or this was set, and ``get`` returns None at once."""
        return self._ignored or self._record().status == IGNORED

    @ignored.setter
    def ignored(self, value: bool) -> None:
        """Set whether ``get`` is to return None at once."""
        self._ignored = value

    def ready(self) -> bool:
        """Say whether the task has ended, well or not."""
        return self._record().status in FINAL_STATES

    def successful(self) -> bool:
        """Say whether the task has returned a value."""
        return self._record().status == SUCCESS

    def failed(self) -> bool:
        """Say whether the task has raised."""
        return self._record().status == FAILURE

    def exists(self) -> bool:
        """Say whether anything is known of the task: that it waits, runs or has ended."""
        return self._record().status != PENDING or self._sent()[0] is not None

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
        ``follow_parents`` is false. ``callback(id, value)`` is called at the end, ``on_message`` with each state it comes through (a dict),
        ``on_interval`` whenever the results have changed. Inside a task it raises ``RuntimeError`` unless
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

        self._final = self._final or self.backend.wait(self.id, timeout, told if on_message or on_interval else None)
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

    def to_blame(self) -> AsyncResult[Any]:
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

    def maybe_throw(
        self,
        propagate: bool = True,
        callback: Callable[[str, Any], object] | None = None,
    ) -> Any:
        """Raise the exception of a task that has failed; else return what there is, without waiting."""
        value = self.result
        if propagate and self.state in EXCEPTION_STATES:
            self.throw(value)
        if callback:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def then(
        self,
        callback: Callable[[AsyncResult[Any]], object],
        on_error: Callable[[AsyncResult[Any]], object] | None = None,
    ) -> AsyncResult[R_co]:
        """Have ``callback(result)`` called once the task has ended; return the result.

        If it has not ended well and there is an ``on_error``, that is called instead. It happens here and now if the
        task has ended already, else in a thread that all results of the backend share.
        """

        def ended() -> None:
            (callback if on_error is None or self.successful() else on_error)(self)

        if self.ready():
            ended()
        else:
            self.backend.when_ready(self.id, ended)
        return self

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait in an event loop, which goes on meanwhile; return the value or raise the exception, as ``get`` does."""
        return self._awaited().__await__()

    async def _awaited(self) -> R_co:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def settle() -> None:
            if not ended.done():
                ended.set_result(None)

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle)

        self._require_value()
        self.backend.when_ready(self.id, wake)
        try:
            await ended
        finally:
            self.backend.callbacks.remove(self.id, wake)
        await loop.run_in_executor(None, self.ready)  # reading the value may take a while
        return self.get(timeout=0, disable_sync_subtasks=False)

    def history(self) -> list[dict[str, Any]]:
        """Return every try of the task, the first one first, as far back as results are kept.

        Each is a dict: ``attempt``, ``worker``, ``began``, ``state``, ``ended`` (None while it runs), ``runtime`` in
        seconds, and ``error`` with ``type`` and ``message``. A try that was given back before it began is RELEASED,
        one whose worker died is LOST.
        """
        tries: list[dict[str, Any]] = []
        for state in self.backend.history(self.id):
            if state.status == STARTED:
                began = {"attempt": state.attempt, "worker": state.worker, "began": state.at}
                tries.append({**began, "state": STARTED, "ended": None, "runtime": 0.0, "error": None})
            elif tries and tries[-1]["ended"] is None:
                tries[-1]["state"] = state.status
                if state.status in _ENDS_A_TRY:
                    tries[-1] |= {"ended": state.at, "runtime": state.runtime, "error": state.error}
        return tries

    def forget(self) -> None:
        """Have the result removed: the state is PENDING from now on, and a worker that is idle takes it out of the files.

        Of a task that has not ended there is no result yet: it stays. The parents' results go too.
        """
        for one in (self, *self._parents()):
            one.forget_alone()

    def forget_alone(self) -> None:
        """Have the result removed, if there is one, and not those of its parents."""
        if self.ready():
            self.backend.forget(self.id)
            self._final = None

    def revoke(self, *, terminate: bool = False, signal: str = "SIGTERM", workflow: bool = False, **_: Any) -> None:
        """Call the task off, and with ``workflow`` all of the workflow it belongs to; see ``app.control.revoke``."""
        ids = [one.id for one in self.workflow() if not one.ready()] if workflow else self.id
        self.app.control.revoke(ids, terminate=terminate, signal=signal)

    def workflow(self) -> list[AsyncResult[Any]]:
        """Return the results of all tasks of the workflow it belongs to, each behind those before it.

        It reads the files once, and finds what they tell of it.
        """
        members = family_of(self.backend.folder, self.id)
        return [AsyncResult(one.task_id, self._given_backend, one.function, self._app) for one in members]

    def collect(self, *, intermediate: bool = False, **options: Any) -> Iterator[tuple[AsyncResult[Any], Any]]:
        """Wait for the task and for what it posted, and yield each with its value, parents first."""
        for _, node in self.iterdeps(intermediate=intermediate):
            node.get(**{**options, "propagate": False})
            if not node.ignored:  # as what was to follow a failure that did not come
                yield node, node.get(**options)

    def iterdeps(self, *, intermediate: bool = False) -> Iterator[tuple[AsyncResult[Any] | None, AsyncResult[Any]]]:
        """Yield each task that hangs on this one with its parent, breadth first.

        Raises ``IncompleteStream`` behind one that has not ended, unless they may be ``intermediate``.
        """
        queue: deque[tuple[AsyncResult[Any] | None, AsyncResult[Any]]] = deque([(None, self)])
        while queue:
            parent, node = queue.popleft()
            yield parent, node
            if node.ready():
                queue.extend((node, child) for child in node.children or [])
            elif not intermediate:
                raise exceptions.IncompleteStream(
                    f"task {node.id} is {node.state}: what it posts is not known yet. Wait for it first: result.get()"
                )

    def get_leaf(self) -> Any:
        """Return the value of the last task that hangs on this one."""
        value = None
        for _, node in self.iterdeps():
            value = value if node.ignored else node.get()
        return value

    def build_graph(self, *, intermediate: bool = False) -> dict[AsyncResult[Any], list[AsyncResult[Any]]]:
        """Return each task that hangs on this one with the tasks it posted."""
        graph: dict[AsyncResult[Any], list[AsyncResult[Any]]] = {}
        for parent, node in self.iterdeps(intermediate=intermediate):
            graph[node] = []
            if parent:
                graph[parent].append(node)
        return graph

    @property
    def graph(self) -> dict[AsyncResult[Any], list[AsyncResult[Any]]]:
        """The tasks that hang on this one; see ``build_graph``."""
        return self.build_graph()

    def as_tuple(self) -> tuple[tuple[str, Any], None]:
        """Return a form of it that can be stored: the id, and the parent's."""
        return (self.id, self.parent and self.parent.as_tuple()), None

    def as_list(self) -> list[str]:
        """Return the ids of it and of its parents."""
        return [self.id, *(one.id for one in self._parents())]

    def __str__(self) -> str:
        """Return the id."""
        return self.id

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

    def __repr__(self) -> str:
        """Return Celery's form: ``<AsyncResult: id>``."""
        return f"<{type(self).__name__}: {self.id}>"

    def __eq__(self, other: object) -> bool:
        """Say whether the other one speaks of the same task; text counts as an id."""
        return other == self.id if isinstance(other, str) else isinstance(other, AsyncResult) and other.id == self.id

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
            record = self.backend.state(self.id)
            if record.status not in FINAL_STATES:
                return record
            self._final = record
        return self._final

    def _sent(self) -> tuple[TaskRecord | None, str]:
        """Return the record of the call and its queue."""
        if self._call is None:
            final = self._record().record
            self._call = call_of(self.backend.folder, self.id) or ((final, "") if final else None)
        return self._call or (None, "")
