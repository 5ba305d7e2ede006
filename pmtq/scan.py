"""Reading what people type: finds the task records in the text of a queue file, and says what is wrong with the rest.

1. Nothing that stands in a queue file stops the reader: what is no record becomes a ``Fault`` with a place and a reason.
2. A record may also be written over several lines, between ``--{`` and ``}--``.
3. A record without a ``task_id`` gets one derived from its bytes, so that reading the file again mints no new task.

It reads bytes and returns structs; it does not know files, states or time.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from itertools import accumulate, repeat
from typing import Any

import msgspec

from pmtq.ids import is_tree
from pmtq.jsonable import MAX_NESTING
from pmtq.plain import decode_plain
from pmtq.records import MAX_RECORD_BYTES, NOT_JSON, TaskRecord, decode_task, encode, require_times

_TYPOGRAPHIC_QUOTES = frozenset("\u201c\u201d\u201e\u2018\u2019")
_USE_A_FILE = "Put the data into a file and send its path"
BLOCK_START, BLOCK_END = b"--{", b"}--"
DERIVED_ID = "by-hand-"
"""So begin the ids of records that came without one."""
_BOM = b"\xef\xbb\xbf"


class Fault(msgspec.Struct):
    """Some bytes of a queue file that are no task record."""

    task_id: str
    """Derived from the bytes like a record's, so that a fault is reported once."""
    reason: str
    line: int
    """Lines below the first line of these bytes: 0 for a record on one line."""
    column: int
    """Counted from 1, in characters."""
    text: str
    remedy: str


class Item(msgspec.Struct, gc=False):
    """Some bytes of a queue file, and what they turned out to be."""

    start: int
    """Offset of the first byte in the file."""
    end: int
    record: TaskRecord | Fault
    is_plain: bool = False
    """It asks for nothing but to be run: no time, no key, and it was written by a client of this version."""


