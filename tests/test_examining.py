"""A queue folder is looked over, and mended: what is found is true, and no record is lost by mending."""

from __future__ import annotations

import errno
import os
import shlex
import socket
import tempfile
import time
from pathlib import Path

import pytest

from pmtq import disk, examining, surroundings, watch
from pmtq.broker import Broker
from pmtq.control import TIME_LIMIT
from pmtq.editing import Draft
from pmtq.examining import examine
from pmtq.exceptions import LockHeld, OperationalError
from pmtq.folder import Folder
from pmtq.holder import holder_of
from pmtq.journal import Journal
from pmtq.ledger import RATE_LIMIT
from pmtq.lock import Lock
from pmtq.mending import mend
from pmtq.presence import Presence
from pmtq.records import StateRecord, TaskRecord, timestamp
from pmtq.surroundings import Finding
from tests.support import NOW, in_child, life, post_by_hand, read_lines

SENT = timestamp(NOW - 10)
UNSERVED = "no worker is running, and 1 task waits"
NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def post(folder):
    """A function that publishes records of ``tasks.add`` under these ids, as a client does that ends at once."""

    def publish(*ids, function="tasks.add", **fields):
        broker = Broker(folder)
        for task_id in ids:
            broker.publish(TaskRecord(task_id=task_id, function=function, sent=SENT, **fields))
        broker.close()

    return publish


@pytest.fixture
def lives(folder):
    """A living worker that knows ``tasks.add``."""
    facts = {"name": "w@h", "pid": 7, "queues": ["celery"], "functions": ["tasks.add"], "pool": "solo"}
    presence = Presence(folder, "w@h", facts)
    yield presence
    presence.leave()


@pytest.fixture
def nobody_hears(monkeypatch):
    """Let lost notifications be found at once."""
    monkeypatch.setattr(surroundings, "_HEARINGS", 1)


def let_rest(*paths):
    """Make files look as if nobody had touched them for a while."""
    past = time.time() - 2 * examining.QUIET
    for path in paths:
        os.utime(path, (past, past))


def said(folder):
    return [(one.check, one.file, one.what) for one in examine(folder)]


def mended(folder):
    """Mend what is found; return the kinds of what was found before and after."""
    before = examine(folder)
    assert mend(folder, before) == []
    return [one.check for one in before], [one.check for one in examine(folder)]


def test_nothing_is_found_in_a_folder_in_which_all_is_well(folder, post, hand):
    post("a")
    worker = hand()
    worker.run_all()

    assert examine(folder) == []


def test_nothing_is_found_in_an_empty_folder(folder):
    folder.make()

    assert examine(folder) == []


def test_looking_changes_nothing(folder, post, hand):
    post("a", "b")
    worker = hand()
    worker.claim()
    worker.die()
    post_by_hand(folder, '{"function":\n{"function":"x"')
    let_rest(folder.queue())
    before = {path: (path.stat().st_size, path.stat().st_ino) for path in folder.path.rglob("*") if path.is_file()}

    examine(folder)

    after = {path: (path.stat().st_size, path.stat().st_ino) for path in folder.path.rglob("*") if path.is_file()}
    assert after == before


# Records


def test_lines_that_are_no_records_are_counted_and_the_first_are_named_with_their_places(folder, lives):
    lives.update(functions=["f"])
    post_by_hand(folder, '{"function":"f"}\n{"function":"f",}\n\n--{\n  “function”: 1\n}--\n' + "[]\nx\n")

    (found,) = examine(folder)

    assert found == Finding(
        check="lines",
        file="queue.jsonl",
        what=(
            "queue.jsonl holds 4 lines that cannot be read as records: line 2, column 16: found a comma with nothing behind it; "
            "line 5, column 3: found a typographic quote (“); line 7, column 1: Expected `object`, got `array`; and 1 more"
        ),
        remedy="Correct it: pmtq edit; a worker copies it to rejected.jsonl",
        mends="copied to rejected.jsonl: pmtq dead shows it, pmtq requeue --rejected N --edit posts it again",
    )


