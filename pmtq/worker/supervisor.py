"""Starts a worker by its plan, in the pool that the plan names, and sees it to its end.

| pool | how it runs tasks | what it suits |
|---|---|---|
| ``solo`` | one at a time, in this process | trying things, following a task step by step |
| ``prefork`` | one at a time in each of ``-c`` child processes | work for the processor; the only one that keeps hard limits |
| ``threads`` | one at a time in each of ``-c`` threads | waiting for others, in plain functions |
| ``asyncio`` | ``-c`` at once in one process | waiting for others, in ``async def`` functions |
| ``gevent``, ``eventlet`` | ``-c`` at once in one process, each in a greenlet | programs that use these libraries |

It does not know the command line: what to serve and which functions there are is told in a ``Plan``.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any

from pmtq import greenlets, signals
from pmtq.presence import Presence
from pmtq.trace import Trace
from pmtq.worker.alone import Alone
from pmtq.worker.ending import Shutdown, holding_signals, start_again_at_exit
from pmtq.worker.naming import expand_name, take_name
from pmtq.worker.plan import ASYNCIO, EVENTLET, GEVENT, PREFORK, PROCESSES, SOLO, THREADS, USUAL_PLACES, Plan
from pmtq.worker.prefork import Prefork
from pmtq.worker.threads import Threads

__all__ = [
    "ASYNCIO",
    "EVENTLET",
    "GEVENT",
    "PREFORK",
    "PROCESSES",
    "SOLO",
    "THREADS",
    "USUAL_PLACES",
    "Plan",
    "expand_name",
    "holding_signals",
    "take_name",
    "work",
]

logger = logging.getLogger("pmtq.worker")


def work(plan: Plan, presence: Presence, start_method: str = "", look_after: Callable[[], None] | None = None) -> None:
    """Work under the name that ``presence`` holds until there is nothing left to do or a signal comes.

    ``start_method`` is how child processes begin: by default ``fork``, and ``spawn`` where the system has no fork. The
    parent of such children calls ``look_after`` whenever it looks at them.
    """
    app: Any = plan.app()
    if plan.pool in greenlets.KINDS:
        greenlets.patch(plan.pool, late=True)
    signals.celeryd_init.send(presence.name, instance=None, conf=app.conf, options=plan)
    plan = plan.completed()
    soft_timeout = app.conf.worker_soft_shutdown_timeout or 0.0
    shutdown = Shutdown(presence.name, soft_timeout, several=plan.pool != SOLO)
    worker = _worker(plan, presence, shutdown, start_method, look_after)
    signals.celeryd_after_setup.send(presence.name, instance=worker, conf=app.conf)
    presence.update(pool=plan.pool, **plan.changeable())
    signals.worker_init.send(worker)
    gc.collect()
    gc.freeze()  # what was imported stays: looking through it again and again costs small tasks some percent of their time
    worker.run()
    signals.worker_shutdown.send(worker)
    if shutdown.starts_again:
        start_again_at_exit()


def _worker(
    plan: Plan, presence: Presence, shutdown: Shutdown, start_method: str, look_after: Callable[[], None] | None
) -> Alone | Prefork | Threads:
    if plan.pool == PREFORK:
        return Prefork(plan, presence, shutdown, start_method, look_after)
    _tell_of_wishes_without_effect(plan)
    told = _tell_of_limits_not_kept(plan)
    if plan.pool == THREADS:
        return Threads(plan, presence, shutdown, told)
    return Alone(plan, presence, shutdown, told)


def _tell_of_wishes_without_effect(plan: Plan) -> None:
    """Say what this pool cannot do although it was asked for."""
    wishes = {"max_tasks_per_child": PREFORK, "max_memory_per_child": PREFORK, "autoscale": f"{PREFORK} or {THREADS}"}
    for wish, pools in wishes.items():
        if getattr(plan, wish) and plan.pool not in pools:
            logger.warning("%s changes nothing with -P %s; it is for -P %s", wish, plan.pool, pools)


def _tell_of_limits_not_kept(plan: Plan) -> set[str]:
    """Say which limits this pool cannot keep, one line for each task; return the names of those with a hard one."""
    told = set()
    for name, task in sorted(plan.load().items()):
        trace = Trace(task)
        hard, soft = trace.own_limits
        if hard:
            told.add(name)
            logger.warning(
                "The time limit of %s (%g s) is not kept: a task can only be ended together with its process, as -P prefork does",
                name,
                hard,
            )
        if soft and plan.pool != SOLO and (plan.pool == THREADS or not trace.is_coroutine):
            logger.warning(
                "The soft time limit of %s (%g s) is not kept: a thread cannot be interrupted. -P prefork and solo can",
                name,
                soft,
            )
    return told
