"""Outcomes in, next tasks out: who gets which task, and what becomes of the tasks of the dead."""

import logging
import math
import os
import time

import pytest

from pmtq import sealing
from pmtq.exceptions import OperationalError
from pmtq.ledger import release
from pmtq.records import StateRecord, encode
from pmtq.states import FAILURE, LOST, RELEASED, RETRY, REVOKED, STARTED, SUCCESS
from tests.support import NOW, all_states, life, post_by_hand, read_lines, success

AT = "2027-01-15T08:00:00.000Z"


@pytest.fixture
def send(app):
    """A function that posts a call to tasks.add under an id of the test's choice."""

    def send(task_id, **options):
        app.send_task("tasks.add", [1, 2], task_id=task_id, **options)

    return send


def ids(claims):
    return [claim.record.task_id for claim in claims]


def test_a_claim_is_a_started_line(hand, send, folder):
    send("a")

    (claim,) = hand("w1").claim()

    assert claim.record.params == [1, 2]
    assert claim.started == StateRecord("a", STARTED, attempt=1, worker="w1", at=AT)
    assert read_lines(folder.results) == [{"task_id": "a", "status": "STARTED", "attempt": 1, "worker": "w1", "at": AT}]


def test_two_workers_never_claim_one_task(hand, send):
    for name in "abcd":
        send(name)
    one, two = hand("w1"), hand("w2")

    taken = [ids(worker.claim(1)) for worker in (one, two, one, two, one, two)]

    assert taken == [["a"], ["b"], ["c"], ["d"], [], []]


def test_a_settled_task_is_never_claimed_again(hand, send, folder):
    send("a")
    one = hand("w1")
    one.settle(*one.claim(), result=3)

    assert (one.claim(), hand("w2").claim(), hand("w3").claim()) == ([], [], [])
    assert life(folder, "a") == [(STARTED, 1), (SUCCESS, 1)]


def test_outcomes_and_the_next_claims_are_one_write(hand, send, folder, monkeypatch):
    send("a")
    send("b")
    one = hand("w1")
    first = one.claim()
    writes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: writes.append(data) or real(descriptor, data))

    one.claim(outcomes=(success(first[0]),))

    assert len(writes) == 1
    assert [line["status"] for line in read_lines(folder.results)] == [STARTED, SUCCESS, STARTED]


def test_without_being_asked_for_claims_none_are_made(hand, send, folder):
    send("a")

    assert hand("w1").claimer.exchange([], NOW) == []
    assert read_lines(folder.results) == []


def test_a_task_that_was_asked_about_and_not_wanted_is_the_next_one(hand, send):
    for name in "abc":
        send(name)
    one = hand("w1")

    assert ids(one.claim(0)) == []
    assert ids(one.claim(2)) == ["a", "b"]
    assert ids(one.claim(2)) == ["c"]


def test_a_released_task_is_claimed_by_the_next_and_its_start_does_not_count(hand, send, folder):
    send("a")
    one = hand("w1")
    one.claim()
    one.claimer.exchange([StateRecord("a", RELEASED, None, 0, "w1", AT)], NOW)

    (again,) = hand("w2").claim()

    assert again.started.attempt == 1
    assert life(folder, "a") == [(STARTED, 1), (RELEASED, 0), (STARTED, 1)]


def test_a_task_whose_worker_died_is_given_to_the_next(hand, send, folder):
    send("a")
    dead, heir = hand("w1"), hand("w2")
    dead.claim()
    assert heir.claim() == []
    dead.die()

    (claim,) = heir.claim(now=NOW + 1)

    assert claim.started.attempt == 2
    assert life(folder, "a") == [(STARTED, 1), (LOST, 1), (STARTED, 2)]
    assert not folder.worker("w1").exists()


def test_a_worker_with_nothing_to_do_looks_for_the_dead_at_once(hand, send):
    send("a")
    dead, heir = hand("w1"), hand("w2")
    dead.claim()
    heir.claim()
    dead.die()

    assert ids(heir.claim()) == ["a"]


def test_of_a_dead_workers_batch_only_the_first_counts_as_started(hand, send, folder):
    for name in "abc":
        send(name)
    dead, heir = hand("w1"), hand("w2")
    dead.claim(3)
    dead.die()

    claims = heir.claim(3)

    assert sorted((claim.record.task_id, claim.started.attempt) for claim in claims) == [("a", 2), ("b", 1), ("c", 1)]
    assert life(folder, "b") == [(STARTED, 1), (RELEASED, 0), (STARTED, 1)]


def test_what_a_dead_worker_had_noted_is_posted_and_not_run_again(hand, send, folder):
    for name in "abc":
        send(name)
    dead, heir = hand("w1"), hand("w2")
    first, *_ = dead.claim(3)
    dead.presence.notes.add(encode(success(first, 3)) + b"\n")
    dead.die()

    claims = heir.claim(3)

    assert sorted(ids(claims)) == ["b", "c"]
    assert life(folder, "a") == [(STARTED, 1), (SUCCESS, 1)]
    assert life(folder, "b") == [(STARTED, 1), (LOST, 1), (STARTED, 2)]


