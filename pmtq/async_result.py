"""All that can be asked of one result: its promise, and who ran the task, what was sent, what came before and after it.

1. What stands in the record of the call is known as long as that stands in a file.
2. What hangs on a task is known when it has ended.
3. ``then`` and ``await`` keep no thread of the caller's: all results of a backend are waited for by one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from typing import Any, TypeVar

from pmtq import exceptions
from pmtq.archive import call_of
from pmtq.family import family_of
from pmtq.promise import Promise
from pmtq.records import TaskRecord
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


class AsyncResult(Promise[R_co]):
    """The result of a task that was posted, named by its task id."""

    parent: AsyncResult[Any] | None = None
    """The result of the task that this one came after, or that posted it, if that is known here."""
    _call: tuple[TaskRecord, str] | None = None

    def successful(self) -> bool:
        """Say whether the task has returned a value."""
        return self._record().status == SUCCESS

    def failed(self) -> bool:
        """Say whether the task has raised."""
        return self._record().status == FAILURE

    def exists(self) -> bool:
        """Say whether anything is known of the task: that it waits, runs or has ended."""
        return self._record().status != PENDING or self._sent()[0] is not None

    @property
    def ignored(self) -> bool:
        """Whether it is not to have a result: the task said so, or this was set, and ``get`` returns None at once."""
        return self._ignored or self._record().status == IGNORED

    @ignored.setter
    def ignored(self, value: bool) -> None:
        """Set whether ``get`` is to return None at once."""
        self._ignored = value

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

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """The tasks that it posted while it ran, and those that wait for it; None as long as it has not ended."""
        record = self._record()
        if record.status not in FINAL_STATES:
            return None
        children = [*(record.children or ()), *(record.followers or ())]
        return [AsyncResult(child, self._given_backend, app=self._app, parent=self) for child in children]

    def workflow(self) -> list[AsyncResult[Any]]:
        """Return the results of all tasks of the workflow it belongs to, each behind those before it.

        It reads the files once, and finds what they tell of it.
        """
        members = family_of(self.backend.folder, self.id)
        return [AsyncResult(one.task_id, self._given_backend, one.function, self._app) for one in members]

    def collect(self, *, intermediate: bool = False, **options: Any) -> Iterator[tuple[AsyncResult[Any], Any]]:
        """Wait for the task and for what it posted, and yield each with its value, parents first."""
        told = set()
        for _, node in self.iterdeps(intermediate=intermediate):
            if node in told:
                continue
            told.add(node)
            node.get(**{**options, "propagate": False})
            if not node.ignored:  # as what was to follow a failure that did not come
                yield node, node.get(**options)

    def iterdeps(self, *, intermediate: bool = False) -> Iterator[tuple[AsyncResult[Any] | None, AsyncResult[Any]]]:
        """Yield each task that hangs on this one with its parent, breadth first; once with each, if it has several.

        Raises ``IncompleteStream`` behind one that has not ended, unless they may be ``intermediate``.
        """
        queue: deque[tuple[AsyncResult[Any] | None, AsyncResult[Any]]] = deque([(None, self)])
        seen = set()
        while queue:
            parent, node = queue.popleft()
            yield parent, node
            if node in seen:
                continue  # what hangs on it is on its way
            seen.add(node)
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
            graph.setdefault(node, [])
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

    def _sent(self) -> tuple[TaskRecord | None, str]:
        """Return the record of the call and its queue."""
        if self._call is None:
            final = self._record().record
            self._call = call_of(self.backend.folder, self.id) or ((final, "") if final else None)
        return self._call or (None, "")
