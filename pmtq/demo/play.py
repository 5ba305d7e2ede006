"""Plays the demo from start to end.

1. It ends within ``GIVE_UP`` seconds and a few more for ending the programs; well only if all pictures were resized.
2. However it ends, the two programs are gone and no task of the demo's is left waiting.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pmtq.demo.place import Place, choose_place
from pmtq.demo.processes import Program, Programs, interruptions, side_by_side
from pmtq.demo.report import Pair, check_pictures, page
from pmtq.demo.show import Scene, View, choose_view, printable
from pmtq.demo.story import Story
from pmtq.exceptions import PmtqError
from pmtq.journal import Journal
from pmtq.records import StateRecord, encode_lines, timestamp
from pmtq.states import REVOKED
from pmtq.watch import Watch

PICTURES = 12
GIVE_UP = 22.0
GLANCE = 0.1
"""Seconds between two looks at the files when nothing tells of a change."""
TALL, FEW = 40, 1
"""On a screen with fewer rows than the first number the report lists as many pictures as the second."""
INTERRUPTED = 130
"""The exit status of a program that was ended by Ctrl-C."""
_LEFT = "Both programs were ended, and nothing of the demo's is left waiting."


class DemoError(Exception):
    """The demo did not end well; the text says how, ``status`` is the exit status."""

    def __init__(self, what: str, status: int = 1) -> None:
        """Take what happened."""
        super().__init__(what)
        self.status = status


def play(home: Path | None, *, plain: bool) -> int:
    """Play it; see ``pmtq.demo.run``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file may hold what this terminal cannot show
    with interruptions() as interrupted:
        place = choose_place(home)
        try:
            place.folder.make()
            perform(Console(highlight=False), place, interrupted, plain=plain)
        except (DemoError, PmtqError, OSError) as error:
            what = str(error) if isinstance(error, DemoError) else f"The demo broke off: {error}"
            _tell(f"{what}\n{_LEFT} {place.clear()}")
            return error.status if isinstance(error, DemoError) else 1
        except BaseException:  # such as the SystemExit with which rich answers a reader that went away
            place.clear()
            raise
    return 0


def _tell(paragraph: str) -> None:
    """Print to where errors go; words are kept whole on a screen, lines in a file."""
    console = Console(stderr=True, highlight=False)
    console.print(Text(f"\n{paragraph}"), soft_wrap=not console.is_terminal)


def perform(console: Console, place: Place, interrupted: threading.Event, *, plain: bool) -> None:
    """Play in ``place`` and print the report; raise ``DemoError`` if anything is not as it should be."""
    began = time.monotonic()
    with closing(Story(place.folder, place.pictures, PICTURES)) as story:
        try:
            with choose_view(console, plain=plain) as view, side_by_side(place, PICTURES) as programs:
                follow(story, programs, view, interrupted, began)
        finally:
            story.listen()
            call_off(place, story.unfinished())
    seconds = time.monotonic() - began
    pairs = approved(check_pictures(place.pictures), len(story.posted))
    room = FEW if console.is_terminal and console.height < TALL else PICTURES
    console.print()
    for text in page(place, pairs, list(story.posted)[-1], seconds, room=room):
        console.print(text, soft_wrap=True)


def follow(story: Story, programs: Programs, view: View, interrupted: threading.Event, began: float) -> None:
    """Show the files until all is done; raise ``DemoError`` if that is not going to happen."""
    names = frozenset({story.folder.queue().name, story.folder.results.name})
    with closing(Watch(story.folder.path, names)) as changes:
        while True:
            seen = changes.seen()
            client_is_done = programs.client.status == 0  # asked before listening: all it posted is heard then
            events = story.listen()
            if client_is_done:
                story.planned = len(story.posted)  # fewer than planned if this machine is slow
            seconds = time.monotonic() - began
            view.update(Scene(story, programs.client.pid, programs.worker.pid, seconds, programs.place.instead), events)
            if client_is_done and story.is_complete():
                return
            expect_an_end(programs, interrupted, seconds)
            changes.wait(seen, GLANCE)


def expect_an_end(programs: Programs, interrupted: threading.Event, seconds: float) -> None:
    """Raise ``DemoError`` if there is no sense in waiting any longer."""
    if interrupted.is_set():
        raise DemoError("Stopped.", INTERRUPTED)
    worker, client = programs.worker, programs.client
    if worker.status is not None:
        raise DemoError(_last_words(worker, f"ended early, with status {worker.status}"))
    if client.status:
        raise DemoError(_last_words(client, f"ended with status {client.status}"))
    if seconds > GIVE_UP:
        raise DemoError(_last_words(worker, f"was not done after {seconds:.0f} s"))


def _last_words(program: Program, what: str) -> str:
    words = program.last_words() or ["(nothing)"]
    return "\n".join([f"The {program.name} {what}. The last it said:", *(f"    {printable(line)}" for line in words)])


def call_off(place: Place, task_ids: list[str]) -> None:
    """End tasks of ours that nobody will run any more, so that they do not wait for ever in somebody's queue."""
    if not task_ids:
        return
    at = timestamp(time.time())
    error = {"type": "pmtq.exceptions.TaskRevokedError", "message": "the demo was stopped"}
    lines = [StateRecord(task_id, REVOKED, at=at, error=error) for task_id in task_ids]
    with closing(Journal(place.folder.results, successor=place.folder.next_results)) as results:
        results.append(encode_lines(lines))


def approved(pairs: list[Pair], posted: int) -> list[Pair]:
    """Return ``pairs``, all of which are good and as many as were ``posted``; raise ``DemoError`` if not."""
    if problems := [pair.problem for pair in pairs if pair.problem]:
        raise DemoError(f"{len(problems)} of {len(pairs)} pictures were not resized: {problems[0]}.")
    if not pairs or len(pairs) != posted:
        raise DemoError(f"There are {len(pairs)} photographs, and {posted} records ask for one to be resized.")
    return pairs
