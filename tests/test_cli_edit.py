"""``pmtq edit``: what the person sees and is told."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pmtq import disk, editing
from pmtq.cli import edit
from pmtq.editing import Draft
from pmtq.holder import holder_of
from pmtq.journal import Journal
from tests.support import Said, eventually, post_by_hand, read_lines

ONE = '{"task_id":"a","function":"tasks.add","params":[1,2]}\n'
TWO = '{"task_id":"b","function":"tasks.add","params":[3,4]}\n'


@pytest.fixture
def editor(project, monkeypatch):
    """A function that makes a shell script the person's editor; the file's name is ``$1``."""
    monkeypatch.delenv("VISUAL", raising=False)

    def become(script, variable="EDITOR"):
        path = project / f"{variable}.sh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        monkeypatch.setenv(variable, str(path))

    return become


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch):
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield


def copies(folder):
    return sorted(path.name for path in folder.edits.iterdir()) if folder.edits.exists() else []


def test_what_the_editor_saves_takes_the_place_of_the_queue(run, here, editor):
    post_by_hand(here, ONE + TWO)
    editor("""sed -i -e s/1,2/10,20/ -e 2d "$1"; echo '{"function":"tasks.add","params":["x","y"]}' >> "$1" """)

    said = run("edit")

    assert said == Said(
        0,
        "queue.jsonl: 1 added, 1 changed, 1 called off\n"
        "To have one run after all: pmtq requeue b\n"
        "See what waits: pmtq queue -Q celery\n",
        "",
    )
    assert [line["params"] for line in read_lines(here.queue())] == [[10, 20], ["x", "y"]]
    assert (copies(here), here.queue().stat().st_mode & 0o777) == ([], 0o600)


def test_what_is_posted_while_the_editor_is_open_is_kept_and_nobody_waits(run, here, editor):
    post_by_hand(here, ONE)
    post = f'{sys.executable} -m pmtq call tasks.add "[5, 6]" > posted'
    editor(f'{post}\ncp {here.queue()} seen\nsed -i s/1,2/10,20/ "$1"')

    said = run("edit")

    assert said.out.splitlines()[:2] == [
        "queue.jsonl: 1 changed",
        "1 record posted meanwhile: behind the edited ones",
    ]
    assert [line["params"] for line in read_lines(here.queue())] == [[10, 20], [5, 6]]
    assert Path("posted").read_text().strip() in Path("seen").read_text()  # it stood there while the editor was open


@pytest.mark.parametrize("script", ["true", 'touch "$1"', 'rm "$1"', 'cp "$1" x; cat x > "$1"'])
def test_an_editor_that_saves_nothing_new_changes_nothing(run, here, editor, script):
    post_by_hand(here, ONE)
    before = here.queue().stat()
    editor(script)

    assert run("edit") == Said(0, "nothing was changed\n", "")
    after = here.queue().stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert (copies(here), here.results.exists()) == ([], False)


def test_several_records_of_tasks_that_have_ended_are_counted(run, here, editor, say_ended):
    post_by_hand(here, ONE + TWO)
    say_ended("a")
    say_ended("b")
    editor("true")

    assert run("edit").err == "not shown: 2 records of tasks that have ended\n"


def test_records_of_tasks_that_have_ended_are_not_shown(run, here, editor, say_ended):
    post_by_hand(here, ONE + TWO)
    say_ended("a")
    editor('cp "$1" seen')

    said = run("edit")

    assert said == Said(0, "nothing was changed\n", "not shown: 1 record of a task that has ended\n")
    assert Path("seen").read_text() == TWO


@pytest.fixture
def say_ended(here):
    def say(task_id):
        Journal(here.results).append(f'{{"task_id":"{task_id}","status":"SUCCESS","attempt":1}}\n'.encode())

    return say


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("exit 3", "ended with status 3"),
        ("kill -9 $$", "was ended by SIGKILL"),
        ("kill -40 $$", "was ended by signal 40"),  # a real-time signal, which has no name
    ],
    ids=["3", "kill", "40"],
)
def test_an_editor_that_ends_with_an_error_changes_nothing_and_what_was_written_is_kept(run, here, editor, script, how):
    post_by_hand(here, ONE)
    editor(f'echo >> "$1"; echo mine >> "$1"; {script}')

    said = run("edit")

    assert said == Said(
        1,
        "",
        f"EditorFailedError: the editor '{os.environ['EDITOR']}' {how}. Nothing was changed. What you have written is kept in "
        f"{here.edits}/queue.1.jsonl. Open the queue again and take over from there what you need: pmtq edit\n",
    )
    assert here.queue().read_text() == ONE
    assert (here.edits / "queue.1.jsonl").read_text() == ONE + "\nmine\n"


def test_the_queue_is_named_that_is_to_be_opened_again(run, here, editor):
    post_by_hand(here, ONE, "low")
    editor('echo mine > "$1"; exit 1')

    assert run("edit", "low").err.endswith("take over from there what you need: pmtq edit low\n")


def test_what_an_edit_before_has_left_is_not_written_over(run, here, editor):
    post_by_hand(here, ONE)
    editor('echo first > "$1"; exit 1')
    run("edit")
    editor('echo second > "$1"; exit 1')
    said = run("edit")

    assert said.err.splitlines()[0] == (
        f"queue.1.jsonl in {here.edits}: open in another terminal, or left by an edit before this one"
    )
    assert [(here.edits / name).read_text() for name in copies(here)] == ["first\n", "second\n"]


def test_two_edits_in_the_same_moment_get_a_copy_each(here, monkeypatch):
    """With one between them, a record without an id stood in it twice, and was posted twice."""
    post_by_hand(here, '{"function":"tasks.add"}\n')
    meeting, make_folder = threading.Barrier(2), disk.make_folder

    def make_together(folder):
        make_folder(folder)
        meeting.wait(10)

    monkeypatch.setattr(disk, "make_folder", make_together)
    drafts = [Draft(here, "celery") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda one: edit._new_copy(here, one), drafts))

    assert sorted(path.name for path in made) == ["queue.1.jsonl", "queue.2.jsonl"]
    assert [path.read_text() for path in made] == ['{"function":"tasks.add"}\n'] * 2
    for one in drafts:
        one.close()


def test_an_editor_that_fails_without_having_saved_leaves_nothing(run, here, editor):
    post_by_hand(here, ONE)
    editor("exit 1")

    assert run("edit") == Said(
        1, "", f"EditorFailedError: the editor '{os.environ['EDITOR']}' ended with status 1. Nothing was changed.\n"
    )
    assert copies(here) == []


def test_a_slip_is_shown_with_its_place_and_nothing_is_changed(run, here, editor):
    post_by_hand(here, ONE + TWO)
    editor(r"""sed -i 's/\[3,4\]/[3,4,]/' "$1" """)

    said = run("edit")

    assert said == Said(
        1,
        "",
        f"EditorFailedError: in your copy, {here.edits}/queue.1.jsonl:\n"
        "line 2, column 52: found a comma with nothing behind it. Take the last comma away\n"
        f"Nothing was changed. What you have written is kept in {here.edits}/queue.1.jsonl. Open the queue again and take "
        "over from there what you need: pmtq edit\n",
    )
    assert here.queue().read_text() == ONE + TWO


def test_of_many_slips_the_first_are_shown(run, here, editor):
    post_by_hand(here, ONE)
    editor('for n in 1 2 3 4 5 6 7; do echo "{" >> "$1"; done')

    said = run("edit")

    assert [line.split(":")[0] for line in said.err.splitlines()[1:5]] == [
        f"line {number}, column 2" for number in (2, 3, 4, 5)
    ]
    assert said.err.splitlines()[6] == "… and 2 more"


def test_the_variable_visual_goes_before_editor_and_may_have_options(run, here, editor, monkeypatch):
    post_by_hand(here, ONE)
    editor("exit 7")
    editor('test "$1" = --wait && sed -i s/1,2/7,7/ "$2"', "VISUAL")
    monkeypatch.setenv("VISUAL", f"{os.environ['VISUAL']} --wait")

    assert run("edit").status == 0
    assert read_lines(here.queue())[0]["params"] == [7, 7]


@pytest.mark.parametrize(("command", "why"), [("no-such-editor", "No such file"), ("vi 'x", "No closing quotation")])
def test_an_editor_that_cannot_be_started_is_named(run, here, monkeypatch, command, why):
    post_by_hand(here, ONE)
    monkeypatch.setenv("VISUAL", command)

    said = run("edit")

    assert said.err.startswith(f"EditorFailedError: the editor {command!r} cannot be started: ")
    assert why in said.err
    assert said.err.endswith("Nothing was changed. Name another: EDITOR=vi pmtq edit\n")
    assert copies(here) == []


def test_without_any_editor_it_says_how_to_name_one(run, here, monkeypatch):
    post_by_hand(here, ONE)
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")

    assert run("edit") == Said(
        1,
        "",
        "EditorFailedError: there is no editor. Nothing was changed. Name yours: EDITOR=nano pmtq edit\n",
    )


@pytest.mark.parametrize("name", ["low", "queue.low.jsonl"])
def test_a_queue_may_be_named_or_its_file(run, here, editor, name):
    post_by_hand(here, ONE, "low")
    editor('sed -i s/1,2/7,7/ "$1"')

    assert run("edit", name).out.splitlines()[0] == "queue.low.jsonl: 1 changed"
    assert read_lines(here.queue("low"))[0]["params"] == [7, 7]


def test_the_default_queue_may_be_named_by_its_file(run, here, editor):
    post_by_hand(here, ONE)
    editor('sed -i s/1,2/7,7/ "$1"')

    assert run("edit", "queue.jsonl").out.splitlines()[0] == "queue.jsonl: 1 changed"


@pytest.mark.parametrize("name", ["celery.p9", "p9", "queue.p9.jsonl"])
def test_a_priority_of_the_default_queue_may_be_named_with_its_queue(run, here, editor, name):
    post_by_hand(here, ONE, "p9")
    editor('sed -i s/1,2/7,7/ "$1"')

    assert run("edit", name).out.splitlines()[0] == "queue.p9.jsonl: 1 changed"
    assert here.queue_names() == ["p9"]


@pytest.mark.parametrize("name", ["nope", "low.p9"])
def test_a_queue_without_a_file_is_not_opened_and_those_with_one_are_named(run, here, editor, name):
    post_by_hand(here, ONE)
    post_by_hand(here, TWO, "low")
    editor("touch opened")

    said = run("edit", name)

    assert said == Said(1, "", f"QueueNotFound: queue {name} has no file yet; there are: celery, low\n")
    assert (Path("opened").exists(), here.queue_names(), copies(here)) == (False, ["celery", "low"], [])


def test_the_default_queue_is_opened_before_it_has_a_file(run, here, editor):
    here.make()
    editor(f"echo '{ONE.strip()}' > \"$1\"")

    assert run("edit").out.splitlines()[0] == "queue.jsonl: 1 added"
    assert here.queue().read_text() == ONE


def test_a_queue_that_was_just_cleared_and_has_no_name_yet_has_a_file(run, here, editor):
    post_by_hand(here, ONE, "low")
    disk.make_folder(here.sealed)
    disk.rename(here.queue("low"), here.sealed_queue("low", 0))
    editor("true")

    assert run("edit", "low") == Said(0, "nothing was changed\n", "")


def test_a_name_that_no_queue_can_have_is_refused(run, here, editor):
    here.make()
    editor("exit 9")

    said = run("edit", "a/b")

    assert (said.status, said.err.split(".")[0]) == (
        1,
        "ImproperlyConfigured: the queue name 'a/b' cannot be part of a file name",
    )


def test_without_a_folder_it_says_where_it_looked(run, here, editor):
    editor("exit 9")

    said = run("edit")

    assert said.err.startswith(f"OperationalError: there is no queue folder {here.path}: nothing was ever sent there")
    assert not here.path.exists()


ON_ITS_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from pmtq.cli import main
sys.exit(main(["edit"]))
"""
"""The program, after making its terminal the one on which Ctrl-C is typed."""