def test_mending_copies_lines_that_are_no_records_to_the_rejected_ones_and_runs_nothing(folder, post):
    post("a")
    post_by_hand(folder, '{"function":"tasks.add",}\n')
    post("b")

    assert mended(folder) == (["lines", "nobody"], ["nobody"])
    assert [line["text"] for line in read_lines(folder.rejected)] == ['{"function":"tasks.add",}']
    assert (life(folder, "a"), life(folder, "b"), len(folder.queue().read_text().splitlines())) == ([], [], 3)


def test_a_torn_line_that_nobody_writes_is_found_and_mended(folder, post):
    post("a")
    post_by_hand(folder, '{"function":"ta')
    assert said(folder) == [("nobody", "", UNSERVED)]  # it may be being written
    let_rest(folder.queue())

    assert said(folder)[0] == (
        "tail",
        "queue.jsonl",
        "the last line of queue.jsonl (line 2) has no newline, and nobody is writing it",
    )
    assert mended(folder) == (["tail", "nobody"], ["nobody"])
    assert [line["text"] for line in read_lines(folder.rejected)] == ['{"function":"ta']


def test_a_whole_record_without_a_newline_is_mended_to_a_record(folder, hand):
    post_by_hand(folder, '{"function":"tasks.add"}')
    let_rest(folder.queue())

    assert mended(folder) == (["tail"], ["nobody"])
    assert len(hand().run_all()) == 1


@pytest.mark.parametrize("name", ["results.jsonl", "rejected.jsonl"])
def test_torn_lines_of_other_files_are_mended(folder, name):
    folder.make()
    (folder.path / name).write_text('{"task_id":"a","status":"SUC')
    (folder.path / name).chmod(0o600)
    let_rest(folder.path / name)

    before, _ = mended(folder)

    assert before[0] == "tail"
    assert (folder.path / name).read_text().endswith("SUC\n")


def test_a_block_that_never_ends_is_left_to_a_person(folder):
    post_by_hand(folder, '{"function":"f"}\n--{\n "function": "f"\n')
    let_rest(folder.queue())

    found = examine(folder)[0]

    assert (found.what, found.remedy, found.mends) == (
        "queue.jsonl line 2: a record begins there with --{ and does not end",
        "Write its end, }--: pmtq edit",
        "",
    )


def test_records_of_a_later_format_are_told(folder, post, lives):
    post("a", "b", v=7)

    assert said(folder) == [
        ("version", "queue.jsonl", "queue.jsonl holds 2 records of format 7, which a later version of pmtq has written")
    ]


def test_functions_that_no_worker_knows_are_a_note(folder, post, lives):
    post("a", "b", function="tasks.ad")
    post("c")
    Broker(folder).publish(TaskRecord(task_id="d", function="tasks.add", sent=SENT), "low")

    (found,) = examine(folder)

    assert (found.what, found.is_note) == (
        "3 tasks of functions that no running worker of their queue knows: tasks.ad, tasks.add",
        True,
    )


def test_lines_of_the_results_that_nobody_can_read_are_a_note(folder, say, lives):
    say(StateRecord("a", "SUCCESS", attempt=1))
    Journal(folder.results).append(b"junk\n[1]\n")

    (found,) = examine(folder)

    assert (found.check, found.what, found.is_note) == (
        "results",
        "results.jsonl holds 2 lines that nobody can read, the first in line 2",
        True,
    )


def test_the_engines_own_steps_are_no_functions_that_a_worker_must_know(folder, post, lives):
    post("a", function="pmtq.gather", after=["x"])
    post("b")

    assert examine(folder) == []


# Who works


def test_what_a_dead_worker_held_is_given_out_again_by_mending(folder, post, hand, lives):
    post("a", "b")
    worker = hand("w1@h")
    worker.claim(2)
    assert said(folder) == []
    worker.die()

    assert said(folder)[0] == (
        "worker",
        "workers/w1@h.json",
        "the worker w1@h has died with 2 tasks in its hands: a, b",
    )
    assert mended(folder) == (["worker"], [])
    assert [life(folder, one)[-1] for one in "ab"] == [("LOST", 1), ("RELEASED", 0)]
    assert folder.worker_names() == ["w@h"]
    assert hand("w2").run_all() == ["a", "b"]