def test_a_note_of_an_earlier_attempt_is_not_taken_for_this_one(hand, send, folder):
    send("a")
    one = hand("w1")
    one.claim()
    retry = StateRecord("a", RETRY, None, 1, "w1", AT, eta=AT)
    one.presence.notes.add(encode(retry) + b"\n")
    one.claimer.exchange([retry], NOW)
    one.claim()
    one.die()

    (again,) = hand("w2").claim()

    assert again.started.attempt == 3
    assert life(folder, "a") == [(STARTED, 1), (RETRY, 1), (STARTED, 2), (LOST, 2), (STARTED, 3)]


@pytest.mark.parametrize("notes", [b"0000050\n" + b"\0" * 100, b"0000050\n" + b"x\n" * 25, b"0000009\n[]\n{\n}\n\xff"])
def test_damaged_notes_of_a_dead_worker_kill_nobody(hand, send, folder, notes):
    """A power cut may keep one page of the notes and lose another."""
    send("a")
    dead, heir = hand("w1"), hand("w2")
    dead.claim()
    dead.die()
    folder.notes("w1").write_bytes(notes)

    assert heir.run_all() == ["a"]
    assert life(folder, "a") == [(STARTED, 1), (LOST, 1), (STARTED, 2), (SUCCESS, 2)]


def test_damaged_notes_of_a_namesake_kill_nobody(hand, send, folder):
    send("a")
    dead = hand("w1")
    dead.claim()
    dead.die()
    folder.notes("w1").write_bytes(b"0000050\n" + b"\0" * 100)

    assert hand("w1").run_all() == ["a"]


def test_a_namesake_inherits_notes_and_tasks(hand, send, folder):
    for name in "ab":
        send(name)
    dead = hand("w1")
    first, _ = dead.claim(2)
    dead.presence.notes.add(encode(success(first, 3)) + b"\n")
    dead.die()

    heir = hand("w1")

    assert ids(heir.claim(2)) == ["b"]
    assert life(folder, "a") == [(STARTED, 1), (SUCCESS, 1)]
    assert heir.presence.notes.lines() == []


def test_a_task_that_kills_its_worker_each_time_has_failed_after_three_starts(hand, send, folder):
    send("a")
    for number in range(3):
        worker = hand(f"w{number}")
        assert ids(worker.claim()) == ["a"]
        worker.die()

    assert hand("w4").claim() == []
    assert life(folder, "a") == [
        (STARTED, 1), (LOST, 1), (STARTED, 2), (LOST, 2), (STARTED, 3), (LOST, 3), (FAILURE, 3)
    ]  # fmt: skip
    assert all_states(folder)[-1]["error"]["type"] == "pmtq.exceptions.WorkerLostError"


def test_with_acks_late_false_a_task_is_started_once_at_most(hand, send, folder):
    send("a")
    dead = hand("w1", {"tasks.add": False})
    dead.claim()
    dead.die()

    assert hand("w2", {"tasks.add": False}).claim() == []
    assert life(folder, "a") == [(STARTED, 1), (LOST, 1), (FAILURE, 1)]


def test_a_worker_that_lives_keeps_its_task_however_long_it_takes(hand, send):
    send("a")
    slow, other = hand("w1"), hand("w2")
    slow.claim()

    assert [other.claim(now=NOW + days * 86400) for days in range(3)] == [[], [], []]


def test_the_clock_may_jump_a_year_either_way(hand, send):
    for name in "abc":
        send(name)
    one, two = hand("w1"), hand("w2")

    taken = [ids(one.claim(now=NOW + 3e7)), ids(two.claim(now=NOW - 3e7)), ids(one.claim(now=NOW)), two.claim(now=NOW)]

    assert taken == [["a"], ["b"], ["c"], []]


def test_after_the_clock_jumped_back_the_dead_are_still_found_while_there_is_work(hand, send):
    for name in "abc":
        send(name)
    dead, heir = hand("w1"), hand("w2")
    dead.claim(now=NOW)
    heir.claim(now=NOW + 3e7)
    dead.die()

    assert ids(heir.claim(now=NOW)) == ["a"]


def test_a_task_waits_for_its_time_and_the_others_do_not_wait_for_it(hand, send):
    send("later", eta="2027-01-15T08:00:10Z")
    send("now")
    one = hand("w1")

    assert ids(one.claim(5)) == ["now"]
    assert one.claimer.next_due() == NOW + 10
    assert ids(one.claim(5, now=NOW + 9.9)) == []
    assert ids(one.claim(5, now=NOW + 10)) == ["later"]
    assert one.claimer.next_due() == math.inf


def test_tasks_that_wait_come_in_the_order_of_their_times(hand, send):
    send("c", eta="2027-01-15T08:00:30Z")
    send("a", eta="2027-01-15T08:00:10Z")
    send("b", eta="2027-01-15T08:00:20Z")
    one = hand("w1")
    one.claim()

    assert [one.run_all(now=NOW + seconds) for seconds in (10, 20, 30)] == [["a"], ["b"], ["c"]]


