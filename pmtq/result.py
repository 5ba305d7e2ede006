"""All that can be asked of results: of one (``AsyncResult``), of one that ran here (``EagerResult``), of several together.

One result is told in ``promise`` and ``async_result``; here stands what is built on it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

from pmtq import current, exceptions
from pmtq.async_result import AsyncResult
from pmtq.backend import Backend
from pmtq.clock import now
from pmtq.ids import new_task_id
from pmtq.joining import allow_join_result, denied_join_result, require_may_join
from pmtq.records import StateRecord, TaskRecord, timestamp
from pmtq.states import EXCEPTION_STATES, SUCCESS

__all__ = [
    "AsyncResult", "EagerResult", "GroupResult", "ResultSet", "allow_join_result", "denied_join_result", "result_from_tuple"
]  # fmt: skip

R_co = TypeVar("R_co", covariant=True)


class EagerResult(AsyncResult[R_co]):
    """The result of a task that ran in its caller's process."""

    def __init__(
        self,
        id: str,  # noqa: A002  (Celery's name)
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str = "",
        *,
        children: list[AsyncResult[Any]] | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        """Take what came of it: the value, or the exception, and the state; ``error`` as in a state record."""
        super().__init__(id, task_name=name)
        self._value = ret_value
        self._children = children or []
        self._final = StateRecord(id, state, traceback=traceback or "", error=error)

    @property
    def result(self) -> Any:
        """The value or the exception."""
        return self._value

    info = result

    @property
    def children(self) -> list[AsyncResult[Any]]:
        """The results of the tasks that it ran or posted."""
        return self._children

    @property
    def name(self) -> str:
        """The task's name."""
        return self._name

    def then(
        self,
        callback: Callable[[AsyncResult[Any]], object],
        on_error: Callable[[AsyncResult[Any]], object] | None = None,
    ) -> EagerResult[R_co]:
        """Call ``callback`` or ``on_error`` at once."""
        super().then(callback, on_error)
        return self

    def forget_alone(self) -> None:
        """Do nothing: nothing was written."""

    def revoke(self, **_: Any) -> None:
        """Do nothing: it has ended."""

    async def _awaited(self) -> R_co:
        return self.get(disable_sync_subtasks=False)

    def _require_value(self) -> None:
        """Have it here."""

    def _sent(self) -> tuple[TaskRecord | None, str]:
        return None, ""


class ResultSet:
    """Several results, asked together. One of them may be a set itself: its value is the list of its members' values."""

    def __init__(self, results: Iterable[Any] = (), app: Any = None) -> None:
        """Take the results; the order stays."""
        self.results: list[Any] = list(results)
        self._app = app

    def add(self, result: AsyncResult[Any]) -> None:
        """Add a result unless it is there."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: AsyncResult[Any] | str) -> None:
        """Take a result (or the one with that id) out; raises ``KeyError`` if it is not there."""
        if result not in self.results:
            raise KeyError(result)
        self.results = [one for one in self.results if one != result]

    def discard(self, result: AsyncResult[Any] | str) -> None:
        """Take a result out if it is there."""
        self.results = [one for one in self.results if one != result]

    def update(self, results: Iterable[AsyncResult[Any]]) -> None:
        """Add those that are not there."""
        known = {one.id for one in self.results if isinstance(one, AsyncResult)}  # of many, looking at each takes long
        for result in results:
            if not isinstance(result, AsyncResult):
                self.add(result)
            elif result.id not in known:
                known.add(result.id)
                self.results.append(result)

    def clear(self) -> None:
        """Take all out."""
        self.results.clear()

    def successful(self) -> bool:
        """Say whether all have returned a value."""
        return all(one.successful() for one in self._looked_at())

    def failed(self) -> bool:
        """Say whether one has failed."""
        return any(one.failed() for one in self._looked_at())

    def waiting(self) -> bool:
        """Say whether one has not ended."""
        return any(not one.ready() for one in self._looked_at())

    def ready(self) -> bool:
        """Say whether all have ended."""
        return not self.waiting()

    def completed_count(self) -> int:
        """Return how many have returned a value."""
        return sum(one.successful() for one in self._looked_at())

    def maybe_throw(self, *, propagate: bool = True, callback: Callable[[str, Any], object] | None = None) -> None:
        """Raise the exception of one that has failed."""
        for one in self.results:
            one.maybe_throw(propagate=propagate, callback=callback)

    maybe_reraise = maybe_throw

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,  # noqa: ARG002  (nothing is polled)
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,  # noqa: ARG002
        on_message: Callable[[dict[str, Any]], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> list[Any]:
        """Wait for all and return their values in order; the first exception is raised as soon as it is there.

        ``timeout`` is in seconds, for all together. Without ``propagate`` the exceptions stand among the values.
        ``callback(id, value)`` is called for each as it ends.
        """
        if disable_sync_subtasks:
            require_may_join()
        for one in self._ending(timeout):
            if on_interval:
                on_interval()
            if on_message:
                on_message({"task_id": one.id, "status": one.state, "result": one.result})
            if propagate and one.state in EXCEPTION_STATES:
                one.to_blame().throw(one.to_blame().result)
            if callback:
                callback(one.id, one.result)
        return self.result

    get = join_native = join

    @property
    def result(self) -> list[Any]:
        """The values as they are now, in order."""
        return [one.result for one in self.results]

    def leaves(self) -> Iterator[AsyncResult[Any]]:
        """Yield the results of single tasks, in order, those of sets among them too."""
        for one in self.results:
            yield from one.leaves() if isinstance(one, ResultSet) else [one]

    def iterate(
        self,
        timeout: float | None = None,
        *,
        propagate: bool = True,
        interval: float | None = None,  # noqa: ARG002
    ) -> Iterator[Any]:
        """Yield the values in the order in which the tasks end."""
        for one in self._ending(timeout):
            yield one.maybe_throw(propagate=propagate)

    def iter_native(self, timeout: float | None = None, **_: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield id and what is known of each task, in the order in which they end."""
        for one in self._ending(timeout):
            yield one.id, {"task_id": one.id, "status": one.state, "result": one.result, "traceback": one.traceback}

    def then(
        self, callback: Callable[[ResultSet], object], on_error: Callable[[ResultSet], object] | None = None
    ) -> ResultSet:
        """Have ``callback(set)`` called once all have ended; if one has not ended well, ``on_error(set)`` if there is one."""
        leaves = list(self.leaves())
        left = len(leaves)
        counting = threading.Lock()

        def ended(_: AsyncResult[Any] | None) -> None:
            nonlocal left
            with counting:
                left -= 1
                if left > 0:
                    return
            (callback if on_error is None or self.successful() else on_error)(self)

        for one in leaves:
            one.then(ended)
        if not leaves:
            ended(None)
        return self

    @property
    def supports_native_join(self) -> bool:
        """Whether all are waited for together; always."""
        return True

    @property
    def backend(self) -> Backend:
        """Where the states are read."""
        return self.results[0].backend if self.results else cast("Backend", self.app.backend)

    @property
    def app(self) -> Any:
        """The app it was made for, else that of its results."""
        return self._app or (self.results[0].app if self.results else current.app_in_use())

    def forget(self) -> None:
        """Have all results removed of those tasks that have ended."""
        for one in self._looked_at():
            one.forget()

    def revoke(self, *, terminate: bool = False, signal: str = "SIGTERM", **_: Any) -> None:
        """Call all of them off."""
        self.app.control.revoke([one.id for one in self.leaves()], terminate=terminate, signal=signal)

    def _looked_at(self) -> list[AsyncResult[Any]]:
        """Return the results, knowing which tasks have ended: each file is read once at most, however many they are."""
        with contextlib.suppress(exceptions.TimeoutError):
            for _ in self._ending(0.0):
                pass
        return self.results

    def _ending(self, timeout: float | None) -> Iterator[AsyncResult[Any]]:
        """Yield each result when its task has ended; raises ``TimeoutError`` after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for one in self.leaves():
            if not isinstance(one, EagerResult):  # which has its value with it
                one.backend.require_values(one.id)
        left = {one.id: one for one in self.leaves()}
        for one in [one for one in left.values() if one.is_known]:
            yield left.pop(one.id)
        for backend in {one.backend: None for one in left.values()}:  # nearly always there is one
            here = {one.id for one in left.values() if one.backend is backend}
            for state in backend.wait_each(here, None if deadline is None else max(0.0, deadline - time.monotonic())):
                one = left.pop(state.task_id)
                one.take(state)
                yield one
        if left:
            raise exceptions.TimeoutError(
                f"{len(left)} of {len(self.results)} tasks have not ended after {timeout:g} s, among them {next(iter(left))}. "
                "They go on. Is a worker there, and what do they wait for? pmtq status; pmtq queue"
            )

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self.results)

    def __iter__(self) -> Iterator[AsyncResult[Any]]:
        """Go through the results."""
        return iter(self.results)

    def __getitem__(self, index: int) -> AsyncResult[Any]:
        """Return the result at a place."""
        found: AsyncResult[Any] = self.results[index]
        return found

    def __eq__(self, other: object) -> bool:
        """Say whether the other one has the same results in the same order."""
        return isinstance(other, ResultSet) and other.results == self.results

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return the ids."""
        return f"<{type(self).__name__}: [{', '.join(one.id for one in self.results)}]>"


class GroupResult(ResultSet):
    """The results of a group: what calling one returns, and what a chord's result has as its parent."""

    def __init__(
        self,
        id: str | None = None,  # noqa: A002  (Celery's name)
        results: Iterable[Any] = (),
        parent: AsyncResult[Any] | GroupResult | None = None,
        app: Any = None,
    ) -> None:
        """Take the group's id, its members in order, and what came before it in its chain."""
        super().__init__(results, app)
        self.id = id or new_task_id()
        self.parent = parent

    @property
    def children(self) -> list[Any]:
        """The members."""
        return self.results

    def as_tuple(self) -> tuple[tuple[str, Any], list[Any]]:
        """Return a form of it that can be stored; see ``result_from_tuple``."""
        return (self.id, self.parent and self.parent.as_tuple()), [one.as_tuple() for one in self.results]

    def as_list(self) -> list[str]:
        """Return the ids of it and of its parents."""
        return [self.id, *(self.parent.as_list() if self.parent else [])]

    def save(self, backend: Backend | None = None) -> GroupResult:
        """Write down under its id which results it has, as a line of the results; return it.

        The line goes as results go, after ``result_expires``.
        """
        at = timestamp(now())
        (backend or self.backend).store(StateRecord(self.id, SUCCESS, self.as_tuple(), at=at))
        return self

    def delete(self, backend: Backend | None = None) -> None:
        """Take back ``save``; the results themselves stay."""
        (backend or self.backend).forget(self.id)

    @classmethod
    def restore(cls, id: str, backend: Backend | None = None, app: Any = None) -> GroupResult | None:  # noqa: A002
        """Return the group that was saved under this id, None if there is none."""
        saved = (backend or (app or current.app_in_use()).backend).state(id).result
        return result_from_tuple(saved, app) if isinstance(saved, list) and len(saved) == 2 else None

    def forget_alone(self) -> None:
        """Have all results removed."""
        self.forget()

    def __bool__(self) -> bool:
        """Be true even without members."""
        return True

    def __eq__(self, other: object) -> bool:
        """Say whether the other one is the same group with the same results."""
        return isinstance(other, GroupResult) and other.id == self.id and other.results == self.results

    __hash__ = None

    def __str__(self) -> str:
        """Return the id."""
        return self.id

    def __repr__(self) -> str:
        """Return Celery's form: the id, and those of the members."""
        return f"<GroupResult: {self.id} [{', '.join(one.id for one in self.results)}]>"


def result_from_tuple(stored: Any, app: Any = None) -> Any:
    """Return what ``as_tuple`` was made of: a result, or a group of results; also when it came through JSON."""
    if isinstance(stored, AsyncResult | ResultSet):
        return stored
    about, members = stored
    id_, parent = about if isinstance(about, list | tuple) else (about, None)
    before = result_from_tuple(parent, app) if parent else None
    if members is None:
        return AsyncResult(id_, app=app, parent=before)
    return GroupResult(id_, [result_from_tuple(one, app) for one in members], before, app)