def test_what_a_dead_worker_had_noted_is_posted_by_mending(folder, post, hand):
    post("a")
    worker = hand("w1@h")
    (claim,) = worker.claim()
    worker.presence.notes.add(b'{"task_id":"a","status":"SUCCESS","attempt":1,"worker":"w1@h"}\n')
    worker.die()

    assert said(folder)[0][2] == "the worker w1@h has died"
    mended(folder)

    assert life(folder, claim.record.task_id) == [("STARTED", 1), ("SUCCESS", 1)]


def test_files_of_a_worker_that_is_not_known_are_told_and_left(folder):
    folder.make()
    disk.make_folder(folder.workers)
    path = folder.notes("w1@h")
    path.touch(0o600)

    assert said(folder) == [
        ("leftover", "workers/w1@h.notes", "workers/w1@h.notes belongs to no worker that is known"),
    ]
    mended(folder)
    assert path.exists()


def test_a_worker_that_lives_is_left_alone_by_mending(folder, post, hand, lives):
    post("a", "b")
    post_by_hand(folder, "junk\n")
    worker = hand()
    claims = worker.claim()

    assert mended(folder) == (["lines"], [])
    worker.settle(*claims)
    assert worker.run_all() == ["b"]
    assert [life(folder, one) for one in "ab"] == [[("STARTED", 1), ("SUCCESS", 1)]] * 2


# Other files


def test_sealed_files_that_nobody_needs_are_removed_by_mending(folder, post, hand, monkeypatch):
    post("a")
    worker = hand()
    worker.run_all()
    worker.claimer.tidy(time.time(), idle=True)
    assert said(folder) == []  # it has just been sealed
    worker.presence.leave()
    later(monkeypatch)

    assert said(folder) == [("sealed", "sealed/queue.0.jsonl", "sealed/queue.0.jsonl is not needed any more")]
    assert mended(folder) == (["sealed"], [])
    assert list(folder.sealed.iterdir()) == []


def test_a_sealed_file_that_a_program_has_open_is_a_note_that_nothing_mends(folder, post, hand, monkeypatch):
    post("a")
    worker = hand()
    worker.run_all()
    with folder.queue().open("ab"):
        worker.claimer.tidy(time.time(), idle=True)
        worker.presence.leave()
        later(monkeypatch)

        found = examine(folder)
        assert mend(folder, found) == []
        again = examine(folder)

    assert found == again
    assert found == [
        Finding(
            check="sealed",
            file="sealed/queue.0.jsonl",
            what="sealed/queue.0.jsonl is still open in a program",
            remedy="It goes when that program posts again or ends",
            is_note=True,
        )
    ]
    assert mended(folder) == (["sealed"], [])


def later(monkeypatch):
    """Let some time pass, so that what was just written counts as left."""
    moment = time.time() + 2 * examining.QUIET
    monkeypatch.setattr("pmtq.clock.time.time", lambda: moment)


def test_what_was_not_carried_over_is_carried_over_by_mending(folder, post, monkeypatch, hand):
    post("a", "b")
    disk.make_folder(folder.sealed)
    disk.rename(folder.queue(), folder.sealed_queue("celery", 0))  # as a sealer does that dies behind this
    later(monkeypatch)

    assert said(folder) == [
        (
            "sealed",
            "sealed/queue.0.jsonl",
            "sealed/queue.0.jsonl was cleared away, and some of it may not have been carried over yet",
        )
    ]
    assert mended(folder)[0] == ["sealed"]
    assert list(folder.sealed.iterdir()) == []
    assert hand().run_all() == ["a", "b"]


def test_results_are_kept_by_mending_however_old_they_are(folder, post):
    post("a")
    post_by_hand(folder, "junk\n")
    disk.make_folder(folder.sealed)
    old = folder.sealed / "results.0.jsonl"
    old.write_text('{"task_id":"z","status":"SUCCESS"}\n')
    os.utime(old, (1, 1))

    mended(folder)

    assert old.exists()


def test_drafts_of_dead_programs_are_removed_by_mending(folder):
    folder.make()
    disk.make_folder(folder.sealed)
    drafts = [folder.sealed / "results.next.draft", folder.sealed / "erasing.draft", folder.path / "schedule.json.new"]
    for path in drafts:
        path.touch(0o600)
    assert examine(folder) == []
    let_rest(*drafts)

    assert mended(folder) == (["draft"] * 3, [])
    assert [path for path in drafts if path.exists()] == []


