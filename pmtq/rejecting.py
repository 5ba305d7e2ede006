"""What becomes of text in a queue file that is no task record: it is copied out, explained, and done with.

The file ``rejected.jsonl`` gets one line for each: where it stood, what is wrong with it, what to do, and the text itself.
"""

from __future__ import annotations

import logging

from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.reader import QueueReader
from pmtq.records import StateRecord, encode
from pmtq.scan import Fault
from pmtq.states import REJECTED

logger = logging.getLogger("pmtq.worker")


class Rejects:
    """The rejected lines of one folder."""

    def __init__(self, folder: Folder) -> None:
        """Take the folder; its file is made when the first line is rejected."""
        self._journal = Journal(folder.rejected)

    def add(self, reader: QueueReader, offset: int, fault: Fault, at: str) -> StateRecord:
        """Copy what stands at ``offset`` of the reader's file, log it, and return the line that ends it."""
        path = reader.journal.path
        line = reader.line_number(offset) + fault.line
        message = f"{path} line {line} is no task record: {fault.reason} at column {fault.column}."
        entry = {
            "task_id": fault.task_id,
            "file": path.name,
            "line": line,
            "column": fault.column,
            "reason": fault.reason,
            "remedy": fault.remedy,
            "text": fault.text,
            "at": at,
        }
        self._journal.append(encode(entry) + b"\n")
        logger.error(
            "%s The other records are untouched; this one was copied to %s. %s, and post it again.",
            message,
            self._journal.path,
            fault.remedy or "Mend it",
        )
        error = {"type": "pmtq.exceptions.InvalidTaskError", "message": message}
        return StateRecord(fault.task_id, REJECTED, at=at, error=error)
