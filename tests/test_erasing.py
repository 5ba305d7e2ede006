"""A forgotten result is gone for everybody at once, and from the disk as soon as a worker has nothing else to do."""

import os
import shutil
import sys
import threading
import time

import pytest

from pmtq import PMTQ, disk
from pmtq.backend import Backend
from pmtq.exceptions import OperationalError, TimeoutError  # noqa: A004  (Celery's name)
from pmtq.records import StateRecord
from pmtq.states import FORGOTTEN
from tests.support import NOW, all_states, life
from tests.test_sealing import fail_at, forked


def grep(folder, text):
    return [path.name for path in folder.path.rglob("*.jsonl") if text in path.read_text()]


@pytest.fixture
def done(app, add, work):
    """Two tasks that have run, the first with a result that is easy to find."""
    first, second = app.send_task("tasks.add", ["need", "le"]), add.delay(2, 3)
    work(app)
    assert (first.get(timeout=5), second.get(timeout=5)) == ("needle", 5)
    return first, second


def test_a_forgotten_result_is_pending_for_every_process_at_once(app, folder, done):
    first, second = done
    elsewhere = Backend(folder)
    assert elsewhere.state(first.id).status == "SUCCESS"

    first.forget()

    assert (first.state, first.result, second.state) == ("PENDING", None, "SUCCESS")
    assert elsewhere.state(first.id).status == "PENDING"
    with pytest.raises(TimeoutError):
        app.AsyncResult(first.id).get(timeout=0)
    elsewhere.close()


def test_an_idle_worker_takes_a_forgotten_result_out_of_the_files(app, add, folder, done, work):
    first, second = done
    first.forget()
    assert grep(folder, "needle") == ["results.jsonl"]

    work(app)

    assert grep(folder, "needle") == []
    assert life(folder, first.id) == [("ERASED", 0)]
    assert (first.state, app.AsyncResult(second.id).get(timeout=5)) == ("PENDING", 5)


def test_a_forgotten_task_is_not_run_again_while_its_record_stands_in_the_queue(app, add, folder, hand, work):
    one = hand("w1")
    kept, gone = add.apply_async((1,), eta="2028-01-01T00:00:00Z"), add.delay(2)
    (claim,) = one.claim()
    one.settle(claim, result=2)
    gone.forget()
    one.claim()
    one.claimer.tidy(NOW, idle=True)
    assert life(folder, gone.id) == [("ERASED", 0)]

    assert hand("w2").claim(9) == []

    assert gone.id in folder.queue().read_text()
    assert [state["task_id"] for state in all_states(folder) if state["status"] == "STARTED"] == []
    assert kept.state == "PENDING"


@pytest.fixture
def sealed(app, add, done, hand, folder, monkeypatch):
    """A worker that has sealed the results of the two tasks, and sees only what is newer in the newest file."""
    add.delay(1)
    one = hand("w1")
    one.run_all()
    with monkeypatch.context() as patch:
        patch.setattr("pmtq.sealing.IDLE_SEAL_BYTES", 10)
        tidy(one)
    one.claim(0)
    assert grep(folder, "needle") == ["results.0.jsonl"]
    return one


def tidy(one, later=0.0):
    one.claim(0)
    one.claimer.tidy(time.time() + later, idle=True)


def test_a_result_in_a_sealed_file_leaves_the_disk_too(app, folder, done, sealed):
    first, second = done
    before = (folder.sealed / "results.0.jsonl").stat()

    app.AsyncResult(first.id).forget()
    tidy(sealed)

    assert grep(folder, "needle") == []
    assert (app.AsyncResult(first.id).state, app.AsyncResult(second.id).result) == ("PENDING", 5)
    after = (folder.sealed / "results.0.jsonl").stat()
    assert (after.st_ino == before.st_ino, after.st_mtime_ns) == (False, before.st_mtime_ns)
    assert "FORGOTTEN" not in folder.results.read_text()