def test_copies_that_an_edit_has_left_are_named_and_kept(folder):
    folder.make()
    disk.make_folder(folder.edits)
    copy = folder.edits / "queue.1.jsonl"
    copy.touch(0o600)
    let_rest(copy)

    assert said(folder) == [
        ("copies", "edits", "edits holds copies that pmtq edit has open, or has not put in place: queue.1.jsonl")
    ]
    assert mend(folder, examine(folder)) == []
    assert copy.exists()


def test_an_editor_that_has_a_file_of_the_folder_open_is_a_problem(folder):
    folder.make()
    (folder.path / ".queue.jsonl.swp").touch(0o600)

    (found,) = examine(folder)

    assert (found.check, found.is_note) == ("editor", False)


def test_a_schedule_that_cannot_be_read_is_told_with_its_place(folder):
    folder.make()
    path = folder.path / "schedule.json"
    path.write_text('{"a": {"task": "t"\n')
    path.chmod(0o600)

    (found,) = examine(folder)

    assert found == Finding(
        check="schedule",
        file="schedule.json",
        what=f"{path} cannot be read: line 2, column 1: Expecting ',' delimiter",
        remedy=f"It was left as it is. Mend it, or start without it: mv {path} {path}.old",
    )


def test_controls_that_nobody_heeds_are_told(folder, say):
    folder.make()
    say(
        StateRecord(control=f"{RATE_LIMIT} tasks.add", result="ten"),
        StateRecord(control=f"{RATE_LIMIT} tasks.sub", result="10/m"),
        StateRecord(control=f"{TIME_LIMIT} tasks.add", result=[1, None]),
        StateRecord(control="stop everything", result=True),
    )

    assert said(folder) == [
        ("control", "results.jsonl", "the rate limit 'ten' of tasks.add is none, and nobody heeds it"),
        ("control", "results.jsonl", "the control 'stop everything' means nothing to this version"),
    ]


# The folder and its files


def test_a_folder_that_is_open_to_others_is_closed_by_mending(folder, post, hand):
    hand()
    folder.path.chmod(0o757)

    assert said(folder) == [
        (
            "mode",
            "",
            f"{folder.path} is open to every user of this machine (mode 0757), who can write into it, and so run your tasks",
        )
    ]
    assert mended(folder) == (["mode"], ["group"])
    assert folder.path.stat().st_mode & 0o777 == 0o750


def test_a_file_that_its_owner_cannot_use_is_opened_by_mending(folder, post):
    post("a")
    folder.queue().chmod(0o400)
    disk.make_folder(folder.workers)
    folder.workers.chmod(0o600)

    assert mended(folder)[0][:2] == ["mode", "mode"]
    assert [path.stat().st_mode & 0o777 for path in (folder.queue(), folder.workers)] == [0o600, 0o700]


@pytest.mark.parametrize("name", ["queue.jsonl", "queue.low.jsonl.lock", "results.jsonl", "workers/w.json", "logs", "sealed"])  # fmt: skip
@pytest.mark.parametrize("kind", ["link", "pipe", "socket", "names"])
def test_what_was_planted_is_named_and_neither_opened_nor_removed(folder, tmp_path, monkeypatch, name, kind):
    folder.make()
    disk.make_folder(folder.workers)
    target, path = tmp_path / "target", folder.path / name
    target.write_text("{}\n")
    monkeypatch.chdir(path.parent)  # the name of a socket must be short
    if kind == "link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    elif "." in name:
        path.hardlink_to(target)
    else:
        path.write_text("no folder")

    found = examine(folder)
    assert ("names" if kind == "names" and "." in name else "kind", name) in [(one.check, one.file) for one in found]
    mend(folder, found)

    assert os.path.lexists(path)
    assert target.read_text() == "{}\n"


def test_the_other_files_are_looked_at_beside_a_planted_one(folder, post):
    post("a")
    post_by_hand(folder, "junk\n")
    disk.make_folder(folder.workers)
    (folder.workers / "w.json").symlink_to("/")
    folder.queue("low").symlink_to("/")

    assert [one.check for one in examine(folder)] == ["kind", "kind", "lines"]


