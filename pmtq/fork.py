"""What must not be shared with a forked child: descriptors that carry locks, mutexes, and threads that are not there.

A kernel lock lives as long as any copy of its descriptor is open, so a child that keeps one would make a dead parent
look alive; and a mutex that another thread of the parent held stays locked in the child for ever.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that has to be put in order in a forked child."""

    def after_fork(self) -> None:
        """Let go of what belongs to the parent; called in the child before anything else."""


_instances: weakref.WeakSet[Forkable] = weakref.WeakSet()
_last: weakref.WeakSet[Forkable] = weakref.WeakSet()


def put_in_order_after_fork(instance: Forkable, *, last: bool = False) -> None:
    """Have ``instance.after_fork()`` called in every forked child, as long as the instance lives.

    ``last`` is for one that uses the others, and needs them in order.
    """
    (_last if last else _instances).add(instance)


def _after_fork() -> None:
    for instance in [*_instances, *_last]:
        instance.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
