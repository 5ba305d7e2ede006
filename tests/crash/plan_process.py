"""A worker as a process of its own, by a plan that a test has put together: plan_process.py NAME OPTIONS-AS-JSON.

The app is ``tasks:app`` of the directory it is started in.
"""

from __future__ import annotations

import json
import sys
from functools import partial

from pmtq.cli.finding import Tasks, find_app
from pmtq.cli.logs import set_up
from pmtq.worker import supervisor


def main(name: str, options: str) -> None:
    """Work until the end."""
    app = find_app("tasks")
    plan = supervisor.Plan(
        app.folder, ["celery"], Tasks("tasks", app), prepare=partial(set_up, "info", ""), **json.loads(options)
    )
    with supervisor.holding_signals():
        presence = supervisor.take_name(plan, name)
        plan.prepare(presence.name)
        supervisor.work(plan, presence)


if __name__ == "__main__":
    main(*sys.argv[1:])
