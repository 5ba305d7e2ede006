"""Eight processes that append to one queue file at the same time; started as ``python many_writers.py 8 1000``."""

import os
import sys

from pmtq import PMTQ

processes, records = map(int, sys.argv[1:])
app = PMTQ("many_writers")
for number in range(processes):
    if not os.fork():
        for count in range(records):
            app.send_task("note.down", [number, count, "x" * (count % 97)])
        os._exit(0)
for _ in range(processes):
    assert os.wait()[1] == 0