class Terminal:
    """``pmtq edit`` on a terminal of its own, as a person has it."""

    def __init__(self):
        self.screen, inner = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_ITS_TERMINAL],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            env=os.environ | {"NO_COLOR": "1"},
        )
        os.close(inner)
        os.set_blocking(self.screen, False)
        self.said = ""

    def shows(self, text):
        """Wait until the text was shown."""

        assert eventually(lambda: self.has_shown(text), 20), self.said

    def has_shown(self, text):
        """Say whether the text was shown by now."""
        with contextlib.suppress(OSError):  # nothing new, or nobody is there any more
            self.said += os.read(self.screen, 65536).decode()
        return text in self.said

    def type(self, text):
        """Type on the keyboard."""
        os.write(self.screen, text.encode())

    def status(self):
        """Wait for the end, and return the exit status."""
        status = self.process.wait(20)
        os.close(self.screen)
        return status


def test_on_a_terminal_the_copy_is_opened_again_until_it_is_right(here, editor):
    post_by_hand(here, ONE)
    editor(r"""if grep -q ',\]' "$1"; then sed -i 's/,\]/]/' "$1"; else sed -i 's/1,2/7,7,/' "$1"; fi""")
    terminal = Terminal()

    terminal.shows(f"in your copy, {here.edits}/queue.1.jsonl:")
    terminal.shows("line 1, column 52: found a comma with nothing behind it. Take the last comma away")
    terminal.shows("Open it again? [Y/n]: ")
    terminal.type("\n")
    terminal.shows("queue.jsonl: 1 changed")

    assert (terminal.status(), read_lines(here.queue())[0]["params"], copies(here)) == (0, [7, 7], [])


