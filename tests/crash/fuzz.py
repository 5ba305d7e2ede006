"""Whatever bytes stand in a queue file: nothing raises, every intact line is found, and each byte is answered for once.

What is tried is made of three parts: lines as clients write them, whole ones as people do, and anything at all in between:
random bytes, lines with a few bytes changed, and what JSON has in the way of traps.

It states what must hold; how many examples are tried, and which, is up to whoever runs it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from pmtq import PMTQ
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.records import MAX_RECORD_BYTES, TaskRecord, decode_state, encode
from pmtq.scan import Fault, Item, Scanner, with_task_id
from pmtq.states import REJECTED, SUCCESS
from tests.support import Hand, post_by_hand, read_lines

CLIENT = b'{"task_id":"%s","function":"f","params":[1],"sent":"2026-11-20T15:04:05.123Z"}\n'
TYPED = [
    b'{"task_id":"%s","function":"f","params":[1]}\n',
    b'\t {"task_id" : "%s", "function":"f"}\r\n',
    b'\xef\xbb\xbf{"function":"f","task_id":"%s"}\n',
    b'--{\n"task_id":"%s",\n\n"function":"f"\n}--\n',
    b'--{"task_id":"%s","function":"f"}--\r\n',
]
TRAPS = [
    b"--{\n", b"}--\n", b"--{", b"--{\n--{\n", b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b"\r\n", b"\0", b"\x1a", b"\xff", b"\xef\xbb\xbf",
    b"\xed\xa0\x80", b"\xc3", b'"\\ud800"', b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"[" * 300, b'{"a":' * 300, b'{"a":1,"a":2}',
    b'{"function":"f"}{"function":"f"}\n', b'{"function":5}\n', b'{"function":"f","eta":"soon"}\n', b'{"function":"f","after":5}\n',
    b'{"function":"f","priority":1e400}\n', b'{"function":"f","v":99}\n', b'{"function":"f","moved":true}\n', b"'", "\u201c\u201d\u2018\u2019".encode(),
    b"\xe2\x80\xa8", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xc2\x85", b'{"function":"f","params":"x"}\n', b'{"task_id":"","function":""}\n',
]  # fmt: skip
"""What readers of JSON, of UTF-8 and of lines have stumbled over."""


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a record with a few of its bytes changed, taken away or put in."""
    line = bytearray(draw(st.sampled_from([CLIENT, *TYPED])) % b"damaged")
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(line) - 1)) if line else 0
        line[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from(TRAPS))
    return bytes(line)


JUNK = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(TRAPS),
    damaged(),
    st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace")),
)
PIECES = st.lists(st.one_of(JUNK, st.sampled_from([CLIENT, *TYPED])), max_size=12)


def written(pieces: list[bytes]) -> tuple[bytes, list[str]]:
    """Return the bytes of a file, and the ids of the lines in it that a client has written.

    A client ends a line that somebody has left unfinished, so its own begins behind a newline.
    """
    text, names = b"", []
    for number, piece in enumerate(pieces):
        if b"%s" not in piece or piece not in {CLIENT, *TYPED}:
            text += piece
            continue
        name = f"intact-{number}"
        if text and not text.endswith(b"\n"):
            text += b"\n"
        text += piece % name.encode()
        if piece == CLIENT:
            names.append(name)
    return text + (b"" if text.endswith(b"\n") else b"\n"), names


def same(record: TaskRecord | Fault | None) -> bytes:
    """Return what two records have in common that say the same: most are of a class with fewer fields."""
    return encode(record)


def scanned(scanner: Scanner, text: bytes, offset: int = 0) -> list[Item]:
    """Scan as a reader does: what a call has not consumed is offered again together with what follows."""
    items = scanner.scan(text, offset)
    assert 0 <= scanner.consumed <= len(text)
    return items


def every_intact_line_is_found(pieces: list[bytes]) -> None:
    """Nothing raises, items follow each other without overlap, and each client's line is one of them, at its place."""
    text, names = written(pieces)
    scanner = Scanner()

    items = scanned(scanner, text)

    end = 0
    for item in items:
        assert end <= item.start < item.end <= scanner.consumed, (items, scanner.consumed)
        assert not text[end : item.start].replace(b"\xef\xbb\xbf", b"").strip(), (
            f"{text[end : item.start]!r} was passed over"
        )
        end = item.end
        check_item(scanner, item, text[item.start : item.end])
    found = {item.record.task_id: text[item.start : item.end] for item in items if not isinstance(item.record, Fault)}
    assert {name: found.get(name) for name in names} == {name: CLIENT % name.encode() for name in names}
    left = text[scanner.consumed :]
    assert not left or left.lstrip(b"\xef\xbb\xbf \t\r\x0b\x0c\n\x1c\x1d\x1e\x1f").startswith(b"--{"), (
        f"{left!r} was not consumed"
    )


