"""What state a task is in, and waiting until it has ended."""

import os
import threading

import pytest

from pmtq.journal import Journal
from pmtq.records import StateRecord, encode
from pmtq.states import ERASED, FAILURE, FORGOTTEN, LOST, PENDING, RELEASED, RETRY, STARTED, SUCCESS
from tests.support import eventually


def test_of_an_unknown_task_nothing_is_known(backend, folder):
    assert backend.state("a") == StateRecord("a", PENDING)
    assert not folder.path.exists()


def test_the_state_of_a_task_is_its_last_line(backend, say):
    say(StateRecord("a", STARTED, attempt=1))
    first = backend.state("a")
    say(StateRecord("b", STARTED), StateRecord("a", "PROGRESS", {"done": 3}))

    assert (first, backend.state("a")) == (
        StateRecord("a", STARTED, attempt=1),
        StateRecord("a", "PROGRESS", {"done": 3}),
    )


def test_the_first_final_line_decides(backend, say):
    say(
        StateRecord("a", SUCCESS, 1), StateRecord("a", FAILURE), StateRecord("a", STARTED), StateRecord("a", SUCCESS, 2)
    )

    assert backend.state("a") == StateRecord("a", SUCCESS, 1)


@pytest.mark.parametrize("status", [RELEASED, LOST])
def test_a_task_that_was_given_back_is_pending(backend, say, status):
    say(StateRecord("a", STARTED, attempt=1, worker="w"), StateRecord("a", status, attempt=1, worker="w"))

    assert backend.state("a") == StateRecord("a", PENDING, attempt=1)


def test_a_task_to_be_retried_says_so(backend, say):
    say(StateRecord("a", RETRY, attempt=1, eta="2099-01-01"))

    assert backend.state("a").status == RETRY


def test_half_a_line_is_not_read(backend, say, folder):
    say(StateRecord("a", STARTED))
    with folder.results.open("ab") as file:
        file.write(b'{"task_id":"a","status":"SUCC')

    assert backend.state("a").status == STARTED


@pytest.mark.parametrize("junk", [b"hello\n", b"\xff\n", b"[]\n", b"\n", b"[" * 5000 + b"\n"])
def test_junk_between_the_lines_is_passed_over(backend, say, folder, junk):
    say(StateRecord("a", STARTED))
    with folder.results.open("ab") as file:
        file.write(junk)
    say(StateRecord("a", SUCCESS, 1))

    assert backend.state("a") == StateRecord("a", SUCCESS, 1)
    assert [state.status for state in backend.history("a")] == [STARTED, SUCCESS]


def test_a_line_that_is_no_state_and_names_the_task_is_passed_over(backend, say, folder):
    say(StateRecord("a", STARTED))
    with folder.results.open("ab") as file:
        file.write(b'{"task_id":"a","status":"SUCCESS","attempt":"many"}\n"a"\n["a"\n')
    say(StateRecord("a", SUCCESS, 1))

    assert backend.state("a") == StateRecord("a", SUCCESS, 1)
    assert [state.status for state in backend.history("a")] == [STARTED, SUCCESS]


def test_a_long_result_comes_back_whole(backend, say):
    text = "é" * 300_000
    say(StateRecord("a", SUCCESS, text), StateRecord("b", SUCCESS, 1))

    assert (backend.state("a").result, backend.state("b").result) == (text, 1)


def test_results_that_were_replaced_are_read_again(backend, say, folder):
    say(StateRecord("a", SUCCESS, 1), StateRecord("b", SUCCESS, 1))
    backend.state("a")
    draft = folder.path / "draft"
    draft.write_bytes(encode(StateRecord("b", SUCCESS, 2)) + b"\n")
    draft.rename(folder.results)

    assert (backend.state("a").status, backend.state("b").result) == (PENDING, 2)


def test_results_that_were_cut_short_are_read_again(backend, say, folder):
    say(StateRecord("a", SUCCESS, 1))
    backend.state("a")
    os.truncate(folder.results, 0)

    assert backend.state("a").status == PENDING


def test_results_that_were_removed_are_pending(backend, say, folder):
    say(StateRecord("a", SUCCESS, 1))
    backend.state("a")
    folder.results.unlink()

    assert backend.state("a").status == PENDING


def seal(folder, number):
    folder.sealed.mkdir(exist_ok=True)
    folder.results.rename(folder.sealed / f"results.{number}.jsonl")


def test_a_sealed_result_is_found_whichever_segment_it_is_in(backend, say, folder):
    for number in range(3):
        say(StateRecord(f"t{number}", STARTED), StateRecord(f"t{number}", SUCCESS, number))
        backend.state("t0")
        seal(folder, number)
    say(StateRecord("now", SUCCESS, 3))

    assert [backend.state(name).result for name in ("t0", "t1", "t2", "now")] == [0, 1, 2, 3]
    assert backend.state("other").status == PENDING


