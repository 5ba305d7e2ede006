"""A person edits a queue file while others post into it and run what stands there: nothing is lost, nothing runs twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from functools import partial

import pytest

from pmtq import disk, editing, sealing
from pmtq.broker import Broker
from pmtq.control import Control
from pmtq.editing import Draft, NotEditedError, Outcome, Slip
from pmtq.exceptions import LockHeld
from pmtq.folder import Folder
from pmtq.journal import Journal
from pmtq.moving import move
from pmtq.records import TaskRecord, timestamp
from tests.support import NOW, Hand, all_states, life, post_by_hand, queued, read_lines

SENT = timestamp(NOW - 10)
NOTHING = Outcome(0, [], [], {}, 0)


@pytest.fixture
def post(folder):
    """A function that publishes records of ``tasks.add`` under these ids, as a client does that ends at once."""

    def publish(*ids, queue="celery", **fields):
        broker = Broker(folder)
        for task_id in ids:
            record = TaskRecord(task_id=task_id, function="tasks.add", params=[1], sent=SENT, **fields)
            broker.publish(record, queue)
        broker.close()

    return publish


@pytest.fixture
def draft(folder):
    """A function that opens a queue for editing."""
    opened = []

    def open_it(queue="celery"):
        opened.append(Draft(folder, queue))
        return opened[-1]

    yield open_it
    for one in opened:
        one.close()


def after_grace():
    return time.time() + sealing.GRACE + 1


def line(task_id, params="[1]"):
    return f'{{"task_id":"{task_id}","function":"tasks.add","params":{params},"sent":"{SENT}"}}\n'.encode()


def ids(folder, queue="celery"):
    return [record.get("task_id") for record in read_lines(folder.queue(queue))]


def runs(folder):
    """Return how often each task was started."""
    return Counter(state["task_id"] for state in all_states(folder) if state["status"] == "STARTED")


def test_a_person_sees_what_waits_as_it_was_typed_and_not_what_has_ended(folder, post, draft, hand):
    post("a", "b")
    post_by_hand(folder, '--{\n  "function": "tasks.add"\n}--\n{"function": "oops\n')
    worker = hand()
    worker.settle(*worker.claim())

    one = draft()

    assert (one.text, one.left_out) == (
        line("b") + b'--{\n  "function": "tasks.add"\n}--\n{"function": "oops\n',
        1,
    )


def test_a_changed_record_runs_as_it_was_changed_and_the_others_as_they_were(folder, post, draft, hand):
    post("a", "b", "c")
    one = draft()

    done = one.put(one.text.replace(line("b"), line("b", "[7]")), NOW)

    assert done == NOTHING._replace(changed=["b"])
    assert read_lines(folder.queue()) == [
        {"task_id": "a", "function": "tasks.add", "params": [1], "sent": SENT},
        {"task_id": "b", "function": "tasks.add", "params": [7], "sent": SENT},
        {"task_id": "c", "function": "tasks.add", "params": [1], "sent": SENT},
    ]
    assert hand().run_all() == ["a", "b", "c"]


def test_what_was_posted_meanwhile_stands_behind_what_was_edited(folder, post, draft, hand):
    post("a")
    one = draft()
    post("b")
    post_by_hand(folder, '{"function":"tasks.add"}\n')

    done = one.put(line("new") + one.text, NOW)

    assert done == NOTHING._replace(added=1, behind=2)
    assert hand().run_all()[:3] == ["new", "a", "b"]
    assert len(runs(folder)) == 4


def test_records_run_in_the_order_in_which_they_were_put(folder, post, draft, hand):
    post("a", "b", "c")
    one = draft()

    done = one.put(line("c") + line("a") + line("b"), NOW)

    assert (done, hand().run_all()) == (NOTHING, ["c", "a", "b"])


def test_a_hand_made_line_that_was_left_alone_keeps_the_id_it_was_given(folder, draft, hand):
    post_by_hand(folder, '{"function":"tasks.add"}\n' * 3)
    worker = hand()
    first = worker.claim()  # it runs while the others are edited
    one = draft()
    given = [f"{first[0].record.task_id[:-1]}{number}" for number in (1, 2, 3)]

    one.put(b'{"function":"tasks.add","params":[5]}\n' + one.text, NOW)

    worker.settle(*first)
    assert worker.run_all()[1:] == given[1:]
    assert (list(runs(folder).values()), queued(folder)[0]) == ([1] * 4, ("tasks.add", [5]))


def test_of_equal_hand_made_lines_as_many_run_as_are_left(folder, draft, hand):
    post_by_hand(folder, '{"function":"tasks.add"}\n' * 3)
    worker = hand()
    worker.settle(*worker.claim())
    one = draft()

    done = one.put(b'{"function":"tasks.add"}\n', NOW)

    assert (len(done.called_off), len(worker.run_all())) == (1, 1)


def test_a_line_that_was_taken_out_may_be_typed_again(folder, draft, hand):
    post_by_hand(folder, '{"function":"tasks.add"}\n' + line("later").decode())
    one = draft()
    one.put(line("later"), NOW)

    post_by_hand(folder, '{"function":"tasks.add"}\n')

    assert len(hand().run_all()) == 2


def test_a_hand_made_line_that_was_changed_is_another_one(folder, draft, hand):
    post_by_hand(folder, '{"function":"tasks.add","params":[1]}\n')
    one = draft()

    done = one.put(b'{"function":"tasks.add","params":[2]}\n', NOW)

    assert (done.added, len(done.called_off)) == (1, 1)
    assert (hand().run_all(), list(runs(folder).values())) == ([*runs(folder)], [1])


def test_a_record_that_was_taken_out_is_called_off_and_can_be_posted_again(app, folder, post, draft, hand):
    post("a", "b", queue="low")
    one = draft("low")

    done = one.put(line("b"), NOW)

    assert done == NOTHING._replace(called_off=["a"])
    worker = hand(queues=["low"])
    assert (worker.run_all(), life(folder, "a")) == (["b"], [("REVOKED", 0)])
    assert [line["queue"] for line in all_states(folder) if line["status"] == "REVOKED"] == ["low"]
    again = Control(app).requeue("a")
    assert (queued(folder, "low")[-1], ids(folder, "low")[-1]) == (("tasks.add", [1]), again.id)


def test_who_waits_for_a_record_that_was_taken_out_does_not_wait_in_vain(folder, post, draft, hand):
    post("a", followers=["b"])
    post("b", after="a")
    one = draft()

    one.put(one.text.splitlines(keepends=True)[1], NOW)
    hand().run_all()

    assert life(folder, "b") == [("FAILURE", 0)]


def test_a_task_that_ended_while_it_was_edited_is_not_run_again(folder, post, draft, hand):
    post("a", "b")
    one = draft()
    worker = hand()
    worker.settle(*worker.claim())

    one.put(line("c") + one.text, NOW)

    assert (ids(folder), worker.run_all()) == (["c", "b"], ["c", "b"])


def test_a_change_to_a_task_that_has_ended_meanwhile_is_refused_and_nothing_is_changed(folder, post, draft, hand):
    post("a", "b")
    one = draft()
    worker = hand()
    text = one.text.replace(line("a"), line("a", "[7]"))
    first = worker.claim()
    assert one.check(text) == []
    worker.settle(*first)
    before = folder.queue().read_bytes()

    with pytest.raises(NotEditedError) as caught:
        one.put(text, NOW)

    reason = "a task with the id a has ended, so this one would not run"
    assert str(caught.value) == f"{reason}. Take its task_id out, and it runs as another task. Nothing was changed."
    assert one.check(text) == [Slip(1, 1, reason, "Take its task_id out, and it runs as another task")]
    assert folder.queue().read_bytes() == before


def test_a_task_that_a_worker_runs_goes_on_as_it_was(folder, post, draft, hand):
    post("a", "b", "c")
    one = draft()
    worker = hand()
    claims = worker.claim(2)

    done = one.put(line("a", "[7]") + line("c"), NOW)

    assert done == NOTHING._replace(changed=["a"], called_off=["b"], running={"a": "worker1@test", "b": "worker1@test"})
    worker.settle(*claims)
    assert worker.run_all() == ["c"]
    assert [life(folder, one)[-1] for one in "ab"] == [("SUCCESS", 1)] * 2


def test_a_task_that_was_taken_out_while_it_ran_is_not_started_again(folder, post, draft, hand):
    post("a", "b")
    worker = hand("w1")
    worker.claim()
    one = draft()
    one.put(line("b"), NOW)

    worker.die()

    assert (hand("w2").run_all(), runs(folder)["a"]) == (["b"], 1)


def test_an_edit_holds_though_the_file_was_cleared_meanwhile(folder, post, draft, hand, monkeypatch):
    monkeypatch.setattr(sealing, "is_outgrown", lambda *_, **__: True)
    post("a", "b")
    post_by_hand(folder, '{"function":"tasks.add"}\n')
    worker = hand()
    one = draft()
    worker.settle(*worker.claim())
    worker.claimer.tidy(time.time(), idle=True)
    post("c")

    done = one.put(one.text.replace(line("b"), line("b", "[7]")), NOW)

    assert done == NOTHING._replace(changed=["b"], behind=1)
    assert [record["params"] for record in read_lines(folder.queue()) if record["task_id"] == "b"] == [[7]]
    assert (worker.run_all()[0], set(runs(folder).values()), len(runs(folder))) == ("b", {1}, 4)


@pytest.mark.parametrize("text", [line("a", "[3]"), b""], ids=["changed", "taken out"])
def test_of_two_people_who_change_one_record_the_second_is_told(folder, post, draft, text):
    post("a")
    one, two = draft(), draft()
    one.put(line("a", "[2]"), NOW)
    before = folder.queue().read_bytes()

    with pytest.raises(NotEditedError) as caught:
        two.put(text, NOW)

    message = f"task a was changed by another hand in {folder.queue()} meanwhile. Nothing was changed."
    assert (str(caught.value), folder.queue().read_bytes()) == (message, before)


def test_two_people_may_change_two_records(folder, post, draft, hand):
    post("a", "b")
    one, two = draft(), draft()
    one.put(line("a", "[2]") + line("b"), NOW)

    two.put(line("a") + line("b", "[3]"), NOW)

    assert [record["params"] for record in read_lines(folder.queue())] == [[2], [3]]
    assert hand().run_all() == ["a", "b"]


def test_a_record_that_another_hand_has_taken_out_does_not_come_back(folder, post, draft):
    post("a", "b")
    one, two = draft(), draft()
    one.put(line("b"), NOW)

    two.put(line("new") + two.text, NOW)

    assert ids(folder) == ["new", "b"]


def test_a_change_in_the_middle_that_left_length_and_name_alone_is_noticed(folder, post, draft):
    post("a", "b", "c")
    one = draft()
    with folder.queue().open("r+b") as file:
        file.write(line("a", "[9]"))

    one.put(line("new") + one.text, NOW)

    assert [record["params"] for record in read_lines(folder.queue())] == [[1], [9], [1], [1]]


@pytest.mark.parametrize(
    ("text", "slips"),
    [
        (
            b'{"function":"tasks.add",}\n',
            [Slip(1, 24, "found a comma with nothing behind it", "Take the last comma away")],
        ),
        (
            line("a") + "\n--{\n  “function”: 1\n}--\n".encode(),
            [Slip(4, 3, "found a typographic quote (“)", 'Use the plain quote "')],
        ),
        (
            b'--{\n  "function": "f"\n',
            [Slip(2, 18, "a record that begins with --{ never ends", "Close it with a line }--")],
        ),
        (
            line("a") + line("a", "[2]"),
            [Slip(2, 1, "the task_id a stands in line 1 already", "Take it out of one of the two, and that one gets an id of its own")],
        ),
        (
            line("done", "[2]"),
            [Slip(1, 1, "a task with the id done has ended, so this one would not run", "Take its task_id out, and it runs as another task")],
        ),
        (line("a").rstrip(b"\n"), []),
        (b"", []),
    ],
    ids=["comma", "quote", "endless", "twice", "ended", "no newline", "empty"],
)  # fmt: skip
def test_slips_are_found_as_a_worker_would_find_them(post, draft, hand, text, slips):
    post("done")
    hand().run_all()
    post("a")

    assert draft().check(text) == slips


def test_a_block_that_was_not_finished_can_be_finished(folder, draft, hand):
    post_by_hand(folder, line("a").decode() + '--{\n  "function": "tasks.add",\n')
    one = draft()
    assert one.text.endswith(b'tasks.add",\n')

    done = one.put(one.text + b'  "params": [2]\n}--\n', NOW)

    assert (done.added, done.behind, len(hand().run_all()), runs(folder)["a"]) == (1, 0, 2, 1)


def test_half_a_line_that_was_finished_does_not_come_back_from_the_old_file(folder, post, draft, hand):
    post_by_hand(folder, '{"function":"tasks.a')
    one = draft()
    one.put(b'{"function":"tasks.add"}\n', NOW)
    one.close()  # nobody can go on writing it: else it would be waited for

    worker = hand()
    ran = len(worker.run_all())
    for _ in range(3):
        worker.claimer.tidy(after_grace(), idle=True)
        ran += len(worker.run_all())

    assert (ran, folder.rejected.exists()) == (1, False)


@pytest.mark.parametrize("rest", [b'{"function":"tasks.a', b'--{\n "function"'])
def test_half_a_line_that_somebody_has_ended_meanwhile_is_still_what_the_person_saw(folder, post, draft, hand, rest):
    post_by_hand(folder, rest)
    one = draft()
    post("b")  # ends the half line first

    one.put(b'{"function":"tasks.add"}\n', NOW)

    assert len(hand().run_all()) == 2
    assert not folder.rejected.exists()


def test_half_a_line_that_was_written_on_meanwhile_is_left_alone(folder, draft, hand):
    post_by_hand(folder, '{"function":"tasks.')
    one = draft()
    post_by_hand(folder, 'add"}\n')

    with pytest.raises(
        NotEditedError, match=r"which was not finished, has been written on meanwhile\. Nothing was changed"
    ):
        one.put(b'{"function":"tasks.add","params":[2]}\n', NOW)

    assert len(hand().run_all()) == 1


def test_a_last_line_without_a_newline_is_a_record_like_the_others(folder, draft, hand):
    post_by_hand(folder, '{"function":"tasks.add"}')
    one = draft()

    assert one.text == b'{"function":"tasks.add"}\n'
    assert one.put(line("new") + one.text, NOW) == NOTHING._replace(added=1)
    assert len(hand().run_all()) == 2


def test_whoever_has_the_old_file_open_may_go_on_writing(folder, post, draft, hand):
    post("a")
    one = draft()
    worker = hand()
    with folder.queue().open("ab", buffering=0) as shell:
        one.put(line("b") + one.text, NOW)
        shell.write(line("late"))
    worker.run_all()

    worker.claimer.tidy(after_grace(), idle=True)

    assert worker.run_all() == ["late"]
    assert set(runs(folder).values()) == {1}


def test_a_record_that_was_moved_elsewhere_is_not_shown_and_not_lost(folder, post, draft, hand):
    post("a", "b")
    move(folder, "a", "low", 0)
    one = draft()
    assert one.text == line("b")

    one.put(line("new") + one.text, NOW)

    assert ids(folder) == ["a", "new", "b"]
    assert hand(queues=["celery", "low"]).run_all().count("a") == 1


def test_a_queue_without_a_file_is_begun(folder, draft, hand):
    folder.make()
    one = draft("low")

    assert (one.text, one.put(line("a"), NOW)) == (b"", NOTHING._replace(added=1))
    assert hand(queues=["low"]).run_all() == ["a"]


def test_a_lock_that_another_program_keeps_is_not_waited_for_for_ever(folder, post, draft, monkeypatch):
    monkeypatch.setattr(editing, "TRIES", 2)
    post("a")
    one = draft()
    before = folder.queue().read_bytes()

    with (
        Journal(folder.queue()).hold(),
        pytest.raises(LockHeld, match=r"is held by process \d+ \(.*\)\. Nothing was changed"),
    ):
        one.put(line("b"), NOW)

    assert folder.queue().read_bytes() == before
    assert one.put(line("b"), NOW).called_off == ["a"]


class Killed(BaseException):
    """Stands for ``kill -9``: nothing in the program handles it."""


EFFECTS = ("append", "rename", "remove", "make_folder", "open_file", "fsync")


class Fuse:
    """Lets so many effects on the disk happen, and then no more."""

    def __init__(self, steps, monkeypatch):
        self.left = steps
        for name in EFFECTS:
            monkeypatch.setattr(disk, name, partial(self.burn, getattr(disk, name)))

    def burn(self, effect, *arguments, **options):
        if not self.left:
            raise Killed
        self.left -= 1
        return effect(*arguments, **options)


def test_a_kill_at_any_step_loses_nothing_and_runs_nothing_twice_that_was_left_alone(tmp_path, monkeypatch):
    """What was added or taken out has happened or has not; a record that was changed runs once, as one or the other."""
    steps = 0
    while kill_at(steps, tmp_path, monkeypatch):
        steps += 1
    assert steps > 8


def kill_at(step, tmp_path, monkeypatch):
    """Edit, dying at that effect on the disk, then let a worker finish; say whether there was such an effect."""
    folder = Folder(tmp_path / str(step))
    post_by_hand(folder, line("kept") + line("changed") + b'{"function":"tasks.add"}\n' * 2 + line("out"))
    one = Draft(folder, "celery")
    post_by_hand(folder, line("meanwhile"))
    edited = one.text.replace(line("out"), b"").replace(line("changed"), line("changed", "[7]")) + line("new")
    died = False
    with monkeypatch.context() as patch:
        Fuse(step, patch)
        try:
            one.put(edited, NOW)
        except Killed:
            died = True
    one.close()

    worker = Hand(folder, "w", {"tasks.add": True}, ["celery"])
    worker.run_all()
    for _ in range(2):
        worker.claimer.tidy(after_grace(), idle=True)
        worker.run_all()
    worker.presence.leave()
    started = runs(folder)
    by_hand = [started.pop(one) for one in list(started) if one.startswith("by-hand-")]
    optional = {name: started.pop(name, 0) for name in ("new", "out")}
    assert (by_hand, started) == ([1, 1], Counter(["kept", "changed", "meanwhile"])), step
    assert set(optional.values()) <= {0, 1}, step
    assert died or optional == {"new": 1, "out": 0}
    return died


CLIENT = """
import sys
from pathlib import Path
from pmtq import PMTQ
app = PMTQ("tasks", broker=f"file://{sys.argv[1]}")
for number in range(300):
    app.send_task("tasks.add", [number], task_id=f"{sys.argv[2]}-{number}")