def test_an_expired_task_is_revoked_and_not_run(hand, send, folder):
    send("a", expires="2027-01-15T07:59:59Z")
    send("b", expires="2027-01-15T08:00:01Z")

    assert ids(hand("w1").claim(2)) == ["b"]
    (revoked,) = [line for line in all_states(folder) if line["task_id"] == "a"]
    message = "it expired at 2027-01-15T07:59:59.000Z"
    assert revoked.pop("record").items() >= {"task_id": "a", "function": "tasks.add", "params": [1, 2]}.items()
    assert revoked == {
        "task_id": "a",
        "queue": "celery",
        "status": REVOKED,
        "at": AT,
        "error": {"type": "pmtq.exceptions.TaskRevokedError", "message": message},
    }


def test_a_task_of_an_unknown_function_is_left_for_a_worker_that_knows_it(hand, app, folder, caplog):
    app.send_task("tasks.ship", [1], task_id="a")
    app.send_task("tasks.ship", [2], task_id="b")
    app.send_task("tasks.add", [1], task_id="c")
    one = hand("w1")

    with caplog.at_level(logging.WARNING):
        assert ids(one.claim(3)) == ["c"]

    assert one.claimer.unknown == {"tasks.ship": "a"}
    assert [record.getMessage() for record in caplog.records] == [
        "Task a stays in the queue for a worker that knows tasks.ship; this one knows tasks.add"
    ]
    assert ids(hand("w2", {"tasks.ship": True}).claim(3)) == ["a", "b"]


def test_a_record_of_a_later_format_is_left_alone(hand, folder):
    post_by_hand(folder, '{"task_id":"a","function":"tasks.add","v":2,"sent":"x"}\n')

    assert hand("w1").claim() == []
    assert read_lines(folder.results) == []


@pytest.mark.parametrize("key", ["eta", "expires"])
@pytest.mark.parametrize("moment", ["tomorrow", "2026-99-99"])
def test_a_clients_line_mended_by_hand_to_a_time_that_is_none_is_rejected(hand, send, folder, key, moment):
    post_by_hand(folder, f'{{"task_id":"a","function":"tasks.add","sent":"{AT}","{key}":"{moment}"}}\n')
    send("b")

    assert ids(hand("w1").claim(2)) == ["b"]
    (rejected,) = read_lines(folder.rejected)
    assert (rejected["file"], rejected["line"], rejected["remedy"]) == (
        "queue.jsonl",
        1,
        "Write times as 2026-11-20T15:04:05Z",
    )


@pytest.mark.parametrize(
    "line", ['{"task_id":"a","status":"RETRY"}\n', '{"task_id":"a","status":"RETRY","eta":"soon"}\n']
)
def test_a_retry_without_a_time_is_due_at_once(hand, send, folder, line):
    send("a")
    one = hand("w1")
    one.claim()
    with folder.results.open("a") as file:
        file.write(line)

    assert ids(one.claim()) == ["a"]


@pytest.mark.parametrize(
    "junk", [b"hello\n", b"\xff\n", b"[]\n", b"\n", b"{\n", b'{"task_id":1}\n', b"[" * 5000 + b"\n"]
)
def test_junk_in_the_results_is_passed_over(hand, send, folder, junk):
    send("a")
    send("b")
    one = hand("w1")
    first = one.claim()
    with folder.results.open("ab") as file:
        file.write(junk)

    one.settle(*first)

    assert ids(hand("w2").claim(2)) == ["b"]


@pytest.mark.parametrize("size", [300_000, 1_000_000])
def test_behind_a_long_result_the_other_workers_read_on(hand, send, folder, size):
    """A line of the results may be longer than the piece that is read at a time."""
    for name in "abcd":
        send(name)
    one, two, idle = hand("w1"), hand("w2"), hand("w3")
    idle.claim(0)
    one.settle(*one.claim(), result="x" * size)
    one.settle(*one.claim())

    assert ids(two.claim(1)) == ["c"]
    assert ids(hand("w4").claim(1)) == ["d"]
    assert ids(idle.claim(1)) == []


def test_the_same_id_twice_is_one_task(hand, send, folder):
    send("a")
    send("a")

    assert hand("w1").run_all() == ["a"]
    assert hand("w2").run_all() == []
    assert life(folder, "a") == [(STARTED, 1), (SUCCESS, 1)]


def test_the_same_id_twice_is_one_task_while_it_runs_too(hand, send):
    send("a")
    send("a")
    one = hand("w1")

    assert ids(one.claim(5)) == ["a"]
    assert ids(hand("w2").claim(5)) == []


def test_queues_are_served_in_turn(hand, app):
    for number in range(3):
        app.send_task("tasks.add", [], task_id=f"a{number}", queue="a")
        app.send_task("tasks.add", [], task_id=f"b{number}", queue="b")

    ran = hand("w1", queues=["a", "b"]).run_all()

    assert sorted(ran) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert [name for name in ran if name[0] == "a"] == ["a0", "a1", "a2"]
    assert {name[0] for name in ran[:3]} == {"a", "b"}


def test_a_queue_that_is_not_served_is_left_alone(hand, app):
    app.send_task("tasks.add", [], task_id="a", queue="other")

    assert hand("w1").claim() == []


