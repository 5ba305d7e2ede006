"""What ``%n``, ``%h`` and their like stand for in the names of log and pid files.

1. ``%p`` is the worker's whole name, ``%n`` the part before the ``@``, ``%h`` the part after it, ``%d`` the domain in that.
2. ``%i`` is the number of the process in its pool, 0 for the worker's own; ``%I`` is the same with a dash, or nothing.

It does not know how a worker comes by its name.
"""

from __future__ import annotations

import re

from pmtq.exceptions import ImproperlyConfigured


def expanded(pattern: str, node: str, *, keep: str = "") -> str:
    """Return ``pattern`` for the worker or the pool process called ``node``, such as ``worker1@host`` or ``worker1@host#2``.

    The letters in ``keep`` are left as they are, for somebody who knows more. Raises ``ImproperlyConfigured`` for a letter
    that means nothing.
    """
    name, _, number = node.partition("#")
    short, _, host = name.partition("@")
    meanings = {
        "p": name,
        "n": short,
        "h": host,
        "d": host.partition(".")[2],
        "i": number or "0",
        "I": f"-{number}" if number else "",
        "%": "%",
    } | {letter: f"%{letter}" for letter in keep}

    def meaning(match: re.Match[str]) -> str:
        if match[1] not in meanings:
            raise ImproperlyConfigured(
                f"%{match[1]} in {pattern!r} means nothing. Nothing was started. There are %p (the worker's name), %n and "
                "%h (its parts), %d (the domain), %i and %I (the process of a pool), and %% for a percent sign"
            )
        return meanings[match[1]]

    return re.sub("%(.?)", meaning, pattern)