"""


def test_edits_among_clients_and_workers_at_work_lose_nothing_and_double_nothing(folder, app, post, draft, work_until):
    post(*(f"waits-{number}" for number in range(20)), eta="2099-01-01T00:00:00Z")
    clients = [subprocess.Popen([sys.executable, "-c", CLIENT, str(folder.path), name]) for name in "pq"]
    expected = Counter(
        [f"{name}-{number}" for name in "pq" for number in range(300)] + [f"mine-{n}" for n in range(20)]
    )
    edits = 0

    def edit():
        """Take one of those that wait out, and put one that runs at once in, as often as the worker is looked at."""
        nonlocal edits
        if edits < 20:
            one = draft()
            lines = [text for text in one.text.splitlines(keepends=True) if f'"waits-{edits}"'.encode() not in text]
            one.put(b"".join(lines) + line(f"mine-{edits}"), time.time())
            one.close()
            edits += 1
        return edits == 20 and all(client.poll() == 0 for client in clients) and runs(folder) == expected

    work_until(app, edit)

    assert os.path.exists(folder.queue())
    assert runs(folder) == expected
    assert [life(folder, f"waits-{number}") for number in range(20)] == [[("REVOKED", 0)]] * 20


def test_results_are_on_the_disk_before_the_queue_loses_the_records_they_end(folder, post, draft, hand, monkeypatch):
    post("a", "b")
    worker = hand()
    worker.settle(*worker.claim())
    one = draft()
    results, order = folder.results.stat().st_ino, []
    fsync, rename = disk.fsync, disk.rename
    monkeypatch.setattr(disk, "fsync", lambda it: order.append(os.fstat(it).st_ino == results) or fsync(it))
    monkeypatch.setattr(disk, "rename", lambda *names: order.append("sealed") or rename(*names))

    one.put(line("new") + one.text, NOW)

    assert True in order[: order.index("sealed")]