@pytest.mark.parametrize(
    ("answer", "what"), [("n\n", "the copy was left as it is"), ("\x03", "interrupted")], ids=["no", "ctrl-c"]
)
def test_who_does_not_want_to_open_it_again_keeps_the_copy(here, editor, answer, what):
    post_by_hand(here, ONE)
    editor('echo "{" >> "$1"')
    terminal = Terminal()
    terminal.shows("Open it again? [Y/n]: ")
    terminal.type(answer)

    terminal.shows("Open the queue again and take over from there what you need: pmtq edit")

    assert f"{what}. Nothing was changed. What you have written is kept in {here.edits}/queue.1.jsonl" in terminal.said
    assert (terminal.status(), here.queue().read_text(), copies(here)) == (1, ONE, ["queue.1.jsonl"])


def test_ctrl_c_is_the_editors(here, editor):
    """vi, for one, takes it for the end of a command."""
    post_by_hand(here, ONE)
    editor("""trap 'sed -i s/1,2/7,7/ "$1"; exit 0' INT; echo ready; while :; do sleep 0.05; done""")
    terminal = Terminal()
    terminal.shows("ready")
    terminal.type("\x03")

    terminal.shows("queue.jsonl: 1 changed")

    assert terminal.status() == 0


def test_ctrl_c_that_ends_the_editor_changes_nothing_and_keeps_what_was_saved(here, editor):
    post_by_hand(here, ONE)
    editor('echo saved >> "$1"; echo ready; while :; do sleep 0.05; done')
    terminal = Terminal()
    terminal.shows("ready")
    terminal.type("\x03")

    terminal.shows(f"Nothing was changed. What you have written is kept in {here.edits}/queue.1.jsonl.")

    assert (terminal.status(), here.queue().read_text()) == (1, ONE)
    assert (here.edits / "queue.1.jsonl").read_text() == ONE + "saved\n"