def test_a_task_searched_for_in_vain_is_found_once_it_has_ended_and_was_sealed(backend, say, folder):
    say(StateRecord("b", SUCCESS))
    seal(folder, 0)
    say(StateRecord("b", SUCCESS))
    before = backend.state("a").status
    say(StateRecord("a", SUCCESS, 1))
    seal(folder, 1)
    say(StateRecord("b", SUCCESS))

    assert (before, backend.state("a").result) == (PENDING, 1)


def test_the_history_of_a_task_is_every_line_about_it_oldest_first(backend, say, folder):
    say(StateRecord("a", STARTED, attempt=1), StateRecord("b", STARTED, "a"), StateRecord("a", LOST, attempt=1))
    seal(folder, 0)
    say(StateRecord("a", STARTED, attempt=2), StateRecord("aa", STARTED), StateRecord("a", SUCCESS, 1))

    assert [(state.status, state.attempt) for state in backend.history("a")] == [
        (STARTED, 1),
        (LOST, 1),
        (STARTED, 2),
        (SUCCESS, 0),
    ]


def test_questions_use_up_no_descriptors(backend, say, folder):
    for number in range(3):
        say(StateRecord(f"t{number}", SUCCESS))
        seal(folder, number)
    backend.state("warm")
    before = len(os.listdir("/proc/self/fd"))

    for number in range(10):
        backend.state(f"u{number}")
        backend.history("t1")

    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_waiting_ends_with_the_final_line(backend, say):
    got = []
    waiter = threading.Thread(target=lambda: got.append(backend.wait("a", 20)))
    waiter.start()
    say(StateRecord("a", STARTED))
    assert eventually(lambda: backend._watch is not None)

    say(StateRecord("a", SUCCESS, 5))
    waiter.join()

    assert got == [StateRecord("a", SUCCESS, 5)]


def test_what_has_ended_is_not_waited_for(backend, say):
    say(StateRecord("a", SUCCESS, 5))

    assert backend.wait("a", 0) == StateRecord("a", SUCCESS, 5)
    assert backend._watch is None


def test_waiting_gives_up_in_time(backend):
    assert backend.wait("a", 0) is None
    assert backend.wait("a", 0.02) is None


def test_many_threads_wait_for_many_tasks_and_share_one_watcher(backend, say):
    got = {}

    def wait(name):
        got[name] = backend.wait(name, 20)

    before = threading.active_count()
    waiters = [threading.Thread(target=wait, args=(f"t{number}",)) for number in range(8)]
    for waiter in waiters:
        waiter.start()
    assert eventually(lambda: backend._watch is not None and backend._watch._watch is not None)
    watchers = threading.active_count() - before - len(waiters)

    for number in reversed(range(8)):
        say(StateRecord(f"t{number}", SUCCESS, number))
    for waiter in waiters:
        waiter.join()

    assert {name: state.result for name, state in got.items()} == {f"t{number}": number for number in range(8)}
    assert watchers <= 3  # one observer: its own thread, its emitter's, and its buffer's


def test_a_task_that_ends_while_the_results_are_sealed_is_heard_of(backend, say, folder):
    got = []
    say(StateRecord("b", SUCCESS))
    waiter = threading.Thread(target=lambda: got.append(backend.wait("a", 20)))
    waiter.start()
    assert eventually(lambda: backend._watch is not None)

    say(StateRecord("a", SUCCESS, 5))
    seal(folder, 0)
    say(StateRecord(sealed="queue.0.jsonl", size=1))
    waiter.join()

    assert got == [StateRecord("a", SUCCESS, 5)]


def test_closing_ends_the_watchers_threads(backend, folder):
    before = threading.active_count()
    backend.wait("a", 0.05)

    backend.close()

    assert eventually(lambda: threading.active_count() == before)


def test_a_child_forked_while_a_thread_asks_can_ask_too(backend, say):
    import signal

    say(StateRecord("a", SUCCESS, 5))
    with backend._lock:
        child = os.fork()
        if not child:
            signal.alarm(10)
            os._exit(backend.state("a").result)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


def test_a_child_forked_from_a_waiting_process_can_wait_too(backend, say):
    import signal

    backend.wait("a", 0.05)
    child = os.fork()
    if not child:
        signal.alarm(15)
        state = backend.wait("a", 10)
        os._exit(state.result if state else 1)
    say(StateRecord("a", SUCCESS, 5))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


