"""Both files stay short, and nothing is lost or doubled on the way out."""

import errno
import os
import random
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from functools import partial

import pytest

from pmtq import PMTQ, disk, sealing
from pmtq.exceptions import LockHeld, OperationalError
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.journal import Journal
from pmtq.records import StateRecord, decode_task, timestamp
from pmtq.revoking import Revoking
from pmtq.states import LOST, RELEASED, STARTED, SUCCESS
from tests.support import Hand, life, post_by_hand, read_lines


@pytest.fixture
def send(app):
    """A function that posts as a client does that ends at once: it keeps no file open."""

    def send(task_id, name="tasks.add", **options):
        app.send_task(name, [1], task_id=task_id, **options)
        for journal in app.broker._files.values():
            journal.close()

    return send


@pytest.fixture
def outgrown(monkeypatch):
    """Make any results file count as too long, so that tidying seals everything."""
    monkeypatch.setattr(sealing, "is_outgrown", lambda *_, **__: True)


def after_grace():
    """Return a moment at which a file sealed just now may go."""
    return time.time() + sealing.GRACE + 1


def tidy(worker, *, idle=True, now=None):
    worker.claimer.tidy(time.time() if now is None else now, idle=idle)


def queue_ids(folder):
    return [line["task_id"] for line in read_lines(folder.queue())]


def sealed(folder):
    return sorted(path.name for path in folder.sealed.iterdir()) if folder.sealed.exists() else []


def test_a_queue_whose_records_are_all_final_is_cleared_when_its_worker_is_idle(hand, send, folder):
    send("a")
    send("b")
    one = hand("w1")
    one.run_all()

    tidy(one)

    assert folder.queue().read_bytes() == b""
    assert sealed(folder) == ["queue.0.jsonl"]
    assert life(folder, "a") == [(STARTED, 1), (SUCCESS, 1)]
    assert read_lines(folder.results)[-1]["sealed"] == "queue.0.jsonl"


def test_a_sealed_file_is_kept_for_the_grace_time_and_then_removed(hand, send, folder):
    send("a")
    one = hand("w1")
    one.run_all()
    tidy(one)

    tidy(one)
    within = sealed(folder)
    tidy(one, now=after_grace())

    assert (within, sealed(folder)) == (["queue.0.jsonl"], [])


def test_a_queue_is_not_cleared_while_a_record_in_it_is_owed(hand, send, folder):
    send("a")
    send("later", eta="2099-01-01")
    one = hand("w1")
    one.run_all()

    tidy(one)

    assert queue_ids(folder) == ["a", "later"]


def test_a_queue_is_not_cleared_while_another_worker_runs_one_of_its_tasks(hand, send, folder):
    send("a")
    send("b")
    one, two = hand("w1"), hand("w2")
    two.claim()
    one.run_all()

    tidy(one)

    assert queue_ids(folder) == ["a", "b"]


def test_a_queue_is_not_cleared_while_it_holds_a_task_that_the_worker_does_not_know(hand, send, folder):
    send("a")
    send("x", name="tasks.ship")
    one = hand("w1")
    one.run_all()

    tidy(one)

    assert queue_ids(folder) == ["a", "x"]


def test_a_busy_worker_does_not_clear(hand, send, folder):
    send("a")
    one = hand("w1")
    one.run_all()

    tidy(one, idle=False)

    assert queue_ids(folder) == ["a"]


def test_once_another_worker_has_run_the_unknown_task_the_queue_is_cleared(hand, send, folder):
    send("x", name="tasks.ship")
    send("a")
    one, two = hand("w1"), hand("w2", {"tasks.ship": True})
    one.run_all()
    two.run_all()
    one.claim()

    tidy(one)

    assert folder.queue().read_bytes() == b""


def test_when_the_results_are_outgrown_they_start_afresh_with_what_is_owed(hand, send, folder, outgrown):
    for name in "abc":
        send(name)
    one = hand("w1")
    one.settle(*one.claim(), result=7)
    (held,) = one.claim()

    tidy(one, idle=False)

    assert queue_ids(folder) == ["b", "c"]
    assert [(line.get("task_id"), line.get("status")) for line in read_lines(folder.results)] == [
        ("b", "STARTED"),
        (None, None),
    ]
    assert sealed(folder) == ["queue.0.jsonl", "results.0.jsonl"]
    one.settle(held)
    assert one.run_all() == ["c"]


def test_how_often_a_task_was_started_survives_the_fresh_start(hand, send, folder, outgrown):
    for name in "abc":
        send(name)
    dead, one = hand("w-dead"), hand("w1")
    dead.claim(2)
    dead.die()
    one.claim(0)
    one.settle(*one.claim(0))
    assert life(folder, "a") == [(STARTED, 1), (LOST, 1)]

    tidy(one, idle=False)

    again = {claim.record.task_id: claim.started.attempt for claim in hand("w2").claim(9)}
    assert again == {"a": 2, "b": 1, "c": 1}


