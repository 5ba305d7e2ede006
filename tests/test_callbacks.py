"""Being called when a task has ended."""

import logging
import os
import threading

from pmtq.callbacks import Callbacks
from pmtq.exceptions import OperationalError
from pmtq.records import StateRecord
from pmtq.states import STARTED, SUCCESS
from tests.support import eventually


def names():
    return [thread.name for thread in threading.enumerate() if thread.name == "pmtq-callbacks"]


def test_a_call_is_made_once_when_its_task_has_ended(backend, say):
    calls = []
    backend.when_ready("a", lambda: calls.append("a"))
    backend.when_ready("b", lambda: calls.append("b"))
    say(StateRecord("a", STARTED), StateRecord("b", STARTED))
    say(StateRecord("b", SUCCESS))
    assert eventually(lambda: calls == ["b"])

    say(StateRecord("a", SUCCESS))

    assert eventually(lambda: calls == ["b", "a"])
    assert eventually(lambda: names() == [])


def test_what_has_ended_before_is_called_too(backend, say):
    say(StateRecord("a", SUCCESS))
    calls = []

    backend.when_ready("a", lambda: calls.append(threading.current_thread().name))

    assert eventually(lambda: calls == ["pmtq-callbacks"])


def test_who_asks_when_all_is_quiet_need_not_wait_for_the_next_change(backend, say):
    calls = []
    backend.when_ready("never", lambda: None)
    assert eventually(lambda: backend._watch is not None and backend._watch._watch is not None)
    backend._watch._poll = 60.0
    say(StateRecord("a", SUCCESS))
    assert eventually(lambda: "a" in backend.index._now.final)

    backend.when_ready("a", lambda: calls.append("a"))

    assert eventually(lambda: calls == ["a"])


def test_one_thread_serves_all_who_wait_and_is_there_only_as_long_as_they_do(backend, say):
    ids = [f"t{number}" for number in range(200)]
    ended = []
    for task_id in ids:
        backend.when_ready(task_id, lambda task_id=task_id: ended.append(task_id))
    assert names() == ["pmtq-callbacks"]

    say(*(StateRecord(task_id, SUCCESS) for task_id in ids))

    assert eventually(lambda: ended == ids)
    assert eventually(lambda: names() == [])


def test_a_call_that_fails_is_logged_and_stops_no_other(backend, say, caplog):
    calls = []
    backend.when_ready("a", lambda: 1 / 0)
    backend.when_ready("a", lambda: calls.append("a"))

    say(StateRecord("a", SUCCESS))

    assert eventually(lambda: calls == ["a"])
    record = next(record for record in caplog.records if record.name == "pmtq.backend")
    assert (record.levelno, record.exc_info[0]) == (logging.ERROR, ZeroDivisionError)
    assert record.getMessage() == "what was to be called at the end of task a failed"


def test_a_call_that_was_taken_back_is_not_made(backend, say):
    calls = []

    def unwanted():
        calls.append("unwanted")

    backend.when_ready("a", unwanted)
    backend.when_ready("a", lambda: calls.append("wanted"))
    backend.callbacks.remove("a", unwanted)
    backend.callbacks.remove("b", unwanted)

    say(StateRecord("a", SUCCESS))

    assert eventually(lambda: calls == ["wanted"])


def test_results_that_cannot_be_read_for_a_while_cost_nobody_his_call(caplog):
    calls, answers = [], [OperationalError("cannot read results.jsonl."), [StateRecord("a", SUCCESS)]]

    def ended(_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    Callbacks(ended, lambda: iter([None, None])).add("a", lambda: calls.append("a"))

    assert eventually(lambda: calls == ["a"])
    assert [record.getMessage() for record in caplog.records] == [
        "cannot read results.jsonl. Who waits for a task is told later."
    ]


def test_closing_takes_all_calls_back_and_ends_the_thread(backend, say):
    calls = []
    backend.when_ready("a", lambda: calls.append("a"))
    assert eventually(lambda: backend._watch is not None)

    backend.close()

    assert eventually(lambda: names() == [])
    say(StateRecord("a", SUCCESS))
    assert backend.state("a").status == SUCCESS
    assert calls == []


def test_a_forked_child_makes_none_of_its_parents_calls_and_can_have_its_own(backend, say, tmp_path):
    calls = []
    backend.when_ready("a", lambda: calls.append(os.getpid()))
    child = os.fork()
    if not child:
        own = []
        backend.when_ready("b", lambda: own.append(1))
        os._exit(0 if eventually(lambda: own) and not calls else 1)

    say(StateRecord("a", SUCCESS), StateRecord("b", SUCCESS))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert eventually(lambda: calls == [os.getpid()])
