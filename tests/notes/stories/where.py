"""Says where a task runs."""

import os
import threading

from pmtq import PMTQ

app = PMTQ("where")


@app.task
def am_i():
    """Return the process, its parent, and whether it is the process's main thread."""
    return [os.getpid(), os.getppid(), threading.current_thread() is threading.main_thread()]
