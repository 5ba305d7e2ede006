"""Gives a worker the name by which all others know it.

It does not know what the worker does: that is for the file of its name, and stands in the plan.
"""

from __future__ import annotations

import contextlib
import re
import socket

from pmtq.exceptions import ImproperlyConfigured, WorkerNameTaken
from pmtq.presence import Presence, living
from pmtq.worker.plan import Plan

DEFAULT_NAME = "worker1@%h"
_SAFE_NAME = re.compile(r"[\w.+%-]+@[\w.+%-]+")
_NAMES = 1000
"""So many names are tried before a worker that was given none gives up."""
_NAMES_OF_A_CHILD = 10


def expand_name(pattern: str, host: str) -> str:
    """Return a worker's name: ``%h`` is the host, ``%n`` its first part, ``%d`` the rest, ``%%`` a percent sign.

    A name without ``@`` gets the host behind it, as Celery does it. Raises ``ImproperlyConfigured``.
    """
    first, _, domain = host.partition(".")
    meaning = {"%h": host, "%n": first, "%d": domain, "%%": "%"}
    name = re.sub("%.?", lambda match: meaning.get(match[0], match[0]), pattern)
    name = name if "@" in name else f"{name}@{host}"
    if not _SAFE_NAME.fullmatch(name):
        raise ImproperlyConfigured(
            f"{name!r} cannot be a worker's name, because it names a file too. Nothing was started. Use letters, "
            f"digits, '.', '_', '+' and '-' on both sides of one '@', for example: -n {DEFAULT_NAME}"
        )
    return name


def take_name(plan: Plan, pattern: str = "") -> Presence:
    """Take the worker's name and return it as its presence.

    Without a ``pattern`` it is the first free one of ``worker1@%h``, ``worker2@%h`` … Raises ``WorkerNameTaken``.
    """
    host = socket.gethostname()
    if pattern:
        return _take_first_free(plan, [expand_name(pattern, host)])
    taken = {facts.get("name") for facts in living(plan.folder)}
    names = (expand_name(f"worker{number}@%h", host) for number in range(1, _NAMES))
    return _take_first_free(plan, [name for name in names if name not in taken])


def take_name_of_child(plan: Plan, parent: str, number: int) -> Presence:
    """Take the name ``<parent>#<number>`` for a process or a thread of a pool.

    An orphan of an earlier pool may still hold it while it ends its last task: then it is another number.
    """
    step = max(plan.concurrency, 1)
    return _take_first_free(plan, [f"{parent}#{number + step * more}" for more in range(_NAMES_OF_A_CHILD)], parent)


def _take_first_free(plan: Plan, names: list[str], parent: str = "") -> Presence:
    for name in names[:-1]:
        with contextlib.suppress(WorkerNameTaken):
            return Presence(plan.folder, name, plan.facts(name, parent))
    return Presence(plan.folder, names[-1], plan.facts(names[-1], parent))
