"""The picture service of note 0: a program whose functions others can ask for by name."""

import json
import time
from pathlib import Path

from pmtq import PMTQ

app = PMTQ("imaginosaure")


class Image:
    @app.task(name="Image.resize")
    def resize(file, width, height, x, y):
        stem, _, ending = file.rpartition(".")
        return f"{stem}_{width}x{height}.{ending}"

    @app.task
    def turn(file, degrees=90):
        return [file, degrees]


@app.task
def refresh_cache(name, seconds):
    """Take a while; write down when."""
    began = time.time()
    time.sleep(seconds)
    with Path("refreshed.jsonl").open("a") as file:
        file.write(json.dumps({"name": name, "began": began, "ended": time.time()}) + "\n")
    return name


@app.task
def wait_for(name):
    """Return when there is a file of that name."""
    while not Path(name).exists():
        time.sleep(0.002)
    return name
