"""Loggers for tasks: each line they write can say which task it belongs to.

``get_task_logger(__name__)`` is an ordinary logger; its records have ``task_id`` and ``task_name`` in a format.
"""

from __future__ import annotations

import logging

from pmtq.request import running


class _NamesTask(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        claim = running.get()
        record.task_id = claim.record.task_id if claim else "-"
        record.task_name = claim.record.function if claim else "-"
        return True


def get_task_logger(name: str) -> logging.Logger:
    """Return the logger called ``name``, whose records say which task they belong to."""
    logger = logging.getLogger(name)
    if logger.parent is logging.getLogger():  # whoever adds a handler for all tasks adds it to this one
        logger.parent = logging.getLogger("pmtq.task")
    if not any(isinstance(one, _NamesTask) for one in logger.filters):
        logger.addFilter(_NamesTask())
    return logger
