"""``pmtq worker``: the options of a worker, its banner, and its start.

It does not know how a worker works: that is ``pmtq.worker``.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from pmtq.app import PMTQ
from pmtq.cli.logs import LEVELS, set_up
from pmtq.cli.options import app_name, required_app, takes_app
from pmtq.cli.text import colours, shortened, visible
from pmtq.folder import DEFAULT_QUEUE

_MOST_TASKS = 12
"""So many task names the banner shows."""


@click.command()
@takes_app
@click.option("-l", "--loglevel", type=click.Choice(LEVELS, case_sensitive=False), default="info", show_default=True)
@click.option("-c", "--concurrency", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that run tasks.")
@click.option("-P", "--pool", type=click.Choice(["solo", "prefork"]), help="solo runs tasks in this process; prefork in children. [default: solo, with -c 2 or more prefork]")
@click.option("-Q", "--queues", metavar="A,B", default=DEFAULT_QUEUE, show_default=True, help="The queues to serve.")
@click.option("-n", "--hostname", metavar="NAME", default="", help="The worker's name: worker1@%h; %h host, %n its first part, %d its domain, %% percent.")
@click.option("--step", is_flag=True, help="Stop at every stage of a task until Enter is pressed.")
@click.option("--slow", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop so long at every stage of a task.")
@click.option("--burst", is_flag=True, help="Run what is there, then end.")
def worker(*, loglevel: str, concurrency: int, pool: str | None, queues: str, hostname: str, step: bool, slow: float | None, burst: bool) -> int:
    """Run the tasks of your app as they arrive."""
    concurrency = 1 if step else concurrency
    _require_sense(pool, concurrency, step=step, slow=slow)
    app = required_app()
    from pmtq.cli.finding import Tasks
    from pmtq.worker import supervisor

    set_up(loglevel, "-")
    plan = supervisor.Plan(
        folder=app.folder,
        queues=_split(queues),
        load=Tasks(app_name(), app),
        pool=pool or (supervisor.SOLO if concurrency == 1 else supervisor.PREFORK),
        concurrency=concurrency,
        burst=burst,
        make_pace=partial(_pace, None if step else slow, paced=step or slow is not None),
        prepare=partial(set_up, loglevel.lower()),
    )
    for queue in plan.queues:
        app.folder.queue(queue)  # a name that cannot be one is refused before anything begins
    app.folder.make()
    presence = supervisor.take_name(plan, hostname)
    plan.prepare(presence.name)
    _banner(app, plan, presence.name)
    supervisor.work(plan, presence)
    return 0