def test_what_is_no_record_is_copied_to_rejected_and_ended_once(hand, folder, send, caplog):
    send("a")
    post_by_hand(folder, '{"function":“tasks.add”}\n')
    send("b")

    with caplog.at_level(logging.ERROR):
        ran = hand("w1").run_all() + hand("w2").run_all()

    assert ran == ["a", "b"]
    (entry,) = read_lines(folder.rejected)
    assert entry == {
        "task_id": entry["task_id"],
        "file": "queue.jsonl",
        "line": 2,
        "column": 13,
        "reason": "found a typographic quote (“)",
        "remedy": 'Use the plain quote "',
        "text": '{"function":“tasks.add”}',
        "at": AT,
    }
    assert life(folder, entry["task_id"]) == [("REJECTED", 0)]
    message = (
        f"{folder.queue()} line 2 is no task record: found a typographic quote (“) at column 13. The other records are "
        f'untouched; this one was copied to {folder.rejected}. Use the plain quote ", and post it again.'
    )
    assert [record.getMessage() for record in caplog.records] == [message]


def test_many_bad_lines_use_up_no_descriptors(hand, folder, send):
    post_by_hand(folder, "".join(f"junk {number}\n" for number in range(100)))
    send("a")
    before = len(os.listdir("/proc/self/fd"))

    ran = hand("w1").run_all()

    assert ran == ["a"]
    assert len(read_lines(folder.rejected)) == 100
    assert len(os.listdir("/proc/self/fd")) < before + 20


def test_counting_the_lines_of_many_bad_ones_reads_the_file_a_few_times_not_once_for_each(hand, folder, monkeypatch):
    """Somebody pastes a log file: the cost must follow its length, not the square of it."""
    post_by_hand(folder, "".join(f"junk {number}\n" for number in range(2000)))
    one = hand("w1")
    size = folder.queue().stat().st_size
    read = 0
    real = os.pread

    def counting(descriptor, length, offset):
        nonlocal read
        data = real(descriptor, length, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counting)
    one.claim()

    assert len(read_lines(folder.rejected)) == 2000
    assert read < 50 * size


def test_a_refused_write_settles_nothing_and_claims_nothing_and_the_same_call_works_later(
    hand, send, folder, monkeypatch
):
    for name in "ab":
        send(name)
    one = hand("w1")
    (first,) = one.claim()
    before = folder.results.read_bytes()
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
        with pytest.raises(OperationalError):
            one.claim(outcomes=(success(first),))
    assert folder.results.read_bytes() == before

    assert ids(one.claim(outcomes=(success(first),))) == ["b"]
    assert life(folder, "a") == [(STARTED, 1), (SUCCESS, 1)]


def test_remains_are_kept_when_their_lines_could_not_be_written(hand, send, folder, monkeypatch):
    send("a")
    dead, heir = hand("w1"), hand("w2")
    (claim,) = dead.claim()
    dead.presence.notes.add(encode(success(claim, 3)) + b"\n")
    dead.die()
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
        with pytest.raises(OperationalError):
            heir.claim()

    assert heir.claim() == []
    assert life(folder, "a") == [(STARTED, 1), (SUCCESS, 1)]


def test_a_queue_that_an_editor_saved_is_read_again_and_matched_by_id(hand, send, folder):
    for name in "abc":
        send(name)
    one = hand("w1")
    one.settle(*one.claim())
    lines = folder.queue().read_bytes().splitlines(keepends=True)
    draft = folder.path / "draft"
    draft.write_bytes(lines[2] + lines[0] + lines[1] + lines[1].replace(b'"b"', b'"d"'))
    draft.rename(folder.queue())

    assert one.run_all() == ["c", "b", "d"]


def test_a_record_that_somebody_put_in_at_the_top_in_place_is_found(hand, send, folder):
    send("a")
    one = hand("w1")
    one.settle(*one.claim())
    text = folder.queue().read_bytes()
    folder.queue().write_bytes(text.replace(b'"a"', b'"b"') + text + text.replace(b'"a"', b'"c"'))

    assert one.run_all() == ["b", "c"]
    assert not folder.rejected.exists()


def test_a_removed_queue_file_stops_nobody(hand, send, folder):
    send("a")
    one = hand("w1")
    one.settle(*one.claim())
    folder.queue().unlink()
    assert one.claim() == []

    send("b")

    assert one.run_all() == ["b"]


def test_a_waiting_record_that_was_overwritten_in_place_kills_nobody(hand, send, folder):
    """The bytes before the reading position are the same, so the edit is only met when the record is due."""
    send("later", eta="2027-01-15T08:00:10Z")
    for name in "abcd":
        send(name)
    one = hand("w1")
    assert one.run_all() == ["a", "b", "c", "d"]
    data = folder.queue().read_bytes()
    end = data.index(b"\n")
    with folder.queue().open("r+b") as file:
        file.write(b"x" * end)
    send("e")

    assert one.run_all(now=NOW + 10) == ["e"]
    assert len(read_lines(folder.rejected)) == 1