def test_a_result_is_readable_after_sealing(hand, app, send, folder, outgrown):
    send("a")
    one = hand("w1")
    one.settle(*one.claim(), result=7)
    waiting = app.AsyncResult("a")

    tidy(one)

    assert "a" not in [line.get("task_id") for line in read_lines(folder.results)]
    assert (waiting.state, waiting.get(timeout=1), app.AsyncResult("a").result) == (SUCCESS, 7, 7)


def test_results_expire_after_a_day_and_not_before(hand, send, folder, outgrown, app):
    send("a")
    one = hand("w1")
    one.settle(*one.claim(), result=7)
    tidy(one)
    tidy(one, now=after_grace())
    oldest = folder.sealed_results()[-1]

    one.claimer.tidy(oldest.stat().st_mtime + sealing.RESULT_EXPIRES - 60, idle=True)
    kept = oldest.exists()
    send("b")
    one.run_all()
    tidy(one)
    tidy(one, now=after_grace())
    late = oldest.stat().st_mtime + sealing.RESULT_EXPIRES + 60
    for _ in range(3):
        one.claimer.tidy(late, idle=True)

    assert kept
    assert life(folder, "a") == []


@pytest.mark.parametrize(("seconds", "kept"), [(60.0, False), (7200.0, True), (None, True), (0.0, True)])
def test_results_expire_after_as_many_seconds_as_wished(hand, send, folder, outgrown, seconds, kept):
    send("a")
    one = hand("w1")
    one.run_all()
    tidy(one)
    (oldest,) = folder.sealed_results()
    one.claimer.result_expires = seconds

    late = oldest.stat().st_mtime + 3600.0
    for _ in range(3):  # the queue that was sealed with it goes first
        one.claimer.tidy(late, idle=True)

    assert bool(life(folder, "a")) == kept


def test_results_that_were_just_sealed_do_not_go_in_place_of_expired_ones_whose_name_they_got(
    hand, send, folder, outgrown, monkeypatch
):
    one, other = hand("w1"), hand("w2")
    send("old")
    one.run_all()
    tidy(one)
    long_ago = time.time() - 7200
    os.utime(folder.sealed / "results.0.jsonl", (long_ago, long_ago))
    send("new")
    other.run_all()
    one.claimer.result_expires = other.claimer.result_expires = 3600.0
    faster = threading.Thread(target=tidy, args=(other,))
    real = disk.remove

    def remove(path):
        if threading.current_thread() is not faster and not faster.ident:
            faster.start()  # it removes the same file and seals the next one, unless the lock keeps it from that
            faster.join(0.3)
        real(path)

    monkeypatch.setattr(disk, "remove", remove)
    tidy(one)
    faster.join(10)

    assert life(folder, "new") == [(STARTED, 1), (SUCCESS, 1)]
    assert life(folder, "old") == []


def test_results_that_another_worker_has_just_sealed_are_not_sealed_again(hand, send, folder, monkeypatch):
    one, other = hand("w1"), hand("w2")
    for number in range(10):
        send(f"t{number}")
    one.run_all()
    other.run_all()
    monkeypatch.setattr(sealing, "is_outgrown", lambda results_bytes, *_, **__: results_bytes > 500)
    real = Journal.sync

    def sync(self):
        monkeypatch.setattr(Journal, "sync", real)
        tidy(other, idle=False)  # after one has found them too long, before it has the lock
        real(self)

    monkeypatch.setattr(Journal, "sync", sync)
    tidy(one, idle=False)

    assert sealed(folder) == ["queue.0.jsonl", "results.0.jsonl"]


