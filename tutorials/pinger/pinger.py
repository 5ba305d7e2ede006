"""Pings an API every ten seconds, and sends one text message when it has missed five times in a row.

Nobody is told again until it has answered once. What was seen so far is kept in ``pinger.json``, so that a restart in
the middle of an outage neither forgets it nor tells it twice. A file in ``outbox/`` stands for the telephone.
"""

import json
import os
from pathlib import Path
from urllib.request import urlopen

from pmtq import PMTQ

URL = os.environ.get("PINGER_URL", "http://127.0.0.1:8000/")
EVERY = float(os.environ.get("PINGER_EVERY", "10"))
ENOUGH = 5
"""Misses in a row after which somebody is told."""
PATIENCE = 3.0
"""Seconds that the API has to answer."""
STATE, OUTBOX = Path("pinger.json"), Path("outbox")

app = PMTQ("pinger")


@app.task
def ping(url: str) -> str:
    """Ask once, and write down how often in a row there was no answer."""
    if answers(url):
        remember({"misses": 0})
        return "up"
    state = remembered()
    misses, since = state["misses"] + 1, state.get("since") or app.now().isoformat(timespec="seconds")
    remember({"misses": misses, "since": since})
    if misses == ENOUGH:
        text_message.delay(url, since)
    return f"missed {misses} in a row"


@app.task
def text_message(url: str, since: str) -> str:
    """Tell the person on duty. The file's name is made of the outage, so that telling it twice is telling it once."""
    OUTBOX.mkdir(exist_ok=True)
    message = OUTBOX / f"down-since-{since.replace(':', '.')}.txt"
    message.write_text(f"{url} has not answered {ENOUGH} times in a row. The first miss was at {since}.\n")
    return message.name


def answers(url: str) -> bool:
    """Say whether the API answers in time, and without an error."""
    try:
        with urlopen(url, timeout=PATIENCE):  # noqa: S310  (the address is our own)
            return True
    except OSError:  # no connection, no answer in time, or an answer such as 500
        return False


def remembered() -> dict:
    return json.loads(STATE.read_text()) if STATE.exists() else {"misses": 0}


def remember(state: dict) -> None:
    """Replace the file in one step: whoever reads it, or dies meanwhile, finds the old state or the new one."""
    beside = STATE.with_suffix(".new")
    beside.write_text(json.dumps(state))
    beside.replace(STATE)


@app.on_after_configure.connect
def plan(sender: PMTQ, **_: object) -> None:
    # A ping that waited longer than its turn is worth nothing, and pings that nobody was there for are not made up.
    sender.add_periodic_task(EVERY, ping, (URL,), name="ping", expires=EVERY, missed="skip")
