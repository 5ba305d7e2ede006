"""Says at the end what became of the pictures, what the files tell about one task, and what to type next.

1. A picture counts as resized only after it was opened here, has the size that was asked for, and is not blank.
2. What is printed as a command can be pasted as it stands.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
from PIL import Image, ImageStat
from rich.text import Text

from pmtq.demo.pictures import result_path
from pmtq.demo.place import Place, shown
from pmtq.demo.show import printable

WANTED = (800, 300)
"""Width and height that the client asks for."""
CONTRAST = 16
"""A picture whose lightest and darkest points differ by fewer levels of 256, in every band, counts as blank."""


class Pair(NamedTuple):
    """A photograph and its resized copy."""

    photograph: Path
    copy: Path
    problem: str
    """Why the copy does not count, as a clause; empty if it does."""


def check_pictures(pictures: Path) -> list[Pair]:
    """Look at the copy of each photograph in the folder."""
    photographs = sorted(pictures.glob("photo-??.jpg"))
    copies = [result_path(path, *WANTED) for path in photographs]
    return [Pair(path, copy, what_is_wrong(copy)) for path, copy in zip(photographs, copies, strict=True)]


def what_is_wrong(copy: Path) -> str:
    """Return why ``copy`` is not the picture that was asked for, as a clause; empty if it is."""
    try:
        with Image.open(copy) as picture:
            picture.load()
            bands = ImageStat.Stat(picture).extrema
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for some broken files
        return f"{copy.name} cannot be opened ({error})"
    if picture.size != WANTED:
        return f"{copy.name} has {picture.width} x {picture.height} pixels, not {WANTED[0]} x {WANTED[1]}"
    if all(high - low < CONTRAST for low, high in bands):
        return f"{copy.name} is blank"
    return ""


def page(place: Place, pairs: list[Pair], task_id: str, seconds: float, *, room: int) -> list[Text]:
    """Return the last page, line by line: the pictures (``room`` of them), the life of one task, what to type next."""
    return [
        *_about_pictures(place, pairs, seconds, room),
        Text(),
        *_about_task(place, task_id),
        Text(),
        *_about_next(place, pairs[0].photograph),
    ]


def _about_pictures(place: Place, pairs: list[Pair], seconds: float, room: int) -> list[Text]:
    count = len(pairs)
    head = f"{count} of {count} pictures resized in {seconds:.1f} s and checked, in {place.pictures}"
    lines = [Text(printable(place.instead))] if place.instead else []
    lines.append(Text(printable(head), style="bold"))
    lines += [Text(f"  {_facts(pair.photograph)}  ->  {_facts(pair.copy)}") for pair in pairs[:room]]
    return lines if count <= room else [*lines, Text(f"  ... and {count - room} more")]


def _facts(path: Path) -> str:
    """Return name, measures and size of a picture."""
    with Image.open(path) as picture:
        return f"{path.name}  {picture.width} x {picture.height}  {_size(path.stat().st_size)}"


def _size(count: int) -> str:
    """Return a number of bytes as people say it."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _about_task(place: Place, task_id: str) -> list[Text]:
    life = life_of(task_id, place)
    where = [f"{shown(folder)}/*.jsonl" for folder in dict.fromkeys(path.parent for path, _ in life)]
    return [
        Text("The life of one task is every line with its id: asked for, started, ended.", style="bold"),
        _command(f"grep {task_id} {' '.join(where)}"),
        *(_as_grep_shows(path, line, task_id) for path, line in life),
    ]


def life_of(task_id: str, place: Place) -> list[tuple[Path, str]]:
    """Return every line that names the task, each with its file, as grep finds them.

    If the demo was slow the queue file may have been cleared in the meantime; then its lines are in ``sealed/``.
    """
    folder = place.folder
    files = [*(path for _, _, path in folder.sealed_queues()), folder.queue(), folder.results]
    found = []
    for path in filter(Path.exists, files):
        with path.open(encoding="utf-8", errors="replace") as lines:
            found += [(path, line.rstrip("\n")) for line in lines if task_id in line]
    return found


def _as_grep_shows(path: Path, line: str, task_id: str) -> Text:
    text = Text.assemble((printable(f"{shown(path)}:"), "magenta"), printable(line))
    text.highlight_words([task_id, '"STARTED"', '"SUCCESS"'], style="bold")
    return text


def _about_next(place: Place, photograph: Path) -> list[Text]:
    folder = place.folder
    queue, results = shlex.quote(shown(folder.queue())), shlex.quote(shown(folder.results))
    by_hand = f"by-hand-{place.pictures.name.removeprefix('pmtq-demo-')}"  # another one in each demo: an id runs once
    record = {"task_id": by_hand, "function": "Image.resize", "params": [str(photograph), 400, 400]}
    line = shlex.quote(msgspec.json.encode(record).decode())
    broker = "" if place.is_default else f" --broker {shlex.quote(place.url)}"
    steps = {
        "open both files": f"less {queue} {results}",
        "post a record": f"echo {line} >> {queue}",
        "have it run": f"{pmtq()} worker -A pmtq.demo.pictures:app{broker} --burst",
        "see the result": f"grep {by_hand} {results}",
        "clean up": f"rm -r {shlex.quote(str(place.pictures))}",
    }
    lines = [_command(command, f"  {why:<17}") for why, command in steps.items()]
    if (readme := folder.path / "README.md").exists():
        lines.append(Text(f"  What every file and field means is told in {printable(shown(readme))}"))
    return [Text("What to type next", style="bold"), *lines]


def _command(command: str, why: str = "  ") -> Text:
    """Return a command to paste, behind the word that says why."""
    return Text.assemble(why, (printable(command), "cyan"))


def pmtq() -> str:
    """Return how to call pmtq from here: by its name if the shell finds this one under it, else by its path."""
    ours = Path(sys.executable).parent / ("pmtq.exe" if os.name == "nt" else "pmtq")
    found = shutil.which("pmtq")
    if found and ours.exists() and Path(found).samefile(ours):
        return "pmtq"
    return shlex.quote(shown(ours)) if ours.exists() else f"{shlex.quote(sys.executable)} -m pmtq"
