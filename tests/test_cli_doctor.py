"""``pmtq doctor``: what it says, and its exit status."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import time

import pytest

from pmtq import examining
from pmtq.cli import main
from tests.support import Said, eventually, in_child, life, post_by_hand, read_lines

SLIP = '{"function":"tasks.add",}\n'
TOLD = (
    "queue.jsonl holds 1 line that cannot be read as records: line 1, column 24: found a comma with nothing behind it"
)
COPIED = "copied to rejected.jsonl: pmtq dead shows it, pmtq requeue --rejected N --edit posts it again"


def test_when_nothing_is_wrong_it_says_so(run, here, lives):
    assert run("doctor") == Said(0, f"folder {here.path}\nnothing is wrong\n", "")


def test_what_is_wrong_is_one_line_each_with_what_to_do(run, here, lives):
    post_by_hand(here, SLIP + '{"function":"tasks.sub"}\n')

    assert run("doctor") == Said(
        1,
        f"folder {here.path}\n"
        f"problem  {TOLD}. Correct it: pmtq edit; a worker copies it to rejected.jsonl\n"
        "note     1 task of functions that no running worker of their queue knows: tasks.sub. Start a worker that knows them, "
        "or see whether a name is misspelt: pmtq queue\n"
        "1 problem, 1 note; pmtq doctor --mend mends 1 of them\n",
        "",
    )


def test_notes_alone_are_no_reason_for_an_error(run, here):
    post_by_hand(here, '{"function":"tasks.add"}\n')

    assert run("doctor") == Said(
        0,
        f"folder {here.path}\n"
        "note     no worker is running, and 1 task waits. Start a worker: pmtq worker -A tasks\n"
        "0 problems, 1 note\n",
        "",
    )


def test_what_was_mended_is_told_and_is_no_error_any_more(run, here, lives):
    post_by_hand(here, SLIP)

    assert run("doctor", "--mend") == Said(
        0, f"folder {here.path}\nmended   {TOLD}: {COPIED}.\nnothing else is wrong\n", ""
    )
    assert run("doctor", "--mend") == Said(0, f"folder {here.path}\nnothing is wrong\n", "")
    assert [line["text"] for line in read_lines(here.rejected)] == [SLIP.strip()]


def test_what_could_not_be_mended_is_told_on_stderr(run, here, lives):
    from pmtq.journal import Journal

    post_by_hand(here, SLIP)
    with Journal(here.results).hold():
        said = run("doctor", "--mend")

    assert said.status == 1
    assert said.err == "LockHeld: the rest was not mended while others keep results.jsonl.lock. Try again then\n"
    assert [line.split()[0] for line in said.out.splitlines()] == ["folder", "problem", "problem", "2"]


def test_as_json_it_is_one_object_a_line(run, here, lives):
    post_by_hand(here, SLIP)

    told = [run("doctor", "--json"), run("doctor", "--mend", "--json"), run("doctor", "--json")]

    assert [said.status for said in told] == [1, 0, 0]
    assert [[json.loads(line) for line in said.out.splitlines()] for said in told] == [
        [
            {
                "found": "problem",
                "check": "lines",
                "file": "queue.jsonl",
                "what": TOLD,
                "remedy": "Correct it: pmtq edit; a worker copies it to rejected.jsonl",
            }
        ],
        [{"found": "mended", "check": "lines", "file": "queue.jsonl", "what": TOLD, "mended": COPIED}],
        [],
    ]


def test_nothing_that_stands_in_a_file_steers_the_terminal(run, here, lives):
    post_by_hand(here, '{"task_id":"a","function":"\\u001b[2J\\u202e"}\n')

    assert "\\x1b[2J\\u202e" in run("doctor").out


def test_a_file_whose_name_is_no_text_is_told_and_the_json_names_it_byte_for_byte(run, here):
    here.make()
    here.workers.mkdir(mode=0o700)
    (here.workers / os.fsdecode(b"w\xff.json")).symlink_to("nowhere")

    plain, line = run("doctor"), run("doctor", "--json")

    assert "problem  workers/w\\udcff.json is a link" in plain.out
    (found,) = map(json.loads, line.out.splitlines())
    assert (line.status, os.fsencode(found["file"]), line.out.isascii()) == (1, b"workers/w\xff.json", True)


def test_without_a_folder_it_says_where_it_looked(run, here):
    said = run("doctor", "--mend")

    assert (said.status, said.err.partition(": nothing was ever")[0]) == (
        1,
        f"OperationalError: there is no queue folder {here.path}",
    )
    assert not here.path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_where_the_folder_itself_cannot_be_seen_it_says_so_in_one_paragraph(here, monkeypatch):
    here.make()
    os.chown(here.path, 65534, 65534)
    monkeypatch.setenv("PMTQ_BROKER_URL", f"file://{here.path}")

    def examine_from_outside():
        with contextlib.redirect_stderr(io.StringIO()) as said:
            return main(["doctor"]), said.getvalue()

    assert in_child(examine_from_outside, 65534) == str(
        (
            1,
            f"OperationalError: cannot look at {here.path}: Permission denied. Nothing was changed. Look who owns it: ls -l {here.path.parent}\n",
        )
    )


def test_a_system_that_cannot_watch_says_it_once(run, here, lives, monkeypatch):
    def refuse():
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("pmtq.watch._new_observer", refuse)
    post_by_hand(here, '{"function":"tasks.add"}\n')
    (here.path / "queue.jsonl.lock").touch(0o600)

    said = run("doctor")

    assert (said.status, said.err, said.out.count("inotify watch limit reached")) == (1, "", 1)
    assert logging.getLogger("pmtq.watch").handlers == []


def test_it_mends_beside_a_worker_at_work_and_the_dead_are_buried_once(pmtq, here, processes):
    """Also in a process of its own, as a person has it."""
    processes.folder = here
    here.make()
    processes.start("w1")
    assert eventually(lambda: here.worker("w1").exists())
    posted = [f"t{number}" for number in range(200)]
    post_by_hand(here, "".join(f'{{"task_id":"{one}","function":"tasks.log","params":["{one}"]}}\n' for one in posted))

    said = [pmtq("doctor", "--mend") for _ in range(2)]

    assert {one.status for one in said} == {0}, said
    assert eventually(lambda: all(life(here, one)[-1:] == [("SUCCESS", 1)] for one in posted))
    processes.kill("w1")
    assert pmtq("doctor").out.splitlines()[1] == (
        "note     the worker w1 has died. The next worker does it by itself; or now: pmtq doctor --mend"
    )
    assert "mended   the worker w1 has died: its files were removed." in pmtq("doctor", "--mend").out
    assert [path.name for path in here.workers.iterdir()] == []


def test_a_torn_line_is_mended(run, here, lives):
    post_by_hand(here, '{"function":"tasks.add"}')
    past = time.time() - 2 * examining.QUIET
    os.utime(here.queue(), (past, past))

    assert run("doctor").out.splitlines()[1:] == [
        (
            "problem  the last line of queue.jsonl (line 1) has no newline, and nobody is writing it. Whoever appends next ends it "
            "first; or now: pmtq doctor --mend"
        ),
        "1 problem; pmtq doctor --mend mends 1 of them",
    ]
    assert run("doctor", "--mend").status == 0
    assert here.queue().read_text() == '{"function":"tasks.add"}\n'
