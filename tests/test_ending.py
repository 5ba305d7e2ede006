"""What a worker does about signals, step by step."""

import logging
import signal

import pytest

from pmtq import signals
from pmtq.worker.ending import Ending, QuietEnding, Shutdown, Stage, catching

TERM, INT, QUIT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP
WARM, SOFT, COLD = Stage.WARM, Stage.SOFT, Stage.COLD


@pytest.mark.parametrize(
    ("soft_timeout", "received", "stages"),
    [
        (0, [TERM], [WARM]),
        (0, [INT, INT], [WARM, COLD]),
        (0, [TERM, TERM], [WARM, COLD]),
        (0, [QUIT], [COLD]),
        (5, [TERM, QUIT], [WARM, SOFT]),
        (5, [QUIT, QUIT], [SOFT, COLD]),
        (5, [INT, INT, INT], [WARM, SOFT, COLD]),
        (0, [HUP, HUP, TERM], [WARM, WARM, COLD]),
    ],
)
def test_each_signal_leads_to_a_stage(soft_timeout, received, stages):
    shutdown = Shutdown("w@h", soft_timeout)

    assert [shutdown.next_stage(number) for number in received] == stages


def test_the_environment_may_give_sigterm_the_meaning_of_sigquit(monkeypatch):
    monkeypatch.setenv("REMAP_SIGTERM", "SIGQUIT")

    assert Shutdown("w@h").next_stage(TERM) == COLD


@pytest.mark.parametrize(("terminal", "again"), [(False, True), (True, False)])
def test_a_hangup_starts_it_again_unless_it_is_the_terminal_that_closes(monkeypatch, terminal, again):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    shutdown = Shutdown("w@h")

    shutdown.next_stage(HUP)

    assert shutdown.starts_again == again


def test_each_stage_is_told_to_the_person_and_to_receivers(caplog):
    heard = []

    def hear(sender, sig, how, exitcode, **_):
        heard.append((sender, sig, how, exitcode))

    signals.worker_shutting_down.connect(hear)
    shutdown = Shutdown("w@h", 5, several=True)
    with caplog.at_level(logging.WARNING):
        for number in (INT, TERM, QUIT):
            shutdown.next_stage(number)
            shutdown.tell(number)
    signals.worker_shutting_down.disconnect(hear)

    assert heard == [
        ("w@h", "SIGINT", "Warm", 0),
        ("w@h", "SIGTERM", "Soft", 0),
        ("w@h", "SIGQUIT", "Cold", 128 + QUIT),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "Ending after the running tasks; the rest is given back. A second Ctrl-C ends it now",
        "Ending in 5 s at the latest, whatever still runs then. Another signal ends it now",
        "Ended at once; what was running is given out again by the next worker",
    ]


def test_a_command_means_a_warm_end_whatever_sigterm_means_and_hurries_nobody(monkeypatch):
    monkeypatch.setenv("REMAP_SIGTERM", "SIGQUIT")
    shutdown, hurried = Shutdown("w@h"), Shutdown("w@h", 5)
    hurried.next_stage(QUIT)

    shutdown.by_command()
    hurried.by_command()

    assert (shutdown.stage, hurried.stage) == (WARM, SOFT)


@pytest.fixture
def ended(monkeypatch):
    """What was done, in order; the process goes on all the same."""
    done = []
    monkeypatch.setattr("os._exit", done.append)
    return done


def test_a_warm_end_and_then_a_cold_one(ended):
    ending = Ending(Shutdown("w@h"), lambda: ended.append("gently"), lambda: ended.append("notes"))

    ending(TERM)
    ending(TERM)

    assert ended[:3] == ["gently", "notes", 128 + TERM]


def test_the_soft_end_is_a_cold_one_when_its_time_is_up(ended, monkeypatch):
    waiting = []
    monkeypatch.setattr("_thread.start_new_thread", lambda wait, arguments: waiting.append((wait, arguments)))
    ending = Ending(Shutdown("w@h", 0.01), lambda: ended.append("gently"), lambda: ended.append("notes"))

    ending(QUIT)
    at_first = list(ended)
    for wait, arguments in waiting:
        wait(*arguments)

    assert (at_first, ended) == (["gently"], ["gently", "notes", 128 + QUIT])


@pytest.mark.parametrize(
    ("received", "done"), [([TERM], ["gently"]), ([QUIT], ["notes", 131]), ([TERM, TERM], ["gently", "notes", 143])]
)
def test_a_child_says_nothing_and_obeys(ended, caplog, received, done):
    ending = QuietEnding(lambda: ended.append("gently"), lambda: ended.append("notes"))

    for number in received:
        ending(number)

    assert (ended[: len(done)], caplog.records) == (done, [])


def test_a_signal_that_was_to_be_ignored_still_is():
    before = signal.signal(HUP, signal.SIG_IGN)
    try:
        with catching(lambda *_: None):
            assert signal.getsignal(HUP) == signal.SIG_IGN
    finally:
        signal.signal(HUP, before)