@pytest.mark.parametrize("name", ["", "workers", "sealed", "logs", "edits"])
@pytest.mark.parametrize("bits", [0o500, 0o300, 0o600, 0])
def test_a_folder_that_its_owner_cannot_use_is_opened_by_mending(folder, name, bits):
    """Root could use it all the same, and is told as well."""
    folder.make()
    place = folder.path / name
    disk.make_folder(place)
    place.chmod(bits)
    who, can = (name, "read and written") if name else (folder.path, "read, written and entered")

    found = examine(folder)
    mend(folder, found)

    assert found == [
        Finding(
            check="mode",
            file=name,
            what=f"{who} cannot be {can} by you (mode {bits:04o})",
            remedy=f"Open it: chmod u+rwx {place}",
            mends="opened to you",
        )
    ]
    assert (examine(folder), place.stat().st_mode & 0o777) == ([], 0o700)


@pytest.fixture
def commons():
    """A folder that another user can get into; the queue folder in it is that user's."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o711)
        folder = Folder(Path(place) / "queue_dir")
        folder.make()
        for path in (folder.workers, folder.sealed, folder.logs, folder.edits):
            disk.make_folder(path)
        post_by_hand(folder, "junk\n")
        for path in [folder.path, *folder.path.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        yield folder


@root_only
@pytest.mark.parametrize("name", ["workers", "sealed", "logs", "edits"])
def test_a_place_that_cannot_be_looked_into_is_told_and_the_others_are_looked_at(commons, name):
    (commons.path / name).chmod(0)

    checks = in_child(lambda: [(one.check, one.file) for one in examine(commons)], NOBODY)

    told = [("mode", name), ("lines", "queue.jsonl")]
    assert checks == str(told if name != "sealed" else told[:1])  # whose names say how the lines are counted


@root_only
def test_of_a_folder_that_cannot_be_looked_into_it_is_told_why_and_mended(commons):
    commons.path.chmod(0)

    def look_and_mend():
        found = examine(commons)
        return [one.check for one in found], mend(commons, found), [one.check for one in examine(commons)]

    assert in_child(look_and_mend, NOBODY) == "(['mode'], [], ['lines'])"


@root_only
def test_of_another_users_folder_it_is_told_whose_it_is(commons):
    me = NOBODY - 1

    said = in_child(lambda: examine(commons), me)

    assert said == str(
        [
            Finding(
                check="owner",
                what=f"{commons.path} belongs to user {NOBODY}, and you are user {me}: pmtq refuses it",
                remedy=f"Work as that user, or make it yours: chown -R {me} {commons.path}",
            )
        ]
    )


@pytest.mark.parametrize("name", ["", "logs"])
def test_a_place_that_something_else_than_its_mode_closes_is_told(folder, monkeypatch, name):
    folder.make()
    disk.make_folder(folder.logs)
    place = folder.path / name
    monkeypatch.setattr(surroundings, "can_look_into", lambda path: path != place)
    monkeypatch.setattr(examining, "can_look_into", lambda path: path != place)

    assert examine(folder) == [
        Finding(
            check="unreadable",
            file=name,
            what=f"{name or place} cannot be looked into by you (user {os.geteuid()}), though its mode, 0700, allows it",
            remedy=f"See what else forbids it: getfacl {place}",
        )
    ]


def test_what_is_to_be_typed_names_a_path_in_which_a_shell_would_see_several_words_as_one(tmp_path, monkeypatch):
    folder = Folder(tmp_path / "my proj's" / "queue_dir")
    folder.make()
    disk.make_folder(folder.workers)
    disk.make_folder(folder.sealed)
    schedule, notes, draft = folder.path / "schedule.json", folder.notes("w"), folder.sealed / "erasing.draft"
    for path in (schedule, notes, draft, folder.queue("a"), folder.queue("b")):
        path.touch(0o600)
    schedule.write_text("{")
    folder.queue("a").chmod(0o400)
    (tmp_path / "b").hardlink_to(folder.queue("b"))
    (folder.path / "c.lock").symlink_to("nowhere")
    let_rest(draft)
    folder.path.chmod(0o557)
    monkeypatch.setattr(surroundings, "LEAST_ROOM", 2**60)
    monkeypatch.setattr(surroundings, "can_look_into", lambda path: path != folder.workers)

    with Journal(folder.queue("c")).hold():
        found = examine(folder)

    named = [
        ("mode", folder.path), ("mode", folder.path), ("kind", folder.path), ("mode", folder.queue("a")),
        ("names", folder.queue("b")), ("unreadable", folder.workers), ("lock", folder.path / "queue.c.jsonl.lock"),
        ("room", folder.path), ("schedule", schedule), ("leftover", notes), ("draft", draft),
    ]  # fmt: skip
    assert [one.check for one in found] == [check for check, _ in named]
    told = [shlex.split(one.remedy.partition(": ")[2]) for one in found]
    assert [check for (check, path), words in zip(named, told, strict=True) if str(path) not in words] == []


def test_what_belongs_to_another_user_is_named(folder, post, monkeypatch):
    post("a")
    me = os.geteuid()
    monkeypatch.setattr("pmtq.surroundings.os.geteuid", lambda: me + 1)

    found = examine(folder)

    assert [one.check for one in found] == ["owner"] * 3
    assert found[0].what == f"{folder.path} belongs to user {me}, and you are user {me + 1}: pmtq refuses it"


# The machine


def test_a_lock_that_is_kept_is_told_with_its_holder_and_nothing_is_mended_meanwhile(folder, post):
    post("a")
    post_by_hand(folder, "junk\n")
    with Journal(folder.queue()).hold():
        found = examine(folder)
        (trouble,) = mend(folder, found)

    assert [one.check for one in found] == ["lock", "lines", "nobody"]
    assert found[0].what.startswith("queue.jsonl.lock is held by ")
    assert isinstance(trouble, LockHeld)
    assert str(trouble) == "the rest was not mended while others keep queue.jsonl.lock. Try again then"
    assert not folder.rejected.exists()
    assert [one.check for one in examine(folder)] == ["lines", "nobody"]


@pytest.mark.parametrize(
    ("name", "lock"),
    [
        ("queue.jsonl", "queue.jsonl.lock"),
        ("sealed/erasing.draft", "results.jsonl.lock"),
        ("schedule.json.new", "schedule.json.edit.lock"),
        ("queue.low.jsonl", "results.jsonl.lock"),
    ],
)
def test_a_lock_that_is_taken_between_the_look_and_the_mending_is_named_with_its_holder_and_what_it_keeps(
    folder, name, lock
):
    folder.make()
    disk.make_folder(folder.sealed)
    (folder.path / name).write_text('junk\n{"function":"tasks.ad' if name == "queue.jsonl" else "junk\n")
    (folder.path / name).chmod(0o600)
    let_rest(folder.path / name)
    found = [one for one in examine(folder) if one.check != "lines" or name == "queue.low.jsonl"]
    assert [one.file for one in found] == [name]
    keeper = Lock(folder.path / lock)
    keeper.take()
    who = holder_of(keeper._descriptor)

    troubles = mend(folder, found)

    keeper.free()
    path = folder.path / lock
    assert [(type(one), str(one)) for one in troubles] == [
        (
            LockHeld,
            f"{name} could not be mended: {path} is held by {who}. Try again when it is let go. See who: lsof {path}",
        )
    ]
    assert mend(folder, found) == []
    assert examine(folder) == []


def test_a_bad_lock_hides_nothing_else_of_the_machine(folder, monkeypatch, nobody_hears):
    folder.make()
    (folder.path / "a.lock").symlink_to("nowhere")
    monkeypatch.setattr(surroundings, "LEAST_ROOM", 2**60)
    monkeypatch.setattr(surroundings, "_kind_of_file_system", lambda _: "nfs4")
    monkeypatch.setattr(disk, "nudge", lambda _: None)

    with Journal(folder.queue()).hold():
        found = examine(folder)

    assert [(one.check, one.file) for one in found] == [
        ("kind", "a.lock"),
        ("lock", "queue.jsonl.lock"),
        ("room", ""),
        ("disk", ""),
        ("notifications", ""),
    ]


def test_a_lock_that_cannot_be_tried_hides_no_other(folder, monkeypatch):
    folder.make()
    (folder.path / "a.lock").touch(0o600)
    open_file = disk.open_file

    def refuse(path, **options):
        if path.name == "a.lock":
            raise OperationalError("cannot open a.lock.")
        return open_file(path, **options)

    monkeypatch.setattr(disk, "open_file", refuse)
    with Journal(folder.queue()).hold():
        assert said(folder) == [
            ("unreadable", "", "cannot open a.lock"),
            ("lock", "queue.jsonl.lock", examine(folder)[1].what),
        ]


def test_the_holder_of_a_lock_is_named_as_whoever_waits_for_it_names_it(folder):
    folder.make()
    journal = Journal(folder.queue())
    with journal.hold():
        (found,) = examine(folder)
        who = holder_of(journal._lock_descriptor)

    lock = journal.lock_path
    assert (found.what, found.remedy) == (
        f"queue.jsonl.lock is held by {who}, and all others wait for it",
        f"See what it is: lsof {lock}",
    )


def test_the_lock_that_a_scheduler_keeps_is_no_problem(folder):
    folder.make()
    lock = Lock(folder.path / "schedule.json.lock")
    lock.take()

    assert examine(folder) == []
    lock.free()


def test_a_disk_that_is_nearly_full_is_told(folder, monkeypatch):
    folder.make()
    real = os.statvfs(folder.path)
    fields = list(real)
    fields[4] = 5 * 2**20 // real.f_frsize
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))

    assert said(folder) == [("room", "", f"the disk of {folder.path} has 5 MB left; 64 MB would be safe")]


def test_a_disk_without_inodes_is_told(folder, monkeypatch):
    folder.make()
    fields = list(os.statvfs(folder.path))
    fields[4], fields[5], fields[7] = 2**40, 1000, 0
    fields[8] = 0
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))

    (found,) = examine(folder)

    assert found.what == f"the disk of {folder.path} can take no new file (all 1,000 inodes are in use)"


def test_a_network_file_system_is_told(folder, monkeypatch):
    folder.make()
    mounts = [
        "1 1 0:1 / / rw - ext4 /dev/root rw",
        f"2 1 0:2 / {str(folder.path.resolve().parent).replace(' ', chr(92) + '040')} rw,noatime shared:1 - nfs4 host:/x rw",
    ]
    monkeypatch.setattr(surroundings, "_mounts", lambda: mounts)

    (found,) = examine(folder)

    assert (found.check, found.what.partition("(")[2][:5], found.is_note) == ("disk", "nfs4)", False)


def test_watches_that_are_used_up_are_told(folder, post, lives, monkeypatch):
    post("a")

    def refuse():
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    monkeypatch.setattr(watch, "_new_observer", refuse)

    (found,) = examine(folder)

    assert found.what.startswith(
        f"this system cannot watch {folder.path} (inotify watch limit reached) (max_user_watches is "
    )
    assert found.remedy.startswith("Raise the limits: sudo sysctl fs.inotify.max_user_watches=524288")


def test_a_folder_whose_changes_are_not_notified_is_a_note(folder, post, lives, monkeypatch, nobody_hears):
    post("a")
    monkeypatch.setattr(disk, "nudge", lambda _: None)

    (found,) = examine(folder)

    assert (found.what, found.is_note) == (
        f"changes in {folder.path} are not notified, so programs look for themselves, twenty times a second",
        True,
    )


def test_a_full_disk_while_mending_is_an_error_and_takes_nothing_away(folder, post, monkeypatch):
    post("a")
    post_by_hand(folder, "junk\n")
    before = folder.queue().read_bytes()

    def full(*_):
        raise OperationalError("no space")

    monkeypatch.setattr(disk, "append", full)

    assert [str(one) for one in mend(folder, examine(folder))] == ["no space"]
    assert folder.queue().read_bytes() == before


def test_what_an_edit_has_sealed_is_tidied_by_mending_and_what_came_late_is_kept(folder, post, monkeypatch, hand):
    post("a")
    one = Draft(folder, "celery")
    with folder.queue().open("ab", buffering=0) as shell:
        one.put(one.text + b'{"function":"tasks.add"}\n', NOW)
        shell.write(b'{"task_id":"late","function":"tasks.add"}\n')
    one.close()
    later(monkeypatch)

    assert mended(folder) == (["sealed", "nobody"], ["nobody"])
    assert sorted(name for name in hand().run_all() if len(name) < 9) == ["a", "late"]
    assert isinstance(folder, Folder)