def sealed_reads(monkeypatch):
    """Count the pieces that are read of sealed files."""
    read, real = [], Journal.read

    def counting(self, *args, **kwargs):
        if self.path.parent.name == "sealed":
            read.append(self.path.name)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Journal, "read", counting)
    return read


def test_a_thousand_results_are_waited_for_by_reading_each_file_once(backend, say, folder, monkeypatch):
    ids = [f"t{number}" for number in range(1000)]
    say(*(StateRecord(task_id, SUCCESS, 1) for task_id in ids[:300]))
    seal(folder, 0)
    say(StateRecord("other", SUCCESS))
    seal(folder, 1)
    say(*(StateRecord(task_id, SUCCESS, 1) for task_id in ids[300:]))
    read = sealed_reads(monkeypatch)

    ended = [state.task_id for state in backend.wait_each(ids, 10)]

    assert sorted(ended) == sorted(ids)
    assert sorted(read) == ["results.0.jsonl", "results.0.jsonl", "results.1.jsonl", "results.1.jsonl"]  # text, end


def test_results_are_yielded_as_they_end_and_each_once(backend, say):
    waiting = backend.wait_each(["a", "b", "c"], 10)
    say(StateRecord("c", STARTED), StateRecord("b", SUCCESS, 1), StateRecord("b", SUCCESS, 2))
    first = next(waiting)
    say(StateRecord("c", SUCCESS, 3), StateRecord("a", FAILURE))

    assert [first, *waiting] == [StateRecord("b", SUCCESS, 1), StateRecord("c", SUCCESS, 3), StateRecord("a", FAILURE)]


def test_waiting_for_several_stops_in_time_with_those_that_have_ended(backend, say):
    say(StateRecord("a", SUCCESS))

    assert [state.task_id for state in backend.wait_each(["a", "b"], 0.02)] == ["a"]
    assert list(backend.wait_each([], None)) == []


def test_results_that_end_and_are_sealed_between_two_looks_are_yielded(backend, say, folder):
    say(StateRecord("x", SUCCESS))
    waiting = backend.wait_each(["a", "b"], 10)
    say(StateRecord("a", SUCCESS))
    first = next(waiting)
    say(StateRecord("b", SUCCESS))
    seal(folder, 0)
    say(StateRecord("y", SUCCESS))

    assert [first.task_id, *(state.task_id for state in waiting)] == ["a", "b"]


def test_a_task_that_was_looked_for_in_sealed_files_in_vain_is_not_looked_for_again(backend, say, folder, monkeypatch):
    say(StateRecord("x", SUCCESS))
    seal(folder, 0)
    say(StateRecord("y", SUCCESS))
    read = sealed_reads(monkeypatch)

    answers = [backend.state("a").status, *(backend.ended(["a"]) for _ in range(3))]

    assert (answers, len(set(read)), len(read)) == ([PENDING, [], [], []], 1, 2)


def test_a_task_that_is_posted_now_is_not_looked_for_in_what_was_sealed_before(app, say, folder, monkeypatch):
    for number in range(3):
        say(StateRecord(f"x{number}", SUCCESS))
        seal(folder, number)
    say(StateRecord("y", SUCCESS))
    read = sealed_reads(monkeypatch)

    posted = app.send_task("nobody", [1])

    assert (posted.state, posted.ready(), read) == (PENDING, False, [])


def test_a_task_that_ended_in_results_that_were_sealed_after_it_was_posted_is_found(app, say, folder):
    say(StateRecord("x", SUCCESS))
    seal(folder, 0)
    posted = app.send_task("nobody", [1])
    say(StateRecord(posted.id, SUCCESS, 5))
    (folder.sealed / "results.0.jsonl").unlink()  # it has expired, and the first name is used again
    seal(folder, 0)
    say(StateRecord("y", SUCCESS))

    assert posted.get(timeout=10) == 5


def test_a_task_that_is_posted_under_an_id_that_was_used_before_has_the_result_of_then(app, say, folder):
    say(StateRecord("x", SUCCESS, 5))
    seal(folder, 0)
    say(StateRecord("y", SUCCESS))

    assert app.send_task("nobody", [1], task_id="x").get(timeout=10) == 5


def test_what_was_sealed_after_it_was_read_is_not_read_again_for_each_task(backend, say, folder, monkeypatch):
    say(*(StateRecord(f"t{number}", SUCCESS, number) for number in range(100)))
    assert backend.state("t0").result == 0
    say(StateRecord("late", SUCCESS, 5), StateRecord("t1", FORGOTTEN))
    seal(folder, 0)
    say(StateRecord("y", SUCCESS))
    looked = places_read(monkeypatch)

    answers = [backend.state(name).result for name in ("t99", "t98", "late", "t1")]

    assert (answers, looked.count(0)) == ([99, 98, 5, None], 1)  # the new file is read from its start, the old one not


