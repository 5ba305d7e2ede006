"""Has a waiting task run earlier, or elsewhere.

1. Its record is copied, under the same id, into the file where it is to be; the one it was copied from stays where it is.
2. To a higher priority of its queue that is all: the workers come to the copy first, and pass the other one by.
3. In all other cases a control line says which file counts; workers hold back what stands under that id in any other.

It does not know how a worker picks.
"""

from __future__ import annotations

import msgspec

from pmtq.clock import now
from pmtq.exceptions import PmtqError
from pmtq.folder import Folder, priority_of, with_priority
from pmtq.follower import Follower, Found
from pmtq.journal import Journal
from pmtq.ledger import MOVED
from pmtq.records import StateRecord, timestamp
from pmtq.scan import with_task_id


class NotMovedError(PmtqError):
    """A task could not be moved. It stays where it was."""


def move(folder: Folder, task_id: str, queue: str | None, priority: int | None) -> str:
    """Have the task wait in ``queue`` with ``priority`` (None: as it does now); return the name of the file, ``low.p9``.

    Raises ``NotMovedError`` if it does not wait, or waits there already.
    """
    follower = Follower(folder)
    try:
        follower.look()
        places = follower.find([task_id]).get(task_id, [])
        with follower.hold() as ledger:
            _require_waiting(task_id, places, follower)
            control = ledger.controls.get(f"{MOVED} {task_id}")
            here = _counting(places, str(control.result) if control else "")
            target = _target(here, queue, priority)
            if all(place.name != target for place in places):
                _copy(folder, here, target)
            if control or not _is_above(target, here.name):
                follower.write([StateRecord(control=f"{MOVED} {task_id}", result=target, at=timestamp(now()))])
    finally:
        follower.close()
    return target


def _require_waiting(task_id: str, places: list[Found], follower: Follower) -> None:
    if task_id in follower.ledger.final:
        why, remedy = "has ended", f"See how: pmtq result {task_id}"
    elif worker := follower.in_good_hands().get(task_id):
        why, remedy = f"is held by {worker}, which runs it", f"To call it off: pmtq revoke {task_id}"
    elif not places:
        why, remedy = f"is not known in {follower.folder.path}", "See what waits: pmtq queue"
    else:
        return
    raise NotMovedError(f"task {task_id} {why}. Nothing was moved. {remedy}")


def _counting(places: list[Found], name: str) -> Found:
    """Return the place from which the task would be run: the one that is named, else the one of the highest priority."""
    named = [place for place in places if place.name == name]
    return max(named or places, key=lambda place: priority_of(place.name)[1])


def _target(here: Found, queue: str | None, priority: int | None) -> str:
    old_queue, old_priority = priority_of(here.name)
    target = with_priority(queue or old_queue, old_priority if priority is None else priority)
    if target == here.name:
        raise NotMovedError(
            f"task {here.record.task_id} waits in {target} already. Nothing was moved. "
            "Name another queue or priority: pmtq move ID --queue low --priority 3"
        )
    return target


def _is_above(target: str, name: str) -> bool:
    """Say whether every worker that serves the file ``name`` reads the file ``target``, and reads it first."""
    (queue, priority), (old_queue, old_priority) = priority_of(target), priority_of(name)
    return queue == old_queue and priority > old_priority


def _copy(folder: Folder, here: Found, target: str) -> None:
    """Append the record to the file ``target``, with all it says; the caller holds the lock of the results."""
    task_id = here.record.task_id
    fields = msgspec.json.decode(with_task_id(here.source, task_id))
    fields = {"task_id": task_id} | fields | {"task_id": task_id, "priority": priority_of(target)[1], "moved": True}
    # On the disk before the line that has it count instead of the other one: a power cut may keep that and lose this.
    Journal(folder.queue(target)).append(msgspec.json.encode(fields) + b"\n", durable=True)