def test_a_sealing_that_has_died_is_finished_at_the_first_look_after_the_grace_time(hand, send, folder, monkeypatch):
    monkeypatch.setattr(sealing, "SEAL_BYTES", 0)
    one = hand("w1")
    send("done")
    send("later", eta="2099-01-01")
    one.run_all()
    with monkeypatch.context() as patch:
        patch.setattr(sealing, "_carry", lambda *_: one.die() or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tidy(one)
    two = hand("w2")
    tidy(two)  # the results start afresh, and the sealed file is too young to be read once more

    tidy(two, now=after_grace())

    assert queue_ids(folder) == ["later"]


def test_a_task_another_worker_has_ended_is_not_carried_over_and_run_again(hand, send, folder, outgrown):
    """The first worker had looked at it and passed it over; then the other one took it."""
    for name in "abc":
        send(name)
    one, two = hand("w1"), hand("w2")
    (first,) = one.claim(1)
    assert two.claim(1)[0].record.task_id == "b"
    two.claimer.exchange([StateRecord("b", SUCCESS, 1, 1, "w2")], time.time())
    one.settle(first)

    tidy(one, idle=False)

    assert queue_ids(folder) == ["c"]
    assert hand("w3").run_all() == ["c"]


def test_a_task_of_an_unknown_function_that_another_worker_has_ended_is_not_run_again(hand, send, folder, outgrown):
    send("x", name="tasks.ship")
    for name in "abc":
        send(name)
    one, two = hand("w1"), hand("w2", {"tasks.ship": True})
    one.settle(*one.claim(2))
    assert two.run_all() == ["x"]

    tidy(one, idle=False)

    assert "x" not in queue_ids(folder)
    assert hand("w3", {"tasks.ship": True}).run_all() == []


def test_a_task_that_waited_for_its_time_and_was_ended_by_another_worker_is_not_run_again(hand, send, folder, outgrown):
    send("later", eta="2027-01-15T08:00:10Z")
    for name in "abc":
        send(name)
    one, two = hand("w1"), hand("w2")
    one.settle(*one.claim(2))
    (claim,) = two.claim(1, now=1_800_000_010.0)
    assert claim.record.task_id == "later"
    two.settle(claim)

    tidy(one, idle=False)

    assert hand("w3").run_all(now=1_900_000_000.0) == queue_ids(folder)
    assert "later" not in queue_ids(folder)


def test_a_hand_made_record_that_another_worker_is_running_keeps_its_name(hand, send, folder, outgrown):
    """A record without an id is told apart by the file it stands in: moved to another file, it must carry its id."""
    send("a")
    post_by_hand(folder, '{"function":"tasks.add","params":[5]}\n')
    one, two = hand("w1"), hand("w2")
    (first,) = one.claim(1)
    (by_hand,) = two.claim(1)
    one.settle(first)
    one.claim(0)

    tidy(one, idle=False)
    two.settle(by_hand)

    assert (one.run_all(), hand("w3").run_all()) == ([], [])


def test_a_hand_made_record_that_the_sealer_has_not_come_to_keeps_its_name(hand, send, folder, outgrown):
    send("a")
    one, two = hand("w1"), hand("w2")
    one.run_all()
    post_by_hand(folder, '{"function":"tasks.add","params":[5]}\n')
    (by_hand,) = two.claim(1)

    tidy(one, idle=False)
    two.settle(by_hand)

    assert (one.run_all(), two.run_all(), hand("w3").run_all()) == ([], [], [])


def test_records_that_were_only_looked_at_for_sealing_are_not_forgotten(hand, send, folder, outgrown):
    """A final state whose record is nowhere makes the sealer read on; what it meets on the way is owed all the same."""
    folder.path.mkdir(mode=0o700)
    folder.results.write_bytes(b"".join(b'{"task_id":"ghost%d","status":"SUCCESS"}\n' % n for n in range(50)))
    for name in "abc":
        send(name)
    one = hand("w1")
    one.claim(0)

    tidy(one, idle=False)
    tidy(one, idle=False)

    assert one.run_all() == ["a", "b", "c"]


def test_a_full_disk_while_sealing_makes_the_sealer_forget_no_record(hand, send, folder, outgrown, monkeypatch):
    folder.path.mkdir(mode=0o700)
    folder.results.write_bytes(b"".join(b'{"task_id":"ghost%d","status":"SUCCESS"}\n' % n for n in range(50)))
    for name in "abc":
        send(name)
    one = hand("w1")
    one.settle(*one.claim())

    def full(_):
        raise OperationalError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "make_folder", full)
        with pytest.raises(OperationalError):
            tidy(one, idle=False)
    tidy(one, idle=False)

    assert one.run_all() == ["b", "c"]
    assert hand("w2").run_all() == []


def test_hand_made_records_carried_over_run_once(hand, send, folder, outgrown):
    send("a")
    post_by_hand(
        folder, '{"function":"tasks.add","params":[5]}\n' * 2 + '--{\n"function":"tasks.add","params":[6]\n}--\n'
    )
    one = hand("w1")
    one.settle(*one.claim(1))

    tidy(one, idle=False)
    ran = one.run_all()
    tidy(one, now=after_grace())

    assert (len(ran), len(set(ran))) == (3, 3)
    assert (one.run_all(), hand("w2").run_all()) == ([], [])


def test_a_line_typed_again_after_clearing_runs_again(hand, folder):
    line = '{"function":"tasks.add","params":[5]}\n'
    post_by_hand(folder, line)
    one = hand("w1")
    first = one.run_all()
    tidy(one)
    tidy(one, now=after_grace())

    post_by_hand(folder, line)

    assert len(first) == 1
    assert len(one.run_all()) == 1


def test_a_line_typed_again_after_clearing_runs_again_in_a_worker_that_is_started_later(hand, folder):
    line = '{"function":"tasks.add","params":[5]}\n'
    post_by_hand(folder, line)
    one = hand("w1")
    (first,) = one.run_all()
    tidy(one)
    tidy(one, now=after_grace())
    one.presence.leave()

    post_by_hand(folder, line)
    (second,) = hand("w2").run_all()

    assert first != second


def test_two_workers_give_a_line_typed_after_clearing_the_same_name(hand, folder):
    line = '{"function":"tasks.add","params":[5]}\n'
    post_by_hand(folder, line)
    one, two = hand("w1"), hand("w2")
    one.run_all()
    two.run_all()
    tidy(one)
    tidy(one, now=after_grace())
    late = hand("w3")
    post_by_hand(folder, line)

    (claim,) = one.claim()

    assert (two.claim(), late.claim(), hand("w4").claim()) == ([], [], [])
    one.settle(claim)
    assert (two.claim(), late.claim(), hand("w5").claim()) == ([], [], [])