def test_ctrl_c_ends_the_wait_for_a_lock_and_keeps_what_was_written(here, editor):
    post_by_hand(here, ONE)
    editor('sed -i s/1,2/7,7/ "$1"; echo saved')
    journal = Journal(here.results)
    with journal.hold():
        terminal = Terminal()
        terminal.shows("saved")
        told = f"interrupted. Nothing was changed. What you have written is kept in {here.edits}/queue.1.jsonl."

        for _ in range(20):  # the first may still be the editor's
            terminal.type("\x03")
            if eventually(lambda: terminal.has_shown(told), 1):
                break

    assert (told in terminal.said, "is held by" in terminal.said) == (True, False), terminal.said
    assert (terminal.status(), here.queue().read_text()) == (1, ONE)
    assert (here.edits / "queue.1.jsonl").read_text() == ONE.replace("1,2", "7,7")


def test_who_keeps_a_lock_is_named_and_what_was_written_is_kept(run, here, editor, monkeypatch):
    monkeypatch.setattr(editing, "TRIES", 2)
    post_by_hand(here, ONE)
    editor('sed -i s/1,2/7,7/ "$1"')
    journal = Journal(here.results)

    with journal.hold():
        said = run("edit")
        who = holder_of(journal._lock_descriptor)

    assert said == Said(
        1,
        "",
        f"EditorFailedError: {journal.lock_path} is held by {who}. Nothing was changed. See who: lsof {journal.lock_path}\nWhat "
        f"you have written is kept in {here.edits}/queue.1.jsonl. Open the queue again and take over from there what you need: "
        "pmtq edit\n",
    )
    assert (here.queue().read_text(), copies(here)) == (ONE, ["queue.1.jsonl"])


def test_ctrl_c_while_it_is_put_in_place_breaks_nothing_off(run, here, editor, monkeypatch):
    post_by_hand(here, ONE)
    editor('sed -i s/1,2/7,7/ "$1"')
    replace = editing.replace

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return replace(*arguments)

    monkeypatch.setattr(editing, "replace", interrupted)

    assert run("edit").out.splitlines()[0] == "queue.jsonl: 1 changed"
    assert (read_lines(here.queue())[0]["params"], copies(here)) == ([7, 7], [])


def test_a_kill_while_the_editor_is_open_changes_nothing(here, editor):
    post_by_hand(here, ONE)
    editor('echo saved >> "$1"; echo ready; exec sleep 60')
    terminal = Terminal()
    terminal.shows("ready")

    os.killpg(terminal.process.pid, signal.SIGKILL)

    assert (terminal.status(), here.queue().read_text(), copies(here)) == (-signal.SIGKILL, ONE, ["queue.1.jsonl"])