def test_what_was_not_erased_yet_when_the_results_were_sealed_is_erased_later(app, folder, done, sealed, monkeypatch):
    first, second = done
    app.AsyncResult(second.id).forget()
    sealed.claim(0)
    with monkeypatch.context() as patch:
        patch.setattr("pmtq.sealing.is_outgrown", lambda *_, **__: True)
        sealed.claimer.tidy(time.time(), idle=False)
    assert len(folder.sealed_results()) == 2
    assert app.AsyncResult(second.id).state == "PENDING"

    tidy(sealed)

    assert [line["task_id"] for line in all_states(folder)].count(second.id) == 1  # ERASED
    assert (app.AsyncResult(first.id).result, app.AsyncResult(second.id).state) == ("needle", "PENDING")


def test_a_sealed_file_that_does_not_speak_of_the_task_is_left_alone(app, add, folder, done, sealed, monkeypatch):
    first, _ = done
    add.delay(1)
    sealed.run_all()
    with monkeypatch.context() as patch:
        patch.setattr("pmtq.sealing.is_outgrown", lambda *_, **__: True)
        sealed.claimer.tidy(time.time(), idle=False)
    newer, older = folder.sealed_results()
    before = [path.stat().st_ino for path in (newer, older)]

    app.AsyncResult(first.id).forget()
    tidy(sealed)

    assert [path.stat().st_ino == inode for path, inode in zip((newer, older), before, strict=True)] == [True, False]


def test_when_no_queue_holds_a_record_any_more_nothing_is_left_of_a_forgotten_task(app, folder, done, hand):
    first, second = done
    for journal in app.broker._files.values():
        journal.close()
    one = hand("w1")
    tidy(one)
    tidy(one, later=3.0)
    assert (folder.queue().read_bytes(), folder.sealed_queues()) == (b"", [])

    first.forget()
    tidy(one)

    assert grep(folder, first.id) == []
    assert (life(folder, second.id), first.state) == ([("STARTED", 1), ("SUCCESS", 1)], "PENDING")


def test_a_busy_worker_erases_nothing(app, folder, done, hand):
    first, _ = done
    first.forget()
    one = hand("w1")
    one.claim(0)

    one.claimer.tidy(time.time(), idle=False)

    assert grep(folder, "needle") == ["results.jsonl"]


def test_a_worker_that_has_erased_does_not_do_it_over_and_over(app, folder, done, hand):
    first, _ = done
    first.forget()
    one = hand("w1")
    tidy(one)
    inode = folder.results.stat().st_ino

    tidy(one)
    tidy(one)

    assert folder.results.stat().st_ino == inode
    assert one.claimer.ledger.forgotten == set()


def test_all_other_lines_stay_as_they_are_half_a_line_at_the_end_too(app, folder, done, hand):
    first, _ = done
    strange = b'hello\n{"task_id":"x", "status":"PROGRESS", "result":"%s", "more":1}\n' % first.id.encode()
    half = b'{"task_id":"y","sta'
    first.forget()
    with folder.results.open("ab") as file:
        file.write(strange + half)
    others = [line for line in folder.results.read_bytes().splitlines() if first.id.encode() not in line[:60]]
    one = hand("w1")

    tidy(one)

    kept = folder.results.read_bytes()
    assert kept.endswith(half)
    assert [line for line in kept.splitlines() if b"ERASED" not in line] == others


def test_a_task_that_runs_is_not_lost_when_somebody_writes_that_it_is_forgotten(app, add, folder, hand):
    result = add.delay(1)
    one = hand("w1")
    (claim,) = one.claim()
    app.backend.store(StateRecord(result.id, FORGOTTEN))
    two = hand("w2")
    tidy(two)

    assert two.claim() == []
    one.settle(claim, result=1)
    assert life(folder, result.id) == [("STARTED", 1), ("FORGOTTEN", 0), ("SUCCESS", 1)]


