"""Shows the demo while it runs: two panes with the ends of the two files, or one line of text per event.

1. A pane shows lines as they stand in the file, cut at the right edge; nothing is rewritten for the eye.
2. Colour only repeats what a word says. One task has one colour in both panes.
3. Text from a file is never obeyed: neither markup nor control characters.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pmtq.demo.place import Place, shown
from pmtq.demo.story import Event, Line, Story
from pmtq.records import StateRecord
from pmtq.states import STARTED, SUCCESS

SMALLEST = (60, 18)
"""Columns and rows below which panes are no use."""
_COLOURS = ("cyan", "magenta", "yellow", "green", "bright_blue", "bright_red")
_WORDS = "A client and a worker: two programs that share nothing but two text files."


class Scene(NamedTuple):
    """What there is to show at one moment."""

    story: Story
    client_pid: int
    worker_pid: int
    seconds: float
    """Since the beginning."""


class View(Protocol):
    """A way to show the demo."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the screen in order."""

    def update(self, scene: Scene, events: Sequence[Event]) -> None:
        """Show a moment; ``events`` are new since the last one."""


def choose_view(console: Console, place: Place, *, plain: bool) -> View:
    """Return panes where a person sits at a screen that can draw them, else lines of text."""
    bare = plain or os.environ.get("NO_COLOR") or os.environ.get("TERM") in {"dumb", "unknown"}
    room = console.width >= SMALLEST[0] and console.height >= SMALLEST[1]
    if bare or not console.is_terminal or not room or not console.encoding.startswith("utf"):
        return Lines(console, place)
    return Panes(console, place)


class Lines:
    """One line of text per event; good in a pipe, a log, and for a screen reader."""

    def __init__(self, console: Console, place: Place) -> None:
        """Write to ``console``."""
        self._console = console
        self._place = place
        self._begun = False

    def __enter__(self) -> Self:
        """Say what will be seen."""
        self._print(f"pmtq demo. {_WORDS}")
        if self._place.instead:
            self._print(self._place.instead)
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def update(self, scene: Scene, events: Sequence[Event]) -> None:
        """Print the events."""
        if not self._begun:
            self._begin(scene)
        for event in events:
            self._tell(scene.seconds, event.file, _in_words(event))

    def _begin(self, scene: Scene) -> None:
        self._begun = True
        folder = self._place.folder
        for who, what in (
            ("queue file", f"{shown(folder.queue())}: what is asked, one record a line"),
            ("results file", f"{shown(folder.results)}: what became of it"),
            ("worker", f"process {scene.worker_pid} starts; it watches the queue file"),
            ("client", f"process {scene.client_pid} starts; it makes {scene.story.planned} photographs, each a record"),
        ):
            self._tell(scene.seconds, who, what)

    def _tell(self, seconds: float, who: str, what: str) -> None:
        self._print(f"{seconds:5.1f} s  {who:<14} {what}")

    def _print(self, text: str) -> None:
        self._console.out(printable(text, self._console.encoding), highlight=False)


def _in_words(event: Event) -> str:
    """Return an event as a line says it."""
    record = event.record
    if not isinstance(record, StateRecord):
        return f"+ {record.task_id}  record   {record.function} {event.picture}"
    more = f"{event.picture}, {record.runtime:.2f} s"
    if record.status == STARTED:
        more = f"{event.picture}, by worker {record.worker}"
    elif record.error:
        more = f"{event.picture}, {record.error.get('type')}: {record.error.get('message')}"
    return f"+ {record.task_id}  {record.status:<8} {more}"