def test_a_sealed_file_that_was_rewritten_is_read_again(backend, say, folder):
    say(StateRecord("a", SUCCESS, 1), StateRecord("b", SUCCESS, 2), StateRecord("c", SUCCESS, 3))
    assert backend.state("a").result == 1
    seal(folder, 0)
    say(StateRecord("y", SUCCESS))
    (folder.sealed / "results.0.jsonl").write_bytes(
        b"".join(encode(StateRecord(name, SUCCESS, 7)) + b"\n" for name in ("longer", "b"))
    )

    assert (backend.state("b").result, backend.state("c").status) == (7, PENDING)


def places_read(monkeypatch):
    """Note where each piece begins that is read of any file."""
    looked, real = [], Journal.read
    monkeypatch.setattr(Journal, "read", lambda self, offset, *rest: looked.append(offset) or real(self, offset, *rest))
    return looked


def erase_first_line(path):
    """Do what a worker does to a sealed file from which a result is erased."""
    draft, status = path.with_suffix(".draft"), path.stat()
    draft.write_bytes(path.read_bytes().partition(b"\n")[2])
    os.utime(draft, ns=(status.st_atime_ns, status.st_mtime_ns))
    draft.rename(path)


def test_a_sealed_file_from_which_a_result_was_erased_is_read_once_more_not_for_each_task(
    backend, say, folder, monkeypatch
):
    say(*(StateRecord(f"t{number}", SUCCESS, number) for number in range(100)))
    assert backend.state("t0").result == 0
    seal(folder, 0)
    say(StateRecord("y", SUCCESS))
    erase_first_line(folder.sealed / "results.0.jsonl")
    looked = places_read(monkeypatch)

    answers = [backend.state(name).result for name in ("t99", "t98", "t97", "t0")]

    assert (answers, looked.count(0)) == ([99, 98, 97, None], 2)  # each of the two files is read from its start once


def test_a_task_is_not_looked_for_in_what_was_sealed_before_also_when_a_result_was_erased_there(
    app, say, folder, monkeypatch
):
    say(StateRecord("x", SUCCESS), StateRecord("z", SUCCESS))
    seal(folder, 0)
    say(StateRecord("y", SUCCESS))
    posted = app.send_task("nobody", [1])
    erase_first_line(folder.sealed / "results.0.jsonl")
    read = sealed_reads(monkeypatch)

    assert (posted.state, read) == (PENDING, [])


def test_a_forgotten_task_has_no_state_and_no_history(backend, say):
    say(StateRecord("a", STARTED, attempt=1), StateRecord("a", SUCCESS, 1), StateRecord("b", SUCCESS, 2))

    backend.forget("a")

    assert (backend.state("a"), backend.history("a"), backend.ended(["a", "b"])) == (
        StateRecord("a", PENDING),
        [],
        [StateRecord("b", SUCCESS, 2)],
    )
    assert (backend.was_forgotten("a"), backend.was_forgotten("b")) == (True, False)


@pytest.mark.parametrize("last", [FORGOTTEN, ERASED])
@pytest.mark.parametrize("files", [0, 1, 2])
def test_a_result_is_forgotten_wherever_the_lines_stand(backend, say, folder, last, files):
    say(StateRecord("a", SUCCESS, 1))
    if files == 2:
        seal(folder, 0)
    say(StateRecord("a", last))
    if files:
        seal(folder, 1)
    say(StateRecord("b", SUCCESS))

    assert (backend.state("a"), backend.ended(["a"]), backend.history("a")) == (StateRecord("a", PENDING), [], [])


def test_each_state_a_task_is_seen_in_on_the_way_is_told_once(backend, say):
    told = []

    def tell(state):
        told.append(state.status)
        say(StateRecord("a", "PROGRESS", 1) if state.status == PENDING else StateRecord("a", SUCCESS))

    backend.wait("a", 10, tell)

    assert told == [PENDING, "PROGRESS", SUCCESS]


def test_a_client_that_writes_while_the_results_are_between_two_names_gives_them_their_name(app, add, work, folder):
    add.delay(2, 3)
    work(app)
    before = folder.results.read_bytes()
    folder.sealed.mkdir(exist_ok=True)
    folder.results.rename(folder.next_results)  # where whoever started them afresh was killed

    app.backend.store(StateRecord("x", "HALFWAY"))

    assert before
    assert folder.results.read_bytes() == before + b'{"task_id":"x","status":"HALFWAY"}\n'
