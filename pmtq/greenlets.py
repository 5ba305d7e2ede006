"""Gives a program greenlets for threads, before it imports anything else, if its command line asks for such a pool.

1. ``-P gevent`` and ``-P eventlet`` mean it; the library has to be installed, and is imported only then.
2. Modules that were imported earlier may keep what they have taken from the unpatched ones: so it is the first thing done.

It does not know the command line: it looks for the option in it, as a person would.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Sequence

from pmtq.exceptions import ImproperlyConfigured

logger = logging.getLogger("pmtq.worker")

KINDS = ("gevent", "eventlet")
_patched: list[str] = []


def patch_if_asked(arguments: Sequence[str]) -> None:
    """Patch the program if ``arguments`` are those of a worker with such a pool; without the library do nothing.

    The command line says then that it is missing.
    """
    kind = _asked_for(arguments) if "worker" in arguments else ""
    if kind and importlib.util.find_spec(kind):
        patch(kind)


def patch(kind: str, *, late: bool = False) -> None:
    """Patch the program once; ``late`` says that modules are loaded that would not know.

    Raises ``ImproperlyConfigured`` if the library is not installed.
    """
    if kind in _patched:
        return
    if not importlib.util.find_spec(kind):
        raise ImproperlyConfigured(
            f"-P {kind} needs the package {kind}, which is not installed. Nothing was started. Install it: pip install {kind}; "
            "or take -P threads, or -P asyncio for async def tasks"
        )
    if late:
        logger.warning(
            "%s patches the program only now, after your modules were imported. Better say it at once: -P %s",
            kind,
            kind,
        )
    _patched.append(kind)
    if kind == "gevent":
        importlib.import_module("gevent.monkey").patch_all()
    else:
        importlib.import_module("eventlet").monkey_patch()


def _asked_for(arguments: Sequence[str]) -> str:
    """Return which of the two pools the arguments name; empty for none."""
    found = ""
    for before, one in zip(["", *arguments], arguments, strict=False):
        value = one if before in {"-P", "--pool"} else ""
        for option in ("--pool=", "-P"):
            value = value or (one.removeprefix(option) if one.startswith(option) else "")
        found = value or found
    return found if found in KINDS else ""