def test_the_numbers_go_on_counting_when_the_results_start_afresh(hand, folder, outgrown):
    line = '{"function":"tasks.add","params":[5]}\n'
    ran = []
    for round_ in range(3):
        post_by_hand(folder, line)
        worker = hand(f"w{round_}")
        ran += worker.run_all()
        tidy(worker)
        tidy(worker, now=after_grace())
        worker.presence.leave()

    assert len(set(ran)) == len(ran) == 3


def test_a_line_written_late_into_the_sealed_file_is_read(hand, send, folder):
    send("a")
    one = hand("w1")
    with folder.queue().open("ab") as late:
        one.run_all()
        tidy(one)

        late.write(b'{"task_id":"late","function":"tasks.add"}\n')
        late.flush()
        tidy(one, now=after_grace())
    first = one.run_all()
    tidy(one, now=after_grace())

    assert (first, one.run_all(), hand("w2").run_all()) == (["late"], [], [])


def test_a_sealed_file_that_is_still_open_for_writing_is_kept_and_read_each_time_it_grows(hand, send, folder):
    send("a")
    one = hand("w1")
    ran = []
    with folder.queue().open("ab") as late:
        one.run_all()
        tidy(one)
        for name in "bcd":
            tidy(one, now=after_grace())
            late.write(f'{{"task_id":"{name}","function":"tasks.add"}}\n'.encode())
            late.flush()
            tidy(one, now=after_grace())
            ran += one.run_all()

    assert ran == ["b", "c", "d"]
    tidy(one, now=after_grace())
    tidy(one, now=after_grace())
    assert [name for name in sealed(folder) if name == "queue.0.jsonl"] == []


def test_a_half_written_line_is_run_once_its_other_half_arrives_in_the_sealed_file(hand, send, folder, outgrown):
    """A program is in the middle of a line, with the file open, when the file is sealed."""
    send("a")
    one = hand("w1")
    line = b'{"task_id":"half","function":"tasks.add"}\n'
    one.run_all()
    with folder.queue().open("ab") as late:
        late.write(line[:20])
        late.flush()
        tidy(one, idle=False)
        one.run_all()

        late.write(line[20:])
        late.flush()
        tidy(one, now=after_grace())
    tidy(one, now=after_grace())

    assert one.run_all() == ["half"]
    assert read_lines(folder.rejected) == []


def test_a_half_written_line_whose_writer_is_gone_is_rejected_and_not_forgotten(hand, send, folder, outgrown):
    send("a")
    post_by_hand(folder, '{"task_id":"half","func')
    one = hand("w1")
    one.run_all()

    tidy(one, idle=False)
    for _ in range(3):
        tidy(one, now=after_grace())
        one.run_all()
    send("b")

    assert one.run_all() == ["b"]
    everything = folder.queue().read_text() + str(read_lines(folder.rejected))
    assert '"half","func' in everything


def test_a_whole_record_without_newline_is_run_from_the_sealed_file_though_an_idle_client_keeps_that_open(
    hand, send, folder, outgrown
):
    send("a")
    one = hand("w1")
    with folder.queue().open("ab") as idle:
        one.run_all()
        post_by_hand(folder, '{"task_id":"b","function":"tasks.add"}')
        tidy(one, idle=False)
        tidy(one, now=after_grace())
        ran = one.run_all()
        idle.write(b"\n")

    tidy(one, now=after_grace())
    tidy(one, now=after_grace())
    assert (ran, one.run_all(), hand("w2").run_all(), sealed(folder).count("queue.0.jsonl")) == (["b"], [], [], 0)


def test_a_record_without_newline_that_was_called_off_stays_so_when_its_file_is_sealed(hand, send, folder, outgrown):
    send("a")
    one = hand("w1")
    one.run_all()
    post_by_hand(folder, '{"task_id":"off","function":"tasks.add","params":[1]}')
    revoking = Revoking(folder)
    revoking.revoke(["off"])
    revoking.close()
    one.claim()
    for _ in range(3):
        tidy(one, now=after_grace())

    assert (one.run_all(), hand("w2").run_all()) == ([], [])


def test_half_a_line_that_somebody_may_still_finish_costs_no_look_at_all_results(hand, send, folder, monkeypatch):
    send("a")
    one = hand("w1")
    with folder.queue().open("ab") as late:
        one.run_all()
        tidy(one)
        late.write(b'{"task_id":"half","func')
        late.flush()
        looks = []
        known = sealing._known_elsewhere
        monkeypatch.setattr(sealing, "_known_elsewhere", lambda *about: looks.append(1) or known(*about))
        tidy(one, now=after_grace())
        waiting = list(looks)
        late.write(b'tion":"tasks.add","params":[1]}\n')
        late.flush()
        tidy(one, now=after_grace())

    assert (waiting, looks, one.run_all()) == ([], [1], ["half"])


