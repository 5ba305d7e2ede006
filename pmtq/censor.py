"""Stars out passwords, tokens and keys in what is shown to people; reports are pasted into public threads.

1. A value whose name speaks of a secret is hidden whole, also inside of dicts.
2. In a URL the password goes and the rest stays; when in doubt, too much is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "********"
_SECRET = re.compile(r"pass|secret|token|key|credential|signature", re.IGNORECASE)
# Up to the last @ of the word: a password may hold every character that a careful program would have escaped.
_PASSWORD = re.compile(r"(?<=://)([^\s:/?#@]*):\S*(?=@)")
_PARAMETER = re.compile(r"(?<=[?&;])(\w*(?:pass|secret|token|key|sig)\w*)=[^&;\s]*", re.IGNORECASE)


def censored(name: str, value: Any) -> Any:
    """Return the value of what is called ``name``, without the secrets in it."""
    if value is not None and _SECRET.search(name):
        return HIDDEN
    if isinstance(value, str):
        return _PARAMETER.sub(rf"\1={HIDDEN}", _PASSWORD.sub(rf"\1:{HIDDEN}", value))
    if isinstance(value, Mapping):
        return {key: censored(str(key), one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [censored("", one) for one in value]
    return value
