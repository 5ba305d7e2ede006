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

from pmtq.demo.place import shown
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
    note: str = ""
    """Why another queue folder is used than one would expect; usually empty."""


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


def choose_view(console: Console, *, plain: bool) -> View:
    """Return panes where a person sits at a screen that can draw them, else lines of text."""
    bare = plain or os.environ.get("NO_COLOR") or os.environ.get("TERM") in {"dumb", "unknown"}
    room = console.width >= SMALLEST[0] and console.height >= SMALLEST[1]
    if bare or not console.is_terminal or not room or not console.encoding.startswith("utf"):
        return Lines(console)
    return Panes(console)


class Lines:
    """One line of text per event; good in a pipe, a log, and for a screen reader."""

    def __init__(self, console: Console) -> None:
        """Write to ``console``."""
        self._console = console
        self._begun = False

    def __enter__(self) -> Self:
        """Say what will be seen."""
        self._print(f"pmtq demo. {_WORDS}")
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
        folder = scene.story.folder
        if scene.note:
            self._print(scene.note)
        for who, what in (
            ("queue file", f"{shown(folder.queue())}: what is asked, one record a line"),
            ("results file", f"{shown(folder.results)}: what becomes of it"),
            ("worker", f"process {scene.worker_pid} starts; it watches the queue file"),
            (
                "client",
                f"process {scene.client_pid} starts; it makes {scene.story.planned} photographs and posts a record for each",
            ),
        ):
            self._tell(scene.seconds, who, what)

    def _tell(self, seconds: float, who: str, what: str) -> None:
        self._print(f"{seconds:5.1f} s  {who:<14} {what}")

    def _print(self, text: str) -> None:
        self._console.out(printable(text), highlight=False)


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

    def __init__(self, console: Console) -> None:
        """Draw on ``console``."""
        self._console = console
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        """Begin drawing."""
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the last picture on the screen, and the cursor below it."""
        self._live.stop()

    def update(self, scene: Scene, events: Sequence[Event]) -> None:  # noqa: ARG002  (the story has them all)
        """Draw the files as they are now."""
        self._live.update(frame(scene, self._console.width, self._console.height), refresh=True)


def frame(scene: Scene, width: int, height: int) -> RenderableType:
    """Return the whole picture, ``width`` columns wide and ``height - 1`` rows high."""
    story = scene.story
    room = height - 1 - 9  # the last row stays free; head, foot and the borders take nine
    asked = min(room * 2 // 5, story.planned)
    waiting = len(story.unfinished()) - len(story.running())
    queue = Pane(
        word="queue file",
        meaning="one record a line: what is asked",
        path=story.folder.queue(),
        lines=story.queue_lines,
        empty="Empty. The client will append a line for each picture: a record of what it wants done.",
        tally=f"{_count(len(story.posted), 'record')}, {waiting} waiting",
    )
    results = Pane(
        word="results file",
        meaning="what becomes of it",
        path=story.folder.results,
        lines=story.results_lines,
        empty="Empty. The worker will append a line when it takes a task, and one when the task has ended.",
        tally=f"{_count(len(story.states), 'task')} started, {len(story.ended())} ended",
    )
    colours = {task_id: _COLOURS[number % len(_COLOURS)] for number, task_id in enumerate(story.posted)}
    return Group(
        _head(scene), _panel(queue, colours, width, asked), _panel(results, colours, width, room - asked), _foot(scene)
    )


def _head(scene: Scene) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for _ in range(3):
        grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(" [bold]client[/]", f"process {scene.client_pid}", Text(client_does(scene.story)))
    grid.add_row(" [bold]worker[/]", f"process {scene.worker_pid}", Text(worker_does(scene.story)))
    return Group(_one_row(f" {_WORDS}", "bold"), _one_row(f" {printable(scene.note)}", "italic"), grid)


def _one_row(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


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


class Pane(NamedTuple):
    """What is shown of one file."""

    word: str
    """What such a file is called …"""
    meaning: str
    """… and what stands in it."""
    path: Path
    lines: Iterable[Line]
    empty: str
    """Shown as long as there are no lines."""
    tally: str
    """Shown below them."""


def _panel(pane: Pane, colours: dict[str, str], width: int, rows: int) -> Panel:
    """Return the last lines of a file, ``rows`` of them, in a frame."""
    lines = list(pane.lines)[-rows:]
    body = Group(*(_coloured(line, colours) for line in lines)) if lines else Text(pane.empty, style="italic")
    title = Text.assemble((pane.word, "bold"), f"  {printable(shown(pane.path))}")
    if title.cell_len + len(pane.meaning) <= width - 8:  # beside a long path there is no room for it
        title.append(f"  {pane.meaning}", "italic")
    return Panel(body, title=title, title_align="left", subtitle=pane.tally, subtitle_align="right", height=rows + 2)


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
    resized = sum(state.status == SUCCESS for state in story.ended())
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True)
    bar = ProgressBar(total=max(story.planned, 1), completed=resized)
    grid.add_row(f" {resized} of {story.planned} resized", bar, f"{scene.seconds:4.1f} s ")
    return grid


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def printable(text: str) -> str:
    r"""Return text that only prints: each control character becomes ``\x1b`` or the like."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
