"""A task as a part of workflows: calls of it that have not been made yet, and what it may do to the workflow it runs in.

It does not know how a workflow is posted or run: ``conductor`` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from pmtq.canvas import Signature, chunks, xmap, xstarmap
from pmtq.request import own_claim


class Composable:
    """What ``Task`` has of the language of workflows."""

    app: Any
    name: str

    def replace(self, sig: Signature) -> NoReturn:
        """Have the task go on as ``sig`` under its own id, with all that waits for it; write ``raise self.replace(sig)``.

        Its value is that of ``sig``, which may be any shape.
        """
        self.on_replace(sig)

    def on_replace(self, sig: Signature) -> NoReturn:
        """Do what ``replace`` does; override it to look at ``sig`` first, or to change it."""
        claim = own_claim()
        if claim is None:
            raise RuntimeError(f"{self.name} was called directly, so it cannot be replaced. Call {sig!r:.80} itself")
        raise self.app.conductor.replace(sig, claim)

    def add_to_chord(self, sig: Signature, lazy: bool = False) -> Any:  # noqa: ARG002  (Celery's signature)
        """Add a member to the header that the running task belongs to; return the promise of its value.

        The body gets that value behind those of the others. Raises ``ValueError`` in a task of no header.
        """
        claim = own_claim()
        if claim is None:
            raise ValueError(f"{self.name} was called directly, so it is in no chord. Nothing was queued")
        return self.app.conductor.add_to_chord(sig, claim)

    def signature(self, args: Iterable[Any] | None = None, *more: Any, **options: Any) -> Signature:
        """Return a call that has not been made yet: ``add.signature((2, 2), countdown=10)``. See ``canvas.Signature``."""
        return Signature(self, args, *more, **{"app": self.app, **options})

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a call with these arguments that has not been made yet, such as the step of a chain."""
        return Signature(self, args, kwargs, app=self.app)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """Return one that takes no further arguments: in a chain it waits, and does not get the value before it."""
        return Signature(self, args, kwargs, immutable=True, app=self.app)

    def map(self, it: Iterable[Any]) -> xmap:
        """Return one call that calls the function with each item, and has the list of the values."""
        return xmap(self, it, self.app)

    def starmap(self, it: Iterable[Any]) -> xstarmap:
        """Return the same for items that are lists of arguments."""
        return xstarmap(self, it, self.app)

    def chunks(self, it: Iterable[Any], n: int) -> chunks:
        """Return a group of such calls, each for ``n`` lists of arguments."""
        return chunks(self, it, n, self.app)
