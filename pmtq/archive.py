"""Looking a task up in whole results files, also in those that were sealed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pmtq.journal import Journal
from pmtq.records import StateRecord, decode_state


def state_in(line: bytes) -> StateRecord | None:
    """Return what a line says; None if it is no state record, which a worker will complain about."""
    try:
        return decode_state(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def lines_about(task_id: str, journal: Journal) -> Iterator[StateRecord]:
    """Yield the lines about one task, reading the file in pieces."""
    if not journal.refresh():
        return
    needle = msgspec.json.encode(task_id)
    offset = 0
    while lines := journal.read(offset):
        if needle in lines:
            for line in lines.splitlines():
                if needle in line and (state := state_in(line)) and state.task_id == task_id:
                    yield state
        offset += len(lines)
