"""Says which calls of a task count as one: those with the same key, made of their arguments.

What is done about calls with one key stands in ``gates``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from pmtq.arguments import require_json_arguments
from pmtq.exceptions import ImproperlyConfigured

_sorted = msgspec.json.Encoder(order="sorted").encode


def key_of(name: str, arguments: Mapping[str, Any], *, chosen: bool | Iterable[str] | Callable[..., str]) -> str:
    """Return what calls to ``name`` have in common that count as one.

    ``chosen`` is True for all arguments, or names some of them, or is a function of them that returns a text.
    """
    if callable(chosen):
        return f"{name} {chosen(**arguments)}"
    names = arguments if isinstance(chosen, bool) else [chosen] if isinstance(chosen, str) else chosen
    if missing := sorted(set(names) - arguments.keys()):
        raise ImproperlyConfigured(
            f"unique={chosen!r}: {name} has no argument {missing[0]!r}. Nothing was queued. Name some of: {', '.join(arguments)}"
        )
    chosen_ones = {key: arguments[key] for key in names}
    require_json_arguments(name, (), chosen_ones)
    return f"{name} {hashlib.blake2b(_sorted(chosen_ones), digest_size=8).hexdigest()}"
