"""Work that keeps a processor busy, so that only another process can do some at the same time."""

import os
import time

from pmtq import PMTQ

app = PMTQ("primes")


@app.task
def count(seconds):
    """Count primes for so many seconds of a processor's time; return how many, where, from when and until when."""
    began, deadline = time.time(), time.process_time() + seconds
    found, number = 0, 1
    while time.process_time() < deadline:
        number += 1
        found += all(number % divisor for divisor in range(2, int(number**0.5) + 1))
    return {"found": found, "pid": os.getpid(), "began": began, "ended": time.time()}
