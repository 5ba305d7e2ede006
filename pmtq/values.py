"""What a setting may hold: one function for each kind of value.

1. A check is told the setting's name, as the user wrote it, and the value; it returns the value to keep.
2. What cannot be meant is refused when it is set, not when a task runs at night.
3. None is the way to say nothing, and passes every check but those of contents.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import timedelta, tzinfo
from os import PathLike
from typing import Any

from pmtq.exceptions import ImproperlyConfigured
from pmtq.rates import interval
from pmtq.zones import find_zone

_FLAGS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
    "": False,
}
_JSON = {"json", "application/json"}
HIGHEST_PRIORITY = 9


def anything(_: str, value: Any) -> Any:
    """Take every value; whoever uses it knows its forms."""
    return value


def flag(name: str, value: Any) -> bool | None:
    """Take a truth value: a bool, 0 or 1, or one of the words that environments are full of (``yes``, ``off`` …)."""
    if value is None or isinstance(value, bool):
        return value
    try:
        return _FLAGS[str(value).lower()]
    except KeyError:
        raise _refused(name, value, "is neither true nor false", "Write True or False") from None


def text(name: str, value: Any) -> str | None:
    """Take text."""
    if value is None or isinstance(value, str):
        return value
    raise _refused(name, value, f"is a {type(value).__name__} and should be text", f"Write {name}='…'")


def path(name: str, value: Any) -> str | None:
    """Take the name of a file, as text or as a ``Path``."""
    return text(name, str(value) if isinstance(value, PathLike) else value)


def names(name: str, value: Any) -> Collection[str]:
    """Take the names of modules: a list of them, or text with commas. Empty ones are left out."""
    given = value.split(",") if isinstance(value, str) else value or ()
    if isinstance(given, list | tuple | set | frozenset) and all(isinstance(one, str) for one in given):
        return type(given)(one.strip() for one in given if one.strip())
    raise _refused(name, value, "is no list of names", f"Write {name}=['proj.tasks']")


def mapping(name: str, value: Any) -> Mapping[Any, Any] | None:
    """Take a dict."""
    if value is None or isinstance(value, Mapping):
        return value
    raise _refused(name, value, f"is a {type(value).__name__} and should be a dict", f"Write {name}={{…}}")


def count(name: str, value: Any) -> int | None:
    """Take a whole number that is not negative."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise _refused(name, value, "is no number of things", "Give a whole number, 0 or more")


def seconds(name: str, value: Any) -> Any:
    """Take a time span: seconds or a ``timedelta``, not negative."""
    length = value.total_seconds() if isinstance(value, timedelta) else value
    number = isinstance(length, int | float) and not isinstance(length, bool)
    if value is None or (number and length >= 0 and math.isfinite(length)):
        return value
    raise _refused(name, value, "is no time span", "Give seconds, or a timedelta")


def priority(name: str, value: Any) -> Any:
    """Take a priority: 0 to 9, of which the highest runs first."""
    if count(name, value) is None or value <= HIGHEST_PRIORITY:
        return value
    raise _refused(
        name, value, "is no priority", f"Give a whole number from 0 to {HIGHEST_PRIORITY}; the highest runs first"
    )


def rate(_: str, value: Any) -> Any:
    """Take a rate limit; see ``rates.interval``."""
    interval(value)
    return value


def serializer(name: str, value: Any) -> str:
    """Take ``json``."""
    if value in _JSON:
        return "json"
    raise _refused(
        name,
        value,
        "is not possible: the queue is a text file that anyone can read, and pickle in it could run anything",
        f"Write {name}='json', and send text, numbers, lists and dicts: an id instead of an object",
    )


def content(name: str, value: Any) -> list[str]:
    """Take a list of content types with ``json`` among them; the others never occur."""
    given = [value] if isinstance(value, str) else list(value or ())
    if _JSON.intersection(given):
        return given
    raise _refused(name, value, "would refuse every task: a queue file holds JSON", f"Write {name}=['json']")


def content_or_none(name: str, value: Any) -> list[str] | None:
    """Take a list of content types, or None for the same as elsewhere."""
    return None if value is None else content(name, value)


def zone(_: str, value: Any) -> str | tzinfo | None:
    """Take the name of a time zone, or a ``tzinfo``."""
    if isinstance(value, str) and value:
        find_zone(value)
    elif value and not isinstance(value, tzinfo):
        raise _refused("timezone", value, "is no time zone", "Write timezone='Europe/Oslo', or None for UTC")
    return value or None


def _refused(name: str, value: object, why: str, remedy: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name}={value!r} {why}. It was not set. {remedy}")