def test_a_waiting_record_that_became_another_in_place_does_not_run_under_the_old_id(hand, send, folder):
    send("later", eta="2027-01-15T08:00:10Z")
    for name in "abcd":
        send(name)
    one = hand("w1")
    one.run_all()
    data = folder.queue().read_bytes()
    with folder.queue().open("r+b") as file:
        file.write(data[: data.index(b"\n")].replace(b'"later"', b'"LATER"'))

    assert one.run_all(now=NOW + 10) == ["LATER"]


def test_what_is_claimed_right_after_such_an_overwriting_can_be_given_back(hand, send, folder):
    """The claimer reads the file anew in the middle of a batch; what it claims then it must remember like the rest."""
    send("later", eta="2027-01-15T08:00:10Z")
    for name in "abcd":
        send(name)
    one = hand("w1")
    one.run_all()
    with folder.queue().open("r+b") as file:
        file.write(b"x" * folder.queue().read_bytes().index(b"\n"))
    send("e")
    (claim,) = one.claim(now=NOW + 10)
    one.claimer.exchange([StateRecord("e", RELEASED, None, 0, "w1", AT)], NOW + 10)

    assert claim.record.task_id == "e"
    assert one.run_all(now=NOW + 10) == ["e"]


def test_equal_hand_made_lines_in_several_queue_files_are_as_many_tasks(hand, folder):
    for queue in ("celery", "p9", "low", "low.p9"):
        post_by_hand(folder, '{"function":"tasks.add","params":[8,9]}\n', queue)
        post_by_hand(folder, "junk\n", queue)

    ran = hand(queues=["celery", "low"]).run_all()

    assert len(set(ran)) == len(ran) == 4
    assert sorted(fault["file"] for fault in read_lines(folder.rejected)) == [
        "queue.jsonl", "queue.low.jsonl", "queue.low.p9.jsonl", "queue.p9.jsonl"
    ]  # fmt: skip


def test_a_line_typed_into_one_queue_after_an_equal_one_of_another_has_run_runs_too(hand, folder):
    worker = hand(queues=["celery", "low"])
    post_by_hand(folder, '{"function":"tasks.add"}\n')
    first = worker.run_all()

    post_by_hand(folder, '{"function":"tasks.add"}\n', "low")

    assert (len(first), len(worker.run_all())) == (1, 1)


def test_the_same_line_typed_twice_runs_twice_and_reading_again_mints_no_new_task(hand, folder):
    post_by_hand(folder, '{"function":"tasks.add"}\n' * 2)

    first = hand("w1").run_all()

    assert len(set(first)) == 2
    assert (hand("w2").run_all(), hand("w3").run_all()) == ([], [])


def test_a_record_that_cannot_be_written_down_again_is_rejected_and_kills_nobody(hand, folder, send):
    """Half a surrogate pair in an id can be read, and cannot be written into the results."""
    post_by_hand(folder, '{"task_id":"\\ud800","function":"tasks.add"}\n')
    send("a")

    assert hand("w1").run_all() == ["a"]
    assert len(read_lines(folder.rejected)) == 1


@pytest.mark.parametrize("digits", [5000, 100_000])
def test_a_number_too_long_to_be_read_is_rejected_and_kills_nobody(hand, folder, send, digits):
    post_by_hand(folder, '{"function":"tasks.add","params":[' + "1" * digits + "]}\n")
    send("a")

    assert hand("w1").run_all() == ["a"]
    assert len(read_lines(folder.rejected)) == 1


def test_having_work_counts_what_waits_and_what_others_hold_but_not_what_is_unknown(hand, app, send):
    one, two = hand("w1"), hand("w2")
    app.send_task("tasks.ship", [])
    assert (one.claim(), one.claimer.has_work()) == ([], False)
    send("later", eta="2027-01-15T08:00:10Z")
    assert (one.claim(), one.claimer.has_work()) == ([], True)
    (claim,) = two.claim(now=NOW + 10)
    assert (one.claim(now=NOW + 10), one.claimer.has_work()) == ([], True)
    two.settle(claim)
    assert (one.claim(now=NOW + 10), one.claimer.has_work()) == ([], False)


def test_the_files_of_a_worker_that_died_with_empty_hands_are_cleared_away(hand, folder):
    dead, alive = hand("w1"), hand("w2")
    dead.die()

    alive.claim()

    assert folder.worker_names() == ["w2"]
    assert sorted(path.name for path in folder.workers.iterdir()) == ["w2.json", "w2.notes"]


def test_claims_are_kept_when_the_files_of_a_dead_worker_cannot_be_removed(hand, send, monkeypatch):
    send("a")
    send("b")
    dead, heir = hand("w1"), hand("w2")
    dead.claim(1)
    dead.die()

    def refuse(*_, **__):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.unlink", refuse)
        assert ids(heir.claim(2)) == ["a", "b"]
    assert ids(hand("w3").claim(2)) == []


def test_what_another_worker_ended_while_it_was_passed_over_is_forgotten(hand, send):
    for name in "abc":
        send(name)
    one, two = hand("w1"), hand("w2")
    one.settle(*one.claim(1))  # "b" was read and passed over
    two.settle(*two.claim(1))
    one.run_all()

    assert one.claimer.places.unread == set()


