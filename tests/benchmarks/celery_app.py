"""Celery, doing the same empty task; where it works is told by the environment, see ``peers``."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BACKEND"])
app.conf.worker_disable_rate_limits = True
if folder := os.environ.get("BENCH_FOLDER"):
    app.conf.broker_transport_options = {
        "data_folder_in": f"{folder}/messages",
        "data_folder_out": f"{folder}/messages",
        "control_folder": f"{folder}/control",
        "polling_interval": 0.005,  # the default of a second would make every round trip take as long
    }


@app.task(name="nothing")
def nothing() -> None:
    """Do nothing."""
