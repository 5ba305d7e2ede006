"""pmtq, the Poor Man's Task Queue: two text files, a lock, and a worker.

Read on in this order, which is the way of one task:

    app       your function becomes a task; ``delay`` makes a record of the call
    records   the record as a line of JSON
    broker    the line goes into the queue file
    journal   … under a lock, whole or not at all
    watch     the worker hears of it
    claim     a worker takes the task by writing a STARTED line into the results file
    ledger    the rules for who may take what
    worker    ``consumer`` goes round and round, ``execute`` runs the function
    backend   the caller sees the final line
    result    … and has the value

    >>> from pmtq import PMTQ
    >>> app = PMTQ("imaginosaure")
    >>> @app.task
    ... def add(x, y):
    ...     return x + y
    >>> add.delay(2, 3)        # in one process; get() has 5 as soon as `pmtq worker` runs in another
"""

from pmtq.app import PMTQ, Task
from pmtq.result import AsyncResult

__all__ = ["PMTQ", "AsyncResult", "Task"]
__version__ = "0.1.0"