def test_a_second_record_with_the_id_of_a_task_that_has_ended_is_not_run_and_that_is_said(hand, send, folder, caplog):
    send("a")
    one = hand("w1")
    one.run_all()
    send("a")

    assert one.run_all() == []
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == (
        f"{folder.queue()} line 2: a task with the id a has ended before, so this one is not run. "
        "Give it another id, or none"
    )


# --- priorities ------------------------------------------------------------------------------------------------------


def test_the_highest_priority_is_claimed_first_and_within_one_the_oldest(hand, send):
    """Sent in an order that no accident would put right."""
    for number, priority in enumerate([0, 9, 3, 0, 9, 1, 3, 0]):
        send(f"p{priority}-{number}", priority=priority)

    assert ids(hand("w1").claim(8)) == ["p9-1", "p9-4", "p3-2", "p3-6", "p1-5", "p0-0", "p0-3", "p0-7"]


def test_claims_of_one_at_a_time_come_in_the_same_order(hand, send):
    for number in range(30):
        send(f"p{number * 7 % 10}-{number:02}", priority=number * 7 % 10)

    ran = hand("w1").run_all()

    assert ran == sorted(ran, key=lambda name: (-int(name[1]), name))


def test_over_several_queues_priority_goes_first_and_queues_in_turn_second(hand, send):
    for number in range(2):
        for queue in ("celery", "low"):
            for priority in (0, 5):
                send(f"p{priority}-{queue}{number}", queue=queue, priority=priority)

    ran = hand("w1", queues=["celery", "low"]).run_all()

    assert [name[:2] for name in ran] == ["p5"] * 4 + ["p0"] * 4
    for queue in ("celery", "low"):
        assert [name for name in ran if queue in name] == [
            f"p5-{queue}0", f"p5-{queue}1", f"p0-{queue}0", f"p0-{queue}1"
        ]  # fmt: skip


def test_a_file_of_a_priority_that_appears_while_a_worker_runs_is_served_at_once(hand, send):
    for number in range(3):
        send(f"old{number}")
    one = hand("w1")
    assert ids(one.claim(1)) == ["old0"]

    send("urgent", priority=9)
    assert ids(one.claim(1)) == ["urgent"]
    send("middle", priority=4)
    send("urgent2", priority=9)

    assert one.run_all() == ["urgent2", "middle", "old1", "old2"]


def test_a_priority_of_a_queue_that_is_not_served_is_left_alone(hand, send):
    send("a", queue="other", priority=9)
    send("b", priority=1)
    one = hand("w1")

    assert (one.run_all(), one.claimer.has_work()) == (["b"], False)
    assert hand("w2", queues=["other"]).run_all() == ["a"]


def test_what_was_passed_over_does_not_go_before_a_higher_priority(hand, send):
    for name in "ab":
        send(name)
    one = hand("w1")
    assert ids(one.claim(0)) == []  # "a" was read, and not wanted
    send("urgent", priority=2)

    assert one.run_all() == ["urgent", "a", "b"]


def test_what_has_waited_for_its_time_keeps_its_priority(hand, send):
    send("low", eta="2027-01-15T08:00:10Z")
    send("high", eta="2027-01-15T08:00:20Z", priority=9)
    one = hand("w1")
    assert one.run_all() == []

    assert one.run_all(now=NOW + 20) == ["high", "low"]


def test_a_task_of_a_dead_worker_keeps_its_priority(hand, send):
    send("high", priority=9)
    dead, heir = hand("w1"), hand("w2")
    dead.claim()
    send("b")
    assert heir.claim(0) == []
    dead.die()

    assert heir.run_all(now=NOW + 1) == ["high", "b"]


def test_a_claim_says_which_queue_it_is_from_whatever_its_priority(hand, send):
    send("a", queue="low", priority=9)

    (claim,) = hand("w1", queues=["low"]).claim()

    assert (claim.queue, claim.record.priority) == ("low", 9)


def test_priorities_are_exact_through_a_worker(app, add, work):
    ran = []

    @app.task(name="note")
    def note(name):
        ran.append(name)
        if name == "p0-0":
            note.apply_async(["p9-new"], priority=9)

    for number in range(3):
        for priority in (0, 3, 9):
            note.apply_async([f"p{priority}-{number}"], priority=priority)
    work(app)

    first = ran.index("p9-new")
    ran.remove("p9-new")
    assert ran == [f"p{priority}-{number}" for priority in (9, 3, 0) for number in range(3)]
    assert first >= 7


# --- tries -----------------------------------------------------------------------------------------------------------


def retry(claim, eta="2027-01-15T08:00:10.000Z", **changes):
    """Return the line of a claim that is to be tried again."""
    line = StateRecord(claim.started.task_id, RETRY, None, claim.started.attempt, claim.started.worker, AT, eta=eta)
    line.retries, line.deaths = claim.started.retries + 1, claim.started.deaths
    line.changes = changes or claim.started.changes
    return line


def seen(claim):
    started = claim.started
    return claim.record.params, started.attempt, started.retries, started.deaths


