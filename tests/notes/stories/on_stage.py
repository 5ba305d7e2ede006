"""Stage directions for ``app.py``: its text stays as printed, and what it waits for happens when a test says so.

1. ``random.randint``, the first thing it calls, returns when there is a file ``begin``.
2. ``time.sleep`` returns when there is a file ``go_on``, and raises when there is a file ``break``.
"""

import random
import time
from pathlib import Path
from types import SimpleNamespace

import app

celery = app.celery


def wait_for(*names):
    while not any(Path(name).exists() for name in names):
        time.sleep(0.002)


def randint(low, high):
    wait_for("begin")
    return random.randint(low, high)


def sleep(_seconds):
    wait_for("go_on", "break")
    if Path("break").exists():
        raise RuntimeError("the solar array is on fire")


app.random = SimpleNamespace(randint=randint, random=random.random, choice=random.choice)
app.time = SimpleNamespace(sleep=sleep)