class Panes:
    """Two panes that follow the files, on a screen."""

    def __init__(self, console: Console, place: Place) -> None:
        """Draw on ``console``."""
        self._console = console
        self._instead = place.instead
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        """Begin drawing."""
        if self._instead:
            self._console.print(Text(printable(self._instead)))
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the last picture on the screen, and the cursor below it."""
        self._live.stop()

    def update(self, scene: Scene, events: Sequence[Event]) -> None:  # noqa: ARG002  (the story has them all)
        """Draw the files as they are now."""
        self._live.update(frame(scene, self._console.height), refresh=True)


def frame(scene: Scene, height: int) -> RenderableType:
    """Return the whole picture, ``height - 1`` rows high."""
    story = scene.story
    colours = {task_id: _COLOURS[number % len(_COLOURS)] for number, task_id in enumerate(story.posted)}
    room = height - 1 - 9  # the last row stays free; head, foot and the borders take nine
    asked = min(room * 2 // 5, story.planned)
    waiting = len(story.unfinished()) - len(story.running())
    return Group(
        _head(scene),
        _pane(
            "queue file", story.folder.queue(), story.queue_lines, colours, asked,
            f"{_count(len(story.posted), 'record')}, {waiting} waiting",
            "Empty. Here the client will append a line for each picture: a record of what it wants done.",
        ),
        _pane(
            "results file", story.folder.results, story.results_lines, colours, room - asked,
            f"{len(story.states)} started, {len(story.ended())} ended",
            "Empty. Here the worker will append a line when it takes a task, and another when the task has ended.",
        ),
        _foot(scene),
    )  # fmt: skip


def _head(scene: Scene) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for _ in range(3):
        grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(" [bold]client[/]", f"process {scene.client_pid}", Text(client_does(scene.story)))
    grid.add_row(" [bold]worker[/]", f"process {scene.worker_pid}", Text(worker_does(scene.story)))
    return Group(Text(f" {_WORDS}", style="bold", no_wrap=True, overflow="ellipsis"), Text(), grid)


def client_does(story: Story) -> str:
    """Say what the client is doing, going by its records."""
    posted = len(story.posted)
    if story.is_complete():
        return "has every result it asked for"
    if posted == story.planned:
        return "has posted all its records and waits for the results"
    return f"makes photographs ({posted} of {story.planned} posted so far)"


def worker_does(story: Story) -> str:
    """Say what the worker is doing, going by its lines."""
    if running := story.running():
        return f"resizes {printable(', '.join(running))}"
    if not story.worker_is_there:
        return "starts"
    return "watches the queue file for the next record"


def _pane(
    word: str, path: Path, lines: Iterable[Line], colours: dict[str, str], rows: int, below: str, empty: str
) -> Panel:
    """Return the end of one file, ``rows`` lines of it, with what it is called above and a count below."""
    last = list(lines)[-rows:] if rows > 0 else []
    body: RenderableType = Group(*(_coloured(line, colours) for line in last)) if last else Text(empty, style="dim")
    title = Text.assemble((word, "bold"), "  ", printable(shown(path)))
    return Panel(body, title=title, title_align="left", subtitle=below, subtitle_align="right", height=max(rows, 1) + 2)


def _coloured(line: Line, colours: dict[str, str]) -> Text:
    """Return a line of a file on one row, with its id and its state picked out."""
    text = Text(printable(line.text), no_wrap=True, overflow="ellipsis")
    if line.task_id:
        text.highlight_words([printable(line.task_id)], style=f"bold {colours.get(line.task_id, '')}".strip())
    if line.status:
        text.highlight_words([f'"{printable(line.status)}"'], style="bold green" if line.status == SUCCESS else "bold")
    return text


def _foot(scene: Scene) -> RenderableType:
    story = scene.story
    ended = len(story.ended())
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True)
    bar = ProgressBar(total=max(story.planned, 1), completed=ended)
    grid.add_row(f" {ended} of {story.planned} resized", bar, f"{scene.seconds:4.1f} s ")
    return grid


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def printable(text: str, encoding: str = "utf-8") -> str:
    r"""Return text that only prints: control characters, and what ``encoding`` lacks, become ``\x1b`` and the like."""
    visible = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return visible.encode(encoding, "backslashreplace").decode(encoding)