def test_a_thousand_results_are_forgotten_in_one_go(app, add, folder, work, hand):
    results = [add.delay(number) for number in range(1000)]
    work(app)
    for result in results[1:]:
        result.forget()
    one = hand("w1")

    tidy(one)

    assert {line["status"] for line in all_states(folder)} == {"STARTED", "SUCCESS", "ERASED"}
    assert [app.AsyncResult(result.id).state for result in results] == ["SUCCESS", *["PENDING"] * 999]


def test_a_waiting_client_does_not_notice_that_the_file_was_replaced(app, add, folder, done, hand):
    first, _ = done
    first.forget()
    later, got = add.delay(7), []
    waiter = threading.Thread(target=lambda: got.append(later.get(timeout=20)))
    waiter.start()
    one = hand("w1")
    tidy(one)
    assert grep(folder, "needle") == []

    one.settle(*one.claim(), result=7)
    waiter.join()

    assert got == [7]


@pytest.mark.parametrize("where", ["newest file", "sealed file"])
def test_a_worker_that_dies_at_any_effect_of_erasing_loses_nothing_and_the_next_one_finishes(
    app, add, folder, request, monkeypatch, tmp_path, hand, where
):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the power stays on
    first, second = request.getfixturevalue("done")
    if where == "sealed file":
        request.getfixturevalue("sealed")
    result = app.AsyncResult(first.id)
    result.forget()
    for journal in (app.backend._journal, *app.broker._files.values()):
        journal.close()
    kept = tmp_path / "kept"
    shutil.copytree(folder.path, kept)
    number, status = 0, 9
    while status == 9:
        number += 1
        shutil.rmtree(folder.path)
        shutil.copytree(kept, folder.path)

        def erase_and_die(number=number):
            one = hand(f"w-{number}")
            one.claim(0)
            fail_at(number, monkeypatch, lambda: os._exit(9))
            one.claimer.tidy(time.time(), idle=True)

        status = forked(erase_and_die)
        after = PMTQ("t", broker=f"file://{folder.path}")
        assert (after.AsyncResult(first.id).state, after.AsyncResult(second.id).result) == ("PENDING", 5)
        last = hand(f"w-last-{number}")
        assert last.run_all() == []
        tidy(last)
        assert grep(folder, "needle") == []
        assert (after.AsyncResult(first.id).state, after.AsyncResult(second.id).result) == ("PENDING", 5)
        after.close()

    assert status == 0
    assert number > 8


def test_a_full_disk_leaves_the_results_as_they_were_and_it_is_tried_again(app, folder, done, hand, monkeypatch):
    first, _ = done
    first.forget()
    one = hand("w1")
    one.claim(0)
    before = folder.results.read_bytes()

    def full(*_):
        raise OperationalError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "append", full)
        with pytest.raises(OperationalError):
            one.claimer.tidy(time.time(), idle=True)
    assert folder.results.read_bytes() == before

    tidy(one)

    assert grep(folder, "needle") == []


def test_what_is_forgotten_before_it_has_run_runs_and_has_its_result(app, add, work):
    result = add.delay(2, 3)
    result.forget()

    work(app)

    assert result.get(timeout=5) == 5


def test_of_a_task_that_has_not_ended_nothing_can_be_forgotten(app, add, hand, folder):
    result = add.delay(1)
    hand("w1").claim()
    app.backend.store(StateRecord(result.id, "PROGRESS", 3))
    before = folder.results.read_bytes()

    result.forget()
    app.AsyncResult("nobody").forget()

    assert (folder.results.read_bytes(), result.state) == (before, "PROGRESS")


def test_a_forgotten_result_does_not_stay_in_the_notes_of_its_worker(app, folder, done, hand):
    first, _ = done
    one = hand("w1")
    one.presence.notes.add(b"needle" * 10)
    one.presence.notes.clear()
    one.presence.notes.add(b"wanted")
    first.forget()

    tidy(one)

    notes = folder.notes("w1").read_bytes()
    assert (notes.strip(b"\0"), one.presence.notes.lines()) == (
        (14).to_bytes(8, sys.byteorder) + b"wanted",
        [b"wanted"],
    )
