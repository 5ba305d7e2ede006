"""Has workflows done for an app: posts their steps, or runs them in this process.

``Conductor`` does it, and ``Workflows`` is what the app itself has of it, as ``composing`` is what a task has.

It does not know shapes nor files: ``canvas`` lays a shape out as steps, ``workflow`` makes records of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol, cast

from pmtq import signals
from pmtq.announcing import announce_all
from pmtq.backend import Backend
from pmtq.broker import Broker
from pmtq.canvas import Signature, chain, signature
from pmtq.claim import Claim
from pmtq.conf import Settings
from pmtq.eager import run_calls_here, run_here, run_workflow_here
from pmtq.exceptions import ImproperlyConfigured, OperationalError, Replaced
from pmtq.plan import Node
from pmtq.request import running
from pmtq.result import AsyncResult, EagerResult, GroupResult
from pmtq.task import Task
from pmtq.workflow import Call, add_to_chord, called_off, calls_of, in_safe_order, lay_out, promise_of, replace

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class App(Protocol):
    """What is needed of an app here."""

    conf: Settings

    @property
    def record_of(self) -> Callable[..., Call]:
        """What makes a record of a call."""

    @property
    def backend(self) -> Backend:
        """Where states are read."""

    def post(self, calls: list[Call]) -> None:
        """Publish records that may wait for each other."""


class Posting(App, Protocol):
    """What is needed of one that posts."""

    @property
    def broker(self) -> Broker:
        """Where records are published."""

    @property
    def conductor(self) -> Conductor:
        """Who posts workflows, or runs them here."""


class Conductor:
    """Posts and runs the workflows of one app."""

    def __init__(self, app: App) -> None:
        """Work for ``app``."""
        self._app = app

    def send(
        self,
        sig: Signature,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = _NOTHING,
        options: Mapping[str, Any] = _NOTHING,
    ) -> Any:
        """Post all steps of a signature in one append, and return the promise of its value; see ``workflow``.

        With ``task_always_eager`` they are run here. With a ``task_id`` the steps have the same ids each time.
        """
        if self._app.conf.task_always_eager:
            return self.run_here(sig, args, kwargs, options)
        plan, node = lay_out(sig, args, kwargs, options)
        self._post_whole(calls_of(plan, self._app.record_of, running.get()), plan.made)
        return self.promise_of(node)

    def run_here(
        self,
        sig: Signature,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = _NOTHING,
        options: Mapping[str, Any] = _NOTHING,
    ) -> Any:
        """Run all steps of a signature in this process, as ``Signature.apply`` says."""
        return run_workflow_here(self._app, sig, args, kwargs, options)

    def promise_of(self, node: Node) -> Any:
        """Return what a caller keeps of a workflow: an ``AsyncResult`` or a ``GroupResult``; None of an empty chain."""
        app = self._app
        return promise_of(node, lambda task_id, parent: AsyncResult(task_id, app.backend, "", app, parent))

    def replace(self, sig: Signature, claim: Claim) -> Replaced:
        """Have the running task go on as ``sig``; return what it is to raise. See ``Task.replace``."""
        if isinstance(sig, chain) and sig.is_empty:
            raise ImproperlyConfigured(
                "a task cannot be replaced by an empty chain. Nothing was queued. Return a value instead"
            )
        if claim.is_eager:
            replaced = Replaced()
            replaced.value = sig.apply().get(disable_sync_subtasks=False)
            return replaced
        return replace(sig, claim, self._app.record_of, self._post_whole)

    def add_to_chord(self, sig: Signature, claim: Claim) -> Any:
        """Post ``sig`` as one more member of the header that the running task belongs to. See ``Task.add_to_chord``."""
        calls, made, node = add_to_chord(sig, claim, self._app.record_of)
        if claim.is_eager:
            promise = run_calls_here(self._app, calls, node)
        else:
            self._post_whole(calls, made)
            promise = self.promise_of(node)
        claim.adds = [*(claim.adds or ()), node.tree]
        return promise

    def _post_whole(self, calls: list[Call], made: AbstractSet[str]) -> None:
        """Post calls; if not all could be written, end those that were ``made`` for this."""
        try:
            self._app.post(calls)
        except OperationalError as error:
            with suppress(OperationalError):  # the results may be on the same full disk; the first error says enough
                self._app.backend.store(*called_off(calls, made, error))
            raise


class Workflows:
    """What ``PMTQ`` has of the language of workflows."""

    @cached_property
    def conductor(self: App) -> Conductor:
        """Who posts workflows, or runs them here."""
        return Conductor(self)

    def post(self: Posting, calls: list[Call]) -> None:
        """Publish records that may wait for each other, so that a crash strands none."""
        announce_all(signals.before_task_publish, calls)
        self.broker.publish_in_turn(in_safe_order(calls))
        announce_all(signals.after_task_publish, calls)

    def signature(self, *args: Any, **options: Any) -> Signature:
        """Return a signature that belongs to this app; see ``canvas.signature``."""
        return signature(*args, **{"app": self, **options})

    def GroupResult(self, id: str, results: Iterable[Any] = (), parent: Any = None) -> GroupResult:  # noqa: A002, N802
        """Return several results as those of one group."""
        return GroupResult(id, results, parent, self)

    def run_here(
        self: Posting, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Any
    ) -> EagerResult[Any]:
        """Run a task in this process, as ``Task.apply`` says."""
        if options.get("link") or options.get("link_error"):
            sig = Signature(task, args, kwargs, app=self)
            return cast("EagerResult[Any]", self.conductor.run_here(sig, options=options))
        return run_here(task, args, kwargs, options)