def test_a_line_that_arrives_while_the_sealed_file_is_read_is_run_once(hand, send, folder, monkeypatch):
    send("a")
    one = hand("w1")
    real = sealing.with_task_id
    with folder.queue().open("ab") as late:
        one.run_all()
        tidy(one)
        late.write(b'{"function":"tasks.add","params":[1]}\n')
        late.flush()

        def meanwhile(*args):
            monkeypatch.undo()
            late.write(b'{"function":"tasks.add","params":[2]}\n')
            late.flush()
            return real(*args)

        monkeypatch.setattr(sealing, "with_task_id", meanwhile)
        tidy(one, now=after_grace())
    ran = one.run_all()
    for _ in range(2):
        tidy(one, now=after_grace())
        ran += one.run_all()

    assert len(ran) == 2


def test_a_late_line_that_a_dead_sealer_carried_over_without_a_word_runs_once(
    hand, send, folder, monkeypatch, outgrown
):
    send("a")
    one = hand("w1")
    one.run_all()
    tidy(one)
    with folder.sealed_queue(DEFAULT_QUEUE, 0).open("a") as file:
        file.write('{"task_id":"late","function":"tasks.add","params":[1]}\n')
    with monkeypatch.context() as patch:
        patch.setattr(sealing, "_declare", lambda *_: one.die() or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tidy(one, idle=False, now=after_grace())
    two = hand("w2")

    ran = two.run_all()
    tidy(two, idle=False, now=after_grace())  # the results start afresh, and the sealed file is read once more

    assert (ran, two.run_all()) == (["late"], [])


def test_a_sealed_file_that_was_read_late_is_let_go_in_the_end(hand, send, folder):
    send("a")
    one = hand("w1")
    with folder.queue().open("ab") as late:
        one.run_all()
        tidy(one)
        late.write(b'{"task_id":"late","function":"tasks.add"}\n')
    tidy(one, now=after_grace())
    one.run_all()

    tidy(one, now=after_grace())

    assert not (folder.sealed / "queue.0.jsonl").exists()


def test_sealing_again_and_again_uses_up_no_descriptors(hand, send, folder, app, outgrown):
    one = hand("w1", queues=["a"])
    send("warm", queue="b")
    counts = []
    for number in range(6):
        send(f"t{number}", queue="a")
        one.run_all()
        tidy(one)
        tidy(one, now=after_grace())
        assert app.backend.state("nobody").status == "PENDING"
        counts.append(len(os.listdir("/proc/self/fd")))

    assert counts[-1] <= counts[1]


def test_owed_records_of_a_queue_that_is_not_served_survive(hand, send, folder, outgrown):
    send("a")
    send("x", queue="other")
    send("y", queue="other")
    other = hand("w-other", queues=["other"])
    other.settle(*other.claim())
    one = hand("w1")
    one.run_all()

    tidy(one)

    assert other.run_all() == ["y"]
    assert hand("w3", queues=["other"]).run_all() == []


def test_a_rejected_line_is_rejected_once_whatever_is_sealed(hand, send, folder, outgrown):
    post_by_hand(folder, "hello\n")
    for name in "abc":
        send(name)
    one = hand("w1")
    one.settle(*one.claim(2))

    tidy(one, idle=False)
    one.run_all()
    tidy(one, now=after_grace())
    hand("w2").run_all()

    assert len(read_lines(folder.rejected)) == 1


def test_results_are_on_disk_before_the_queue_loses_the_records_they_end(hand, send, folder, monkeypatch):
    send("a")
    one = hand("w1")
    one.run_all()
    effects = []
    fsync, rename = disk.fsync, disk.rename
    inode = folder.results.stat().st_ino
    monkeypatch.setattr(
        disk,
        "fsync",
        lambda d: (effects.append("results synced" if os.fstat(d).st_ino == inode else "synced"), fsync(d)),
    )
    monkeypatch.setattr(disk, "rename", lambda *paths: (effects.append("renamed"), rename(*paths)))

    tidy(one)

    assert "results synced" in effects[: effects.index("renamed")]


def test_what_was_carried_over_is_on_disk_before_the_sealed_file_goes(hand, send, folder, monkeypatch, outgrown):
    send("a")
    send("later", eta="2099-01-01")
    one = hand("w1")
    one.run_all()
    tidy(one, idle=False)
    effects = []
    fsync, remove = disk.fsync, disk.remove
    inode = folder.queue().stat().st_ino
    monkeypatch.setattr(disk, "fsync", lambda d: (effects.append(os.fstat(d).st_ino == inode), fsync(d)))
    monkeypatch.setattr(
        disk, "remove", lambda path: (effects.append(path.name) if path.exists() else None, remove(path))
    )

    tidy(one, now=after_grace())

    assert "queue.0.jsonl" in effects
    assert True in effects[: effects.index("queue.0.jsonl")]


class Watched:
    """What reaches the disk, in its order: for each file or folder that is synced its name, and each line of a sealing."""

    def __init__(self, folder, monkeypatch):
        self.effects = []
        append, fsync, rename, remove = disk.append, disk.fsync, disk.rename, disk.remove

        def name(path):
            return str(path.relative_to(folder.path.parent))

        def add(descriptor, data, path, before):
            if b'"sealed"' in data and path == folder.results:
                self.effects.append("declared")
            append(descriptor, data, path, before)

        def sync(descriptor):
            self.effects.append(f"sync {name(disk._path(descriptor))}")
            fsync(descriptor)

        def move(source, target):
            self.effects.append(f"rename {name(source)}")
            rename(source, target)

        def drop(path):
            if path.exists():
                self.effects.append(f"remove {name(path)}")
            remove(path)

        for effect, watched in {"append": add, "fsync": sync, "rename": move, "remove": drop}.items():
            monkeypatch.setattr(disk, effect, watched)


def test_what_was_carried_over_is_on_the_disk_before_a_line_says_so(hand, send, folder, monkeypatch, outgrown):
    send("a")
    send("later", eta="2099-01-01")
    one = hand("w1")
    one.run_all()
    watched = Watched(folder, monkeypatch)

    tidy(one, idle=False)

    begin, end = watched.effects.index("rename queue_dir/queue.jsonl"), watched.effects.index("declared")
    assert watched.effects[begin + 1 : end] == [
        "sync queue_dir/queue.jsonl", "sync queue_dir/sealed", "sync queue_dir"
    ]  # fmt: skip


def test_results_are_on_the_disk_before_the_queue_file_whose_records_they_end_is_cleared(
    hand, send, folder, monkeypatch
):
    send("a")
    one = hand("w1")
    one.run_all()
    watched = Watched(folder, monkeypatch)

    with one.claimer._results.hold():
        one.claimer._seal(time.time(), renew=False)

    assert watched.effects[:2] == ["sync queue_dir/results.jsonl", "rename queue_dir/queue.jsonl"]


def test_a_late_line_that_was_carried_over_is_on_the_disk_before_a_line_says_so(hand, send, folder, monkeypatch):
    send("a")
    one = hand("w1")
    one.run_all()
    tidy(one)
    with (folder.sealed / "queue.0.jsonl").open("a") as late:
        late.write('{"function":"tasks.add","params":["late"]}\n')
    watched = Watched(folder, monkeypatch)

    tidy(one, now=after_grace())

    end = watched.effects.index("declared")
    synced = ["sync queue_dir/queue.jsonl", "sync queue_dir/sealed", "sync queue_dir"]
    assert watched.effects[:end][-3:] == synced


def test_new_results_are_on_the_disk_with_their_name_before_the_old_ones_lose_theirs(
    hand, send, folder, monkeypatch, outgrown
):
    send("a")
    one = hand("w1")
    one.run_all()
    watched = Watched(folder, monkeypatch)

    tidy(one, idle=False)

    draft = "queue_dir/sealed/results.next.draft"
    assert watched.effects[watched.effects.index(f"rename {draft}") - 1 :] == [
        f"sync {draft}",
        f"rename {draft}", "sync queue_dir/sealed", "sync queue_dir/results.jsonl",
        "rename queue_dir/results.jsonl", "rename queue_dir/sealed/results.next.jsonl",
        "sync queue_dir", "sync queue_dir/sealed",
    ]  # fmt: skip


def test_rejected_text_is_on_the_disk_before_it_leaves_the_queue_file(hand, folder, monkeypatch):
    post_by_hand(folder, "hello\n")
    one = hand("w1")
    one.run_all()
    watched = Watched(folder, monkeypatch)

    tidy(one)

    assert "sync queue_dir/rejected.jsonl" in watched.effects[: watched.effects.index("rename queue_dir/queue.jsonl")]


@pytest.mark.parametrize("late", [False, True], ids=["sealed", "written late into the sealed file"])
def test_what_was_carried_over_is_on_disk_before_the_results_say_so(hand, send, folder, monkeypatch, outgrown, late):
    """After a power cut the results would say that a file is done with whose records stand nowhere else."""
    send("a")
    one = hand("w1")
    one.run_all()
    if late:
        tidy(one)
        with folder.sealed_queue(DEFAULT_QUEUE, 0).open("a") as file:
            file.write('{"task_id":"b","function":"tasks.add","params":[1]}\n')
    else:
        send("later", eta="2099-01-01")
        one.run_all()
    effects = []
    fsync, fsync_folder, append = disk.fsync, disk.fsync_folder, disk.append

    def note_append(descriptor, data, path, before):
        effects.append("declared" if b'"sealed":' in data and path == folder.results else f"wrote {path.name}")
        append(descriptor, data, path, before)

    def note_fsync(descriptor):
        same = folder.queue().exists() and os.fstat(descriptor).st_ino == folder.queue().stat().st_ino
        effects.append("synced the queue" if same else "synced")
        fsync(descriptor)

    monkeypatch.setattr(disk, "append", note_append)
    monkeypatch.setattr(disk, "fsync", note_fsync)
    monkeypatch.setattr(disk, "fsync_folder", lambda path: (effects.append(f"synced {path.name}"), fsync_folder(path)))

    tidy(one, idle=False, now=after_grace())

    before = effects[: effects.index("declared")]
    carried = before.index("wrote queue.jsonl")
    assert "synced the queue" in before[carried:]
    assert f"synced {folder.path.name}" in before[carried:]


EFFECTS = ["append", "rename", "remove", "fsync", "fsync_folder", "open_file", "make_folder"]


def fail_at(number, patch, action, *, torn=False):
    """Make the ``number``-th effect on the disk call ``action`` instead; return a function that counts them."""
    count = 0

    def wrap(name, real):
        def effect(*args, **kwargs):
            nonlocal count
            count += 1
            if count == number:
                if torn and name == "append":
                    os.write(args[0], args[1][: len(args[1]) // 2])
                action()
            return real(*args, **kwargs)

        return effect

    for name in EFFECTS:
        patch.setattr(disk, name, wrap(name, getattr(disk, name)))
    return lambda: count


HAND_MADE = '{"function":"tasks.add","params":["%s"]}\n'


class Scene:
    """A folder with tasks in every state, of which each must in the end have run exactly once."""

    def __init__(self, path, *, cleared):
        self.folder = Folder(path)
        self.app = PMTQ("tasks", broker=f"file://{path}")
        self.ran = []
        if cleared:  # so that the queue's number is not 0
            post_by_hand(self.folder, HAND_MADE % "seen" + HAND_MADE % "again")
            first = self.worker("w-first")
            first.run_all()
            tidy(first)
            tidy(first, now=after_grace())
            first.presence.leave()
        self.live, setter = self.worker("w-live"), self.worker("w-setter")
        for label in ("done1", "live", "lost", "released"):
            self.send(label)
        post_by_hand(self.folder, HAND_MADE % "again" + HAND_MADE % "done2" + HAND_MADE % "live by hand")
        self.send("later", eta=timestamp(time.time() + 1000))
        claims = {claim.record.params[0]: claim for claim in setter.claim(99, now=time.time())}
        setter.settle(claims["done1"], claims["again"], claims["done2"])
        back = [
            StateRecord(claims[label].record.task_id, status, None, attempt, "w-setter")
            for label, status, attempt in [("live", RELEASED, 0), ("live by hand", RELEASED, 0)]
        ]
        setter.claimer.exchange(back, time.time())
        self.held = self.live.claim(99, now=time.time())
        assert [claim.record.params[0] for claim in self.held] == ["live", "live by hand"]
        back = [
            StateRecord(claims["lost"].record.task_id, LOST, None, 1, "w-setter"),
            StateRecord(claims["released"].record.task_id, RELEASED, None, 0, "w-setter"),
        ]
        setter.claimer.exchange(back, time.time())
        setter.presence.leave()
        post_by_hand(self.folder, HAND_MADE % "unread" * 2 + '--{\n"function":"tasks.add","params":["block"]\n}--\n')
        self.send("unread too")
        post_by_hand(self.folder, HAND_MADE % "unread")
        self.owed = sorted(["lost", "released", "later", "block", "unread too", *["unread"] * 3])

    def worker(self, name):
        return Hand(self.folder, name, {"tasks.add": True}, [DEFAULT_QUEUE])

    def send(self, label, **options):
        self.app.send_task("tasks.add", [label], **options)

    def seal(self):
        """Do what a worker does that finds the results outgrown."""
        sealer = self.worker("w-sealer")
        tidy(sealer, idle=False)
        sealer.claim(2, now=time.time())
        tidy(sealer, idle=False)
        tidy(sealer, idle=False, now=after_grace())
        sealer.die()

    def run_some(self, worker):
        while claims := worker.claim(now=time.time() + 2000):
            worker.settle(*claims)
            self.ran += [(claim.record.params[0], claim.started.attempt) for claim in claims]

    def recover(self):
        """Run all that is owed, in workers that come later; remember what ran."""
        later = self.worker("w-later")
        for _ in range(3):
            tidy(later, now=after_grace(), idle=False)
            self.run_some(later)
        self.live.settle(*self.held)
        last = self.worker("w-last")
        tidy(last, now=after_grace())
        self.run_some(last)
        for worker in (later, last, self.live):
            worker.die()

    def check(self, what):
        assert sorted(label for label, _ in self.ran) == self.owed, what
        assert dict(self.ran)["lost"] >= 2, what


@pytest.fixture
def no_power_cut(monkeypatch):
    """Save the time of real syncs where the power stays on."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def forked(action):
    """Run ``action`` in a forked child; return its exit status."""
    child = os.fork()
    if not child:
        try:
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("cleared", [False, True], ids=["first file", "cleared before"])
def test_sealing_loses_and_doubles_nothing(tmp_path, outgrown, no_power_cut, cleared):
    scene = Scene(tmp_path / "queue_dir", cleared=cleared)

    assert forked(scene.seal) == 0
    scene.recover()

    scene.check("no crash")


@pytest.mark.parametrize("torn", [False, True], ids=["between two effects", "in the middle of a write"])
@pytest.mark.parametrize("cleared", [False, True], ids=["first file", "cleared before"])
def test_a_sealer_that_dies_at_any_of_its_effects_loses_and_doubles_nothing(
    tmp_path, outgrown, no_power_cut, monkeypatch, cleared, torn
):
    number, status = 0, 9
    while status == 9:
        number += 1
        scene = Scene(tmp_path / f"queue_dir{number}", cleared=cleared)

        def seal_and_die(number=number, scene=scene):
            fail_at(number, monkeypatch, lambda: os._exit(9), torn=torn)
            scene.seal()

        status = forked(seal_and_die)
        scene.recover()
        scene.check(f"effect {number}")

    assert status == 0
    assert number > 20


@pytest.mark.parametrize("cleared", [False, True], ids=["first file", "cleared before"])
def test_a_second_death_during_recovery_loses_and_doubles_nothing(
    tmp_path, outgrown, no_power_cut, monkeypatch, cleared
):
    chance = random.Random(7)
    for attempt in range(60):
        first, second = chance.randint(5, 40), chance.randint(5, 40)
        scene = Scene(tmp_path / f"queue_dir{attempt}", cleared=cleared)

        def seal_and_die(scene=scene, number=0):
            fail_at(number, monkeypatch, lambda: os._exit(9))
            scene.seal()

        def recover_and_die(scene=scene, number=0):
            fail_at(number, monkeypatch, lambda: os._exit(9))
            sweeper = scene.worker("w-sweeper")
            for _ in range(2):
                tidy(sweeper, idle=False, now=after_grace())
            sweeper.die()

        assert forked(partial(seal_and_die, number=first)) in {0, 9}
        assert forked(partial(recover_and_die, number=second)) in {0, 9}
        scene.recover()
        scene.check(f"attempt {attempt}: effects {first} and {second}")


@pytest.mark.parametrize("cleared", [False, True], ids=["first file", "cleared before"])
def test_a_full_disk_at_any_effect_of_sealing_loses_and_doubles_nothing(
    tmp_path, outgrown, no_power_cut, monkeypatch, cleared
):
    def full():
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise disk.cannot("write", tmp_path, error) from error

    number, refused = 0, True
    while refused:
        number += 1
        scene = Scene(tmp_path / f"queue_dir{number}", cleared=cleared)
        sealer = scene.worker("w-sealer")
        with monkeypatch.context() as patch:
            effects = fail_at(number, patch, full)
            try:
                tidy(sealer, idle=False)
                tidy(sealer, idle=False, now=after_grace())
                refused = effects() >= number
            except OperationalError:
                pass
        sealer.claim(0, now=time.time())
        tidy(sealer, idle=False)
        sealer.die()
        scene.recover()
        scene.check(f"effect {number}")

    assert number > 15


@pytest.mark.parametrize("name", ["replace", "fsync", "unlink", "write"])
def test_whatever_the_disk_refuses_while_sealing_is_an_error_that_the_worker_outlives(
    hand, send, outgrown, monkeypatch, name
):
    send("a")
    one = hand("w1")
    one.run_all()
    tidy(one)

    def refuse(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    send("b")
    one.run_all()
    with monkeypatch.context() as patch:
        patch.setattr(os, name, refuse)
        with pytest.raises(OperationalError):
            tidy(one, now=after_grace())

    tidy(one, now=after_grace())
    assert (one.run_all(), hand("w2").run_all()) == ([], [])


def test_clients_may_post_while_the_queue_is_sealed_over_and_over(hand, app, folder, outgrown):
    code = (
        "import sys\nfrom pmtq import PMTQ\napp = PMTQ('t', broker='file://' + sys.argv[1])\n"
        "for number in range(2000):\n    app.send_task('tasks.add', [number], task_id=f'{sys.argv[2]}-{number}')\n"
    )
    clients = [subprocess.Popen([sys.executable, "-c", code, folder.path, str(number)]) for number in range(3)]
    one = hand("w1")
    ran = []
    while any(client.poll() is None for client in clients):
        claims = one.claim(50)
        one.settle(*claims)
        ran += [claim.record.task_id for claim in claims]
        with suppress(LockHeld):  # by a client that the machine keeps waiting
            tidy(one, idle=False, now=after_grace())
    ran += one.run_all()

    assert [client.returncode for client in clients] == [0, 0, 0]
    assert len(ran) == len(set(ran)) == 6000


def test_records_carried_over_keep_their_order(hand, send, folder, outgrown):
    for number in range(20):
        send(f"t{number:02}")
    one = hand("w1")
    one.settle(*one.claim(15))
    one.claim(0)

    tidy(one, idle=False)

    owed = [f"t{number:02}" for number in range(15, 20)]
    assert [decode_task(line).task_id for line in folder.queue().read_bytes().splitlines()] == owed
    assert one.run_all() == owed


def test_whoever_keeps_the_queues_lock_stops_no_worker(hand, send, folder, outgrown):
    send("a")
    one = hand("w1")
    one.run_all()
    send("b")
    other = Journal(folder.queue())

    with other.hold():
        with pytest.raises(LockHeld, match="is held by "):
            tidy(one)
        assert one.run_all() == ["b"]

    tidy(one)
    assert folder.queue().read_bytes() == b""
