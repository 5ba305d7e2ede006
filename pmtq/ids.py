"""The ids of tasks: how a new one is made, and how those stand in a record that waits for them.

It does not know which task waits for which.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator

from pmtq.fork import put_in_order_after_fork


class _Ids(random.Random):
    """Random numbers of our own: a program that seeds Python's to repeat itself must not repeat task ids."""

    def after_fork(self) -> None:
        """Go on with other numbers than the parent does."""
        self.seed(os.urandom(32))


_ids = _Ids(os.urandom(32))
put_in_order_after_fork(_ids)


def new_task_id() -> str:
    """Return 22 random hexadecimal digits: 88 bits, so that two never meet by chance."""
    return _ids.getrandbits(88).to_bytes(11).hex()


def derived_task_id(text: str) -> str:
    """Return the id that always comes of this text: 22 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=11).hexdigest()


def ids_in(tree: object) -> Iterator[str]:
    """Yield the ids in a tree such as ``after`` holds: one id, or a list of trees; anything else is passed over."""
    left = [tree]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            left += reversed(one)


def is_tree(value: object) -> bool:
    """Say whether a value is a tree of ids, as ``after`` must be."""
    return all(map(is_tree, value)) if isinstance(value, list) else isinstance(value, str)