def check_item(scanner: Scanner, item: Item, source: bytes) -> None:
    """Check that an item can be read again, explained, and carried over."""
    record = item.record
    assert record.task_id
    if isinstance(record, Fault):
        assert record.reason, record
        assert record.column >= 1, record
        assert record.line >= 0, record
        assert scanner.read_again(source, record.task_id) is None
        return
    assert same(scanner.read_again(source, record.task_id)) == same(record)
    carried = with_task_id(source, record.task_id)
    assert carried.endswith(b"\n")
    if len(carried) <= MAX_RECORD_BYTES:
        (again,) = Scanner().scan(carried, 0)
        assert same(again.record) == same(record), f"{source!r} was carried over as {carried!r}"


def pieces_are_read_as_the_whole(pieces: list[bytes], cuts: list[int]) -> None:
    """Where a file is cut into pieces for reading makes no difference."""
    text, _ = written(pieces)
    ends = sorted({text.rfind(b"\n", 0, cut) + 1 for cut in cuts} | {len(text)})
    whole = Scanner().scan(text, 0)
    scanner, offset, found = Scanner(), 0, []

    for end in ends:
        found += scanned(scanner, text[offset:end], offset)
        offset += scanner.consumed

    assert [(one.start, one.end, same(one.record)) for one in found] == [
        (one.start, one.end, same(one.record)) for one in whole
    ]


def a_worker_outlives_it(pieces: list[bytes], results: list[bytes], notes: bytes) -> None:
    """A worker runs each intact line once and reports the rest, with junk in the queue, in the results, and in a dead one's notes."""
    text, names = written(pieces)
    with tempfile.TemporaryDirectory(prefix="pmtq-fuzz-") as path:
        folder = Folder(Path(path) / "queue_dir")
        folder.make()
        post_by_hand(folder, text)
        folder.results.touch(0o600)
        folder.results.write_bytes(b"".join(harmless(one) for one in results))
        victim = Hand(folder, "victim", {"f": True}, [DEFAULT_QUEUE])
        victim.presence.notes.add(harmless(notes))
        victim.die()
        worker = Hand(folder, "w1", {"f": True}, [DEFAULT_QUEUE])
        ran = Counter(worker.run_all())
        another = Hand(folder, "w2", {"f": True}, [DEFAULT_QUEUE])
        again = another.run_all()
        ends = Counter(
            (state.task_id, state.status)
            for state in map(decode_state, lines_of_ours(folder))
            if state.status in {SUCCESS, REJECTED}
        )
        reported = [line["task_id"] for line in read_lines(folder.rejected)]
        for one in (worker, another):
            one.presence.leave()

    assert [ran[name] for name in names] == [1] * len(names)
    assert (max(ran.values(), default=1), again) == (1, [])
    assert ends == Counter([*((name, SUCCESS) for name in ran), *((name, REJECTED) for name in reported)])


def harmless(junk: bytes) -> bytes:
    """Return junk that cannot by chance be a line about a task, as whole lines."""
    return junk.replace(b"task_id", b"task-id") + b"\n"


def lines_of_ours(folder: Folder) -> list[bytes]:
    """Return the lines of the results that are about a task."""
    return [line for line in folder.results.read_bytes().splitlines() if line.startswith(b'{"task_id":')]


def what_a_client_may_send_is_read_back(value: object) -> None:
    """A call either is refused by name, or its line is read back as it was sent."""
    from pmtq.exceptions import NotSerializable

    with tempfile.TemporaryDirectory(prefix="pmtq-fuzz-") as path:
        app = PMTQ("t", broker=f"file://{path}/queue_dir", set_as_current=False)
        try:
            app.send_task("f", [value], task_id="sent")
        except NotSerializable:
            assert not app.folder.queue().exists() or app.folder.queue().read_bytes() == b""
            return
        finally:
            app.close()
        (item,) = Scanner().scan(app.folder.queue().read_bytes(), 0)
    assert not isinstance(item.record, Fault)
    assert item.record.params == [value]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
CHECKS: dict[Callable[..., None], dict[str, st.SearchStrategy[Any]]] = {
    every_intact_line_is_found: {"pieces": PIECES},
    pieces_are_read_as_the_whole: {"pieces": PIECES, "cuts": st.lists(st.integers(0, 2000), max_size=6)},
    a_worker_outlives_it: {"pieces": PIECES, "results": st.lists(JUNK, max_size=3), "notes": JUNK},
    what_a_client_may_send_is_read_back: {"value": VALUES},
}
"""What must hold, and what it is tried with."""


def attempt(check: Callable[..., None], how: settings, number: int | None = None) -> None:
    """Try to break one of them; ``number`` is a seed, where the settings leave room for chance."""
    test = how(given(**CHECKS[check])(check))
    (test if number is None else seed(number)(test))()
