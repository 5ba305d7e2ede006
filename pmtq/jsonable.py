"""What JSON can hold: anything else is refused by name, instead of being bent into shape."""

from __future__ import annotations

import math

from pmtq.exceptions import NotSerializable

MAX_NESTING = 100
PLAIN: frozenset[type] = frozenset({str, int, bool, type(None)})
"""Types of which JSON can hold every value, but for text that is no Unicode and numbers of thousands of digits."""


def require_json(value: object, where: str, depth: int = 0) -> None:  # noqa: C901  (a branch for each kind of value)
    """Raise ``NotSerializable``, naming the place, unless JSON can hold ``value`` as it is.

    A tuple passes and becomes an array. ``where`` reads like ``argument 'when'``.
    """
    kind = type(value)
    if kind in PLAIN:
        return
    if depth > MAX_NESTING:
        raise NotSerializable(where, value, f"is nested deeper than {MAX_NESTING} levels")
    if isinstance(value, float) and kind is float:
        if not math.isfinite(value):
            raise NotSerializable(where, value, f"is {value}, which JSON cannot hold")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if type(item) not in PLAIN:
                require_json(item, f"{where}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise NotSerializable(where, value, f"has the key {key!r}; in JSON every key is text")
            if type(item) not in PLAIN:
                require_json(item, f"{where}[{key!r}]", depth + 1)
    else:
        raise NotSerializable(where, value, f"is a {kind.__name__} ({_shown(value)}), which JSON cannot hold")


def _shown(value: object, longest: int = 80) -> str:
    """Return the value as a message can show it, shortened, even when its own ``repr`` fails."""
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001  (a broken __str__ must not hide the message)
        text = f"its str() raises {type(error).__name__}"
    return text if len(text) <= longest else text[:longest] + "…"