def test_a_task_to_be_tried_again_waits_for_its_time_and_has_the_changed_arguments(hand, send):
    send("a")
    one = hand("w1")
    (first,) = one.claim()
    assert one.claim(outcomes=(retry(first, params=[7, 8]),)) == []

    assert (one.claim(now=NOW + 9.9), one.claimer.next_due()) == ([], NOW + 10)
    (second,) = one.claim(now=NOW + 10)
    assert (seen(first), seen(second)) == (([1, 2], 1, 0, 0), ([7, 8], 2, 1, 0))


def test_another_worker_tries_again_with_the_same_changes(hand, send):
    send("a")
    one = hand("w1")
    (first,) = one.claim()
    one.claim(0, outcomes=(retry(first, params=[7, 8]),))

    (second,) = hand("w2").claim(now=NOW + 10)

    assert seen(second) == ([7, 8], 2, 1, 0)


def test_a_try_that_its_worker_died_of_counts_as_a_death_and_keeps_its_changes(hand, send, folder):
    send("a")
    one = hand("w1")
    (first,) = one.claim()
    one.claim(0, outcomes=(retry(first, eta=AT, params=[7, 8]),))
    (second,) = one.claim()
    one.die()

    (third,) = hand("w2").claim()

    assert (seen(second), seen(third)) == (([7, 8], 2, 1, 0), ([7, 8], 3, 1, 1))
    assert life(folder, "a") == [(STARTED, 1), (RETRY, 1), (STARTED, 2), (LOST, 2), (STARTED, 3)]


def test_a_try_that_was_given_back_before_it_began_keeps_its_changes(hand, send):
    send("a")
    one = hand("w1")
    (first,) = one.claim()
    one.claim(0, outcomes=(retry(first, eta=AT, params=[7, 8]),))
    (second,) = one.claim()
    one.claimer.exchange([release(second.started, AT)], NOW)

    (third,) = hand("w2").claim()

    assert (seen(second), seen(third)) == (([7, 8], 2, 1, 0), ([7, 8], 2, 1, 0))


def test_a_task_may_be_tried_very_often_and_only_deaths_make_it_a_lost_one(hand, send, folder):
    send("a")
    one = hand("w1")
    for _ in range(9):
        (claim,) = one.claim()
        one.claim(0, outcomes=(retry(claim, eta=AT),))
    for number in range(3):
        worker = hand(f"dying{number}")
        (claim,) = worker.claim()
        assert (claim.started.retries, claim.started.deaths) == (9, number)
        worker.die()

    assert hand("w2").claim() == []
    (*_, failed) = all_states(folder)
    assert (failed["status"], failed["attempt"], failed["retries"], failed["deaths"]) == (FAILURE, 12, 9, 3)


def test_deaths_are_counted_over_the_tries_between_them(hand, send):
    send("a")
    dead = hand("w1")
    dead.claim()
    dead.die()
    one = hand("w2")
    (claim,) = one.claim()
    one.claim(0, outcomes=(retry(claim, eta=AT),))

    (again,) = hand("w3").claim()

    assert (again.started.retries, again.started.deaths) == (1, 1)


def test_with_acks_late_false_a_task_that_asks_for_it_is_tried_again(hand, send):
    send("a")
    one = hand("w1", {"tasks.add": False})
    (claim,) = one.claim()

    (again,) = one.claim(outcomes=(retry(claim, eta=AT),))

    assert again.started.attempt == 2


@pytest.mark.parametrize("moment", ["waits", "lost", "released", "runs"])
def test_what_is_known_of_tries_survives_sealing(hand, send, folder, monkeypatch, moment):
    send("a")
    send("other")
    one = hand("w1")
    (first,) = one.claim()
    one.claim(0, outcomes=(retry(first, eta=AT, params=[7, 8]),))
    other = hand("w2")
    if moment in {"lost", "released", "runs"}:
        (second,) = [claim for claim in other.claim(5) if claim.record.task_id == "a"]
    if moment == "lost":
        other.die()
        one.claim(0, now=NOW + 1)
    if moment == "released":
        other.claimer.exchange([release(second.started, AT)], NOW)
    monkeypatch.setattr(sealing, "is_outgrown", lambda *_, **__: True)
    one.claimer.tidy(time.time(), idle=True)
    assert (folder.sealed / "results.0.jsonl").exists()
    if moment == "runs":
        other.die()

    claims = {claim.record.task_id: seen(claim) for claim in hand("w3").claim(5, now=NOW + 2)}

    died = moment in {"lost", "runs"}
    assert claims["a"] == ([7, 8], 3 if died else 2, 1, int(died))


@pytest.mark.parametrize("priority", [0, 9])
def test_a_call_that_is_tried_again_is_carried_over_when_its_queue_is_cleared(
    hand, send, folder, monkeypatch, priority
):
    send("a", priority=priority)
    one = hand("w1")
    (first,) = one.claim()
    one.claim(0, outcomes=(retry(first, params=[7, 8]),))
    monkeypatch.setattr(sealing, "is_outgrown", lambda *_, **__: True)
    one.claimer.tidy(time.time(), idle=True)
    one.claimer.tidy(time.time() + sealing.GRACE + 1, idle=True)
    assert not [path for path in folder.sealed.iterdir() if path.name.startswith("queue")]

    (second,) = one.claim(now=NOW + 10)

    assert seen(second) == ([7, 8], 2, 1, 0)