class _Slip(Exception):
    """What is wrong with a text, and where in it."""

    def __init__(self, reason: str, position: int = 0, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.position, self.remedy = reason, position, remedy


class Scanner:
    """Turns successive pieces of one queue file into records and faults."""

    def __init__(self, generation: int = 0, mark: bytes = b"") -> None:
        """Start at the top of the file.

        ``generation`` counts how often the queue was cleared: the same line, typed again into a cleared file, is
        a new task; so is one in the file of another queue, which has another ``mark`` (up to 16 bytes).
        """
        self._generation, self._mark = generation, mark
        self._equal_lines: Counter[str] = Counter()
        self.consumed = 0
        """How many bytes the last ``scan`` took in."""

    def scan(self, lines: bytes, offset: int) -> list[Item]:
        """Return what stands in ``lines``, whole lines that begin at ``offset`` of the file.

        An unfinished ``--{`` block at the end is left out: the next call must begin ``consumed`` bytes further on.
        """
        pieces = lines.split(b"\n")
        del pieces[-1]
        records = decode_plain(pieces)
        if records is None or max(map(len, pieces), default=0) > MAX_RECORD_BYTES:
            return self._scan_one_by_one(lines, pieces, offset)
        self.consumed = len(lines)
        ends = list(accumulate([len(piece) + 1 for piece in pieces], initial=offset))
        return list(map(Item, ends, ends[1:], records, repeat(True)))

    def _scan_one_by_one(self, lines: bytes, pieces: list[bytes], offset: int) -> list[Item]:
        """Do the same with a closer look, where a person or another program may have had a hand in it."""
        items = []
        start = end = 0
        for line in pieces:
            if start < end:  # inside a block that was read as a whole
                start += len(line) + 1
                continue
            end = start + len(line) + 1
            if (record := _trusted(line)) is not None:
                items.append(Item(offset + start, offset + end, record))
            elif text := line.removeprefix(_BOM).strip():
                if text.startswith(BLOCK_START):
                    end = self._end_of_block(lines, start, end)
                    if end < 0:
                        break
                items.append(Item(offset + start, offset + end, self.read_by_hand(lines[start:end])))
            start += len(line) + 1
        self.consumed = start if end < 0 else len(lines)
        return items

    def read_by_hand(self, source: bytes) -> TaskRecord | Fault:
        """Read a record that a person typed, strictly: every slip is named with its place."""
        digest = self._digest(source)
        self._equal_lines[digest] += 1
        return _by_hand(source, f"{digest}-{self._equal_lines[digest]}")

    def read_again(self, source: bytes, task_id: str) -> TaskRecord | None:
        """Return the record that these bytes were when they were read first; None if they are another one now."""
        record = _trusted(source) or _by_hand(source, task_id if task_id.startswith(self._digest(source)) else "")
        return record if isinstance(record, TaskRecord) and record.task_id == task_id else None

    def _digest(self, source: bytes) -> str:
        # What an editor changes without being asked, line ends and a mark at the top, makes no other record of it.
        visible = b"\n".join(line.rstrip() for line in source.removeprefix(_BOM).splitlines())
        digest = hashlib.blake2b(visible, digest_size=8, salt=str(self._generation).encode(), person=self._mark)
        return f"{DERIVED_ID}{digest.hexdigest()}"

    @staticmethod
    def _end_of_block(lines: bytes, start: int, position: int) -> int:
        """Return where a ``--{`` block ends, or -1 if its end is not there yet.

        Without its ``}--`` it ends where the next record begins, so that one slip does not swallow the neighbours.
        """
        if lines[start:position].strip().endswith(BLOCK_END):
            return position
        while position < len(lines):
            end = lines.index(b"\n", position) + 1
            line = lines[position:end].strip()
            if line.endswith(BLOCK_END):
                return end
            if line.startswith(BLOCK_START) or _is_record(line) or end - start > MAX_RECORD_BYTES:
                return position
            position = end
        return -1


def oversize(size: int, digest: str) -> Fault:
    """Return the fault for a line too long to be loaded, given its length and a digest of its bytes."""
    reason = f"the record has {size:,} bytes; the limit is {MAX_RECORD_BYTES:,}"
    return Fault(f"{DERIVED_ID}{digest}", reason, 0, 1, "", _USE_A_FILE)


def with_task_id(source: bytes, task_id: str) -> bytes:
    """Return a record's bytes as one line that holds its id, with every other key kept."""
    try:
        if decode_task(source).task_id:
            return source if source.endswith(b"\n") else source + b"\n"
    except NOT_JSON:
        pass
    try:
        _strict(source.decode())
    except (_Slip, UnicodeDecodeError):
        return source  # a fault stays as it is, to be rejected where it lands
    fields = json.loads(_body(source.decode())[0])
    named = {"task_id": task_id} | fields | {"task_id": task_id}  # it comes first, and counts more than an empty one
    return msgspec.json.encode(named) + b"\n"


def own_id(source: bytes) -> str:
    """Return the ``task_id`` that stands in a record's bytes; empty if there is none, or if they are no record."""
    try:
        return decode_task(source).task_id
    except NOT_JSON:
        pass
    try:
        return _strict(source.decode()).task_id
    except (_Slip, UnicodeDecodeError):
        return ""


def is_complete(source: bytes) -> bool:
    """Say whether these bytes are one whole record that a person could have typed."""
    try:
        _strict(source.decode())
    except (_Slip, UnicodeDecodeError):
        return False
    return True


def _trusted(line: bytes) -> TaskRecord | None:
    """Return the record in a line that a client of ours wrote, None if it is not clearly that."""
    try:
        record = decode_task(line)
        if len(line) > MAX_RECORD_BYTES:
            return None
        require_times(record)
        if record.after is not None and not is_tree(record.after):
            return None
    except (*NOT_JSON, ValueError):
        return None
    return record if record.sent and record.task_id else None


def _by_hand(source: bytes, derived_id: str) -> TaskRecord | Fault:
    """Return the record that a person typed, under its own id or the derived one."""
    text = source.decode("utf-8", "backslashreplace")
    try:
        record = _strict(text)
    except _Slip as slip:
        before = text[: slip.position]
        column = slip.position - (before.rfind("\n") + 1) + 1
        return Fault(derived_id, slip.reason, before.count("\n"), column, text.rstrip("\r\n"), slip.remedy)
    record.task_id = record.task_id or derived_id
    return record


def _is_record(line: bytes) -> bool:
    try:
        decode_task(line)
    except NOT_JSON:
        return False
    return True


def _strict(text: str) -> TaskRecord:
    """Decode one hand-written record or raise ``_Slip``."""
    body, lead = _body(text)
    if len(body) > MAX_RECORD_BYTES:
        raise _Slip(f"the record has {len(body):,} characters; the limit is {MAX_RECORD_BYTES:,}", lead, _USE_A_FILE)
    try:
        value = json.loads(body, object_pairs_hook=_no_duplicates, parse_constant=_no_constants, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise _Slip(*_explained(error, body, lead)) from error
    except RecursionError as error:
        raise _Slip(f"it is nested deeper than {MAX_NESTING} levels", lead, _USE_A_FILE) from error
    except ValueError as error:
        raise _Slip(f"it holds a number that is too long: {error}", lead, "Send it as text") from error
    if _depth(value) > MAX_NESTING:
        raise _Slip(f"it is nested deeper than {MAX_NESTING} levels", lead, _USE_A_FILE)
    try:
        record = msgspec.convert(value, TaskRecord)
        encode(record)  # what could not be written into the results must not get into a worker
        require_times(record)
    except msgspec.ValidationError as error:
        remedy = 'A record needs at least {"function": "…"}; params is an object or an array'
        raise _Slip(str(error), lead, remedy) from error
    except UnicodeEncodeError as error:
        raise _Slip(f"it holds text that is not Unicode: {error}", lead, "Take the \\ud… escape away") from error
    except ValueError as error:
        raise _Slip(str(error), lead, "Write times as 2026-11-20T15:04:05Z") from error
    if record.after is not None and not is_tree(record.after):
        remedy = "Name a task_id, or an array of them whose values it gets as one array"
        raise _Slip(f"after is {json.dumps(record.after)}, which names no tasks", lead, remedy)
    return record


def _body(text: str) -> tuple[str, int]:
    """Return the JSON in a hand-written record, and how many characters stand before it."""
    lead = len(text) - len(text.lstrip("\ufeff \t\r\n"))
    body = text.strip("\ufeff \t\r\n")
    if body.startswith("--{"):
        if not body.endswith("}--"):
            raise _Slip("a record that begins with --{ never ends", len(text.rstrip()), "Close it with a line }--")
        lead, body = lead + 2, body[2:-2]  # the marks are the object's own braces with two dashes outside
    return body, lead


def _explained(error: json.JSONDecodeError, body: str, lead: int) -> tuple[str, int, str]:
    """Return reason, position and remedy of what the JSON reader stumbled over."""
    found = body[error.pos : error.pos + 1]
    before = body[: error.pos].rstrip()
    place = lead + error.pos
    if found in _TYPOGRAPHIC_QUOTES:
        return f"found a typographic quote ({found})", place, 'Use the plain quote "'
    if found == "'":
        return "found a single quote (')", place, 'JSON text stands between double quotes "'
    # Python 3.13 and later point at the comma, earlier ones at what stands behind it.
    if error.msg.startswith("Illegal trailing comma") or (found in {"}", "]"} and before.endswith(",")):
        comma = error.pos if found == "," else len(before) - 1
        return "found a comma with nothing behind it", lead + comma, "Take the last comma away"
    if error.msg == "Extra data":
        return "a second value begins on the same line", place, "Put each record on a line of its own"
    if body == "{":
        return "a record over several lines needs its marks", place, "Begin it with --{ and end it with }--"
    reason = f"{error.msg[0].lower()}{error.msg[1:]}, found {found!r}" if found else "the record ends too early"
    return reason, place, "Close every brace, bracket and quote, and compare it with a line that ran"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _Slip(f"the key {twice!r} stands twice in one object", 0, "Keep one of the two")
    return value


def _no_constants(name: str) -> None:
    raise _Slip(f"{name} is not a JSON number", 0, "Use null, or text")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise _Slip(f"the number {text} is too large", 0, "Send it as text")
    return value


def _depth(value: object) -> int:
    """Return how many arrays and objects stand inside each other, without recursion."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
        ]
    return deepest - 1
