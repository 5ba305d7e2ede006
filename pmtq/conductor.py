"""Has workflows done for an app: posts their steps, or runs them in this process.

It does not know shapes nor files: ``canvas`` lays a shape out as steps, ``workflow`` makes records of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from pmtq.backend import Backend
from pmtq.canvas import Signature
from pmtq.claim import Claim
from pmtq.conf import Settings
from pmtq.eager import run_calls_here, run_workflow_here
from pmtq.exceptions import Replaced
from pmtq.plan import Node
from pmtq.request import running
from pmtq.result import AsyncResult
from pmtq.workflow import Call, add_to_chord, calls_of, lay_out, promise_of, replace

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

        With ``task_always_eager`` they are run here.
        """
        if self._app.conf.task_always_eager:
            return self.run_here(sig, args, kwargs, options)
        plan, node = lay_out(sig, args, kwargs, options)
        self._app.post(calls_of(plan, self._app.record_of, running.get()))
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
        if claim.is_eager:
            replaced = Replaced()
            replaced.value = sig.apply().get(disable_sync_subtasks=False)
            return replaced
        return replace(sig, claim, self._app.record_of, self._app.post)

    def add_to_chord(self, sig: Signature, claim: Claim) -> Any:
        """Post ``sig`` as one more member of the header that the running task belongs to. See ``Task.add_to_chord``."""
        calls, node = add_to_chord(sig, claim, self._app.record_of)
        if claim.is_eager:
            return run_calls_here(self._app, calls, node)
        self._app.post(calls)
        return self.promise_of(node)