# --- what people set -------------------------------------------------------------------------------------------------


def set_control(folder, text, result=True):
    """Add a control line the way a client does."""
    with folder.results.open("ab") as file:
        file.write(encode(StateRecord(control=text, result=result, at=AT)) + b"\n")


def test_a_task_that_was_revoked_before_it_began_is_not_run(hand, send, folder):
    send("a")
    send("b")
    one = hand("w1")
    one.claim(0)
    set_control(folder, "revoke a")

    assert one.run_all() == ["b"]
    (revoked,) = [line for line in all_states(folder) if line.get("status") == REVOKED]
    assert (revoked["task_id"], revoked["error"]["type"]) == ("a", "pmtq.exceptions.TaskRevokedError")
    assert revoked["record"]["function"] == "tasks.add"


def test_a_task_that_was_revoked_while_it_ran_may_end_and_is_not_started_again(hand, send, folder):
    for name in "ab":
        send(name)
    one = hand("w1")
    ended, lost = one.claim(2)
    set_control(folder, "revoke a")
    set_control(folder, "revoke b")
    one.settle(ended)
    one.claim(0, outcomes=(retry(lost, eta=AT),))

    assert hand("w2").claim(5) == []
    assert (life(folder, "a")[-1], life(folder, "b")[-1]) == ((SUCCESS, 1), (REVOKED, 0))


def test_a_revocation_that_was_taken_back_holds_no_more(hand, send, folder):
    send("a")
    one = hand("w1")
    one.claim(0)
    set_control(folder, "revoke a")
    set_control(folder, "revoke a", None)

    assert one.run_all() == ["a"]


@pytest.mark.parametrize("gate", ["pause queue celery", "pause task tasks.add"])
def test_what_is_paused_waits_and_keeps_its_order_and_the_rest_runs(hand, send, folder, gate):
    send("a")
    send("b", priority=5)
    send("c")
    if "queue" in gate:
        send("elsewhere", queue="low")
    one = hand("w1", queues=["celery", "low"])
    one.claim(0)
    set_control(folder, gate)

    assert one.run_all() == (["elsewhere"] if "queue" in gate else [])
    assert one.claimer.has_work()
    set_control(folder, gate, None)
    assert one.run_all() == ["b", "a", "c"]


def test_a_pause_survives_a_new_worker_and_sealing(hand, send, folder, monkeypatch):
    send("a")
    one = hand("w1")
    one.claim(0)
    set_control(folder, "pause task tasks.add")
    monkeypatch.setattr(sealing, "is_outgrown", lambda *_, **__: True)
    one.claimer.tidy(time.time(), idle=True)

    two = hand("w2")
    assert two.run_all() == []
    set_control(folder, "pause task tasks.add", None)
    assert two.run_all() == ["a"]


def test_a_rate_that_was_set_holds_for_all_workers_together(hand, send, folder):
    for name in "abc":
        send(name)
    one, two = hand("w1"), hand("w2")
    one.claim(0)
    set_control(folder, "rate_limit tasks.add", "10/m")

    taken = [ids(worker.claim(5, now=NOW + at)) for at in (0, 5.9, 6, 12) for worker in (one, two)]

    assert taken == [["a"], [], [], [], ["b"], [], ["c"], []]


@pytest.mark.parametrize(
    "line",
    [
        '{"task_id":"x","status":"STARTED","worker":"w9","pace":["tasks.add"],"at":"noon"}',
        '{"control":"paced tasks.add","result":"soon"}',
        '{"control":"paced tasks.add","result":[1]}',
        '{"control":"rate_limit tasks.add","result":{"a":1}}',
        '{"control":"time_limit tasks.add","result":"long"}',
        '{"control":"revoke"}',
        '{"control":"pause queue","result":7}',
        '{"control":"moved a","result":[]}',
        '{"control":"","sealed":"no such file","size":-1}',
        '{"task_id":"x","status":"SUCCESS","followers":["a"],"adds":[1,{"b":2}]}',
        '{"task_id":"a","status":"RETRY","eta":"tomorrow"}',
        '{"task_id":"a","status":"RELEASED","attempt":-7,"deaths":-1}',
    ],
)
def test_a_line_of_the_results_that_somebody_typed_stops_no_worker(folder, hand, line):
    post_by_hand(folder, '{"task_id":"a","function":"tasks.add","params":[2,3]}\n')
    folder.results.write_text(line + "\n")

    assert hand("w1").run_all() == ["a"]


def test_tasks_that_are_tried_again_are_held_in_the_order_in_which_they_were_taken(hand, send):
    for name in "ab":
        send(name)
    one = hand("w1")
    first, second = one.claim(2)
    for claim in (second, first):  # so the later one of the file moved first
        line = StateRecord(claim.record.task_id, RETRY, None, 1, "w1", AT, eta=AT, retries=1)
        one.claimer.exchange([line], NOW)

    again = one.claim(2, now=NOW + 1)

    assert ids(again) == [state.task_id for state in one.claimer.ledger.held_by("w1")]
