"""Writes down, in ``celery.json``, what Celery makes of the shapes: eagerly, and with a worker on its in-memory transport."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import celery
from celery import Celery, __version__
from celery.contrib.testing.worker import start_worker

from tests.oracle.shapes import CALLBACKS, SHAPES, got, names_of, shown

TABLE = Path(__file__).with_name("celery.json")
app = Celery("tasks", broker="memory://", backend="cache+memory://")
app.conf.worker_hijack_root_logger = False
heard: list[object] = []
HANGS = {"chord([i(1) | group(i(2), i(3)), i(4)], i())"}
"""Shapes for which a Celery worker never comes to an end."""


names = names_of(celery, app, heard)


def ask(*, eager: bool) -> dict[str, object]:
    """Return what comes of every shape: the value and those of the parents; for those with callbacks what they heard, too."""
    app.conf.task_always_eager = eager
    table: dict[str, object] = {}
    for text in [*SHAPES, *CALLBACKS]:
        if text in HANGS and not eager:
            continue
        heard.clear()
        try:
            table[text] = got(eval(text, names).apply_async(), 3.0)
        except Exception as error:
            table[text] = shown(error)
        if text in CALLBACKS:
            time.sleep(0 if eager else 0.5)
            table[text] = [table[text], sorted(heard, key=repr)]
        print(text, table[text], file=sys.stderr, flush=True)
    return table


def main() -> None:
    """Ask both ways, and write it down."""
    logging.disable(logging.CRITICAL)
    found = {"celery": __version__, "eager": ask(eager=True)}
    try:
        with start_worker(app, perform_ping_check=False, pool="solo", loglevel="CRITICAL", shutdown_timeout=5):
            found["worker"] = ask(eager=False)
    finally:
        TABLE.write_text(json.dumps(found, indent=1) + "\n")


main()
