"""Signals tell receivers what happens, and no receiver can spoil it for the others."""

import ast
import gc
import logging
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from pmtq import signals
from pmtq.signals import ABSENT, Signal

ALL = {name: value for name, value in vars(signals).items() if isinstance(value, Signal)}
CELERYS = """
    before_task_publish after_task_publish task_prerun task_postrun task_retry task_success task_failure
    task_internal_error task_received task_revoked task_unknown task_rejected import_modules celeryd_after_setup
    celeryd_init worker_init worker_before_create_process worker_ready heartbeat_sent worker_shutting_down
    worker_process_init worker_process_shutdown worker_shutdown beat_init beat_embedded_init setup_logging
    after_setup_logger after_setup_task_logger user_preload_options eventlet_pool_started eventlet_pool_preshutdown
    eventlet_pool_postshutdown eventlet_pool_apply task_sent
"""


@pytest.fixture
def happened():
    return Signal("happened", ["what"])


@pytest.fixture
def heard():
    return []


@pytest.fixture
def ear(heard):
    """A receiver that keeps what it is told."""

    def ear(sender=None, signal=None, **named):
        heard.append((sender, named))
        return len(heard)

    return ear


def test_a_receiver_is_told_the_sender_the_signal_and_the_arguments(happened):
    told = []

    @happened.connect
    def receiver(**named):
        told.append(named)
        return "yes"

    assert happened.send("me", what=1) == [(receiver, "yes")]
    assert told == [{"signal": happened, "sender": "me", "what": 1}]


@pytest.mark.parametrize(
    "connect",
    [
        lambda signal, ear: signal.connect(ear, "me"),
        lambda signal, ear: signal.connect(ear, sender="me"),
        lambda signal, ear: signal.connect(sender="me")(ear),
        lambda signal, ear: signal.connect(sender="me", weak=False, dispatch_uid="ear")(ear),
    ],
)
def test_connecting_returns_the_receiver_in_each_of_its_forms(happened, ear, heard, connect):
    assert connect(happened, ear) is ear

    happened.send("you")
    happened.send("me")

    assert heard == [("me", {})]


ADD = SimpleNamespace(name="tasks.add")


class Equal:
    """Equal to its like, without being the same."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, Equal) and other.value == self.value

    def __hash__(self):
        return hash(self.value)


@pytest.mark.parametrize(
    ("wanted", "sender", "hears"),
    [
        (None, ADD, True),
        (None, None, True),
        (ADD, ADD, True),
        (ADD, SimpleNamespace(name="tasks.mul"), False),
        (ADD, None, False),
        ("tasks.add", ADD, True),
        (ADD, "tasks.add", True),
        ("tasks.add", "tasks." + "add", True),
        ("tasks.add", "tasks.mul", False),
        ("tasks.add", object(), False),
        ("tasks.add", None, False),
        (Equal(1), Equal(1), True),
        (Equal(1), Equal(2), False),
        (Exception(), Exception(), False),
    ],
)
def test_a_sender_is_known_by_identity_by_equality_or_by_name(happened, ear, wanted, sender, hears):
    happened.connect(ear, sender=wanted)

    assert happened.has_listeners(sender) is hears
    assert bool(happened.send(sender)) is hears


def test_a_receiver_that_raises_is_logged_and_stops_neither_the_others_nor_the_sender(happened, ear, heard, caplog):
    error = KeyError("gone")

    @happened.connect
    def clumsy(**named):
        raise error

    happened.connect(ear)

    assert happened.send("me", what=1) == [(clumsy, error), (ear, 1)]
    assert heard == [("me", {"what": 1})]
    (record,) = caplog.records
    assert (record.name, record.levelno, record.exc_info[1]) == ("pmtq.signals", logging.ERROR, error)
    assert record.getMessage() == f"Receiver {clumsy!r} of happened raised KeyError('gone'); work goes on"


def test_ending_the_process_is_no_error_of_a_receiver(happened):
    @happened.connect
    def enough(**named):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        happened.send("me")


def test_receivers_are_called_in_the_order_they_were_connected(happened):
    order = []
    receivers = [lambda number=number, **named: order.append(number) for number in range(5)]
    for receiver in receivers:
        happened.connect(receiver)

    happened.send(None)

    assert order == [0, 1, 2, 3, 4]


def test_a_receiver_that_nobody_keeps_is_gone_and_the_signal_is_as_cheap_as_before(happened):
    happened.connect(lambda **named: None)
    gc.collect()

    assert (bool(happened.receivers), happened.has_listeners()) == (False, False)


def test_a_receiver_that_nobody_keeps_stays_if_it_asks_for_that(happened):
    happened.connect(lambda **named: "here", weak=False)
    gc.collect()

    assert [said for _, said in happened.send(None)] == ["here"]


def test_a_method_is_told_as_long_as_its_object_lives(happened):
    class Clerk:
        def note(self, **named):
            return self

    clerk, other = Clerk(), Clerk()
    happened.connect(clerk.note)
    happened.connect(clerk.note)
    happened.connect(other.note)
    gc.collect()

    assert [said for _, said in happened.send(None)] == [clerk, other]
    del clerk
    gc.collect()
    assert [said for _, said in happened.send(None)] == [other]


def test_what_is_connected_twice_is_called_once(happened, ear, heard):
    for sender in ("me", "m" + "e", None, None):
        happened.connect(ear, sender=sender)

    happened.send("you")

    assert (len(happened.receivers), heard) == (2, [("you", {})])


def test_a_dispatch_uid_says_what_counts_as_the_same(happened, ear):
    def other(**named):
        pass

    happened.connect(ear, dispatch_uid="only")
    happened.connect(other, dispatch_uid="only")

    assert [receiver for receiver, _ in happened.send(None)] == [ear]
    assert happened.disconnect(dispatch_uid="only") is True
    assert happened.send(None) == []


def test_a_receiver_can_be_taken_back_with_the_sender_it_was_connected_to(happened, ear):
    happened.connect(ear, sender="me")

    assert happened.disconnect(ear) is False
    assert happened.disconnect(ear, sender="me") is True
    assert happened.disconnect(ear, sender="me") is False
    assert (happened.send("me"), happened.disconnect()) == ([], False)


def test_a_method_can_be_taken_back(happened):
    class Clerk:
        def note(self, **named):
            pass

    clerk = Clerk()
    happened.connect(clerk.note)

    assert happened.disconnect(clerk.note) is True


def test_a_receiver_may_take_itself_back_while_it_is_called(happened, ear, heard):
    @happened.connect
    def once(**named):
        happened.disconnect(once)

    happened.connect(ear)
    happened.send("me")
    happened.send("me")

    assert (len(happened.receivers), len(heard)) == (1, 2)


def test_a_receiver_that_wants_it_is_called_until_it_does_not_raise(happened, monkeypatch, caplog):
    pauses, errors = [], [OSError("down"), OSError("still down"), *[OSError("down for long")] * 14]
    monkeypatch.setattr(signals.time, "sleep", pauses.append)

    def receiver(**named):
        if errors:
            raise errors.pop(0)
        return "up"

    happened.connect(receiver, retry=True)

    assert [said for _, said in happened.send(None)] == ["up"]
    assert pauses == [*range(2, 32, 2), 30]
    assert caplog.messages[0] == f"Receiver {receiver!r} raised OSError('down'); it is called again in 2 s"
    assert happened.disconnect(receiver) is True


def test_a_receiver_that_takes_no_further_arguments_is_refused_with_what_to_write(happened):
    def narrow(sender, what):
        pass

    with pytest.raises(TypeError) as caught:
        happened.connect(narrow)

    assert str(caught.value) == (
        "narrow(sender, what) does not take **kwargs, so it is not connected to happened, which may get more arguments "
        "in time. Write: def narrow(sender, **kwargs)"
    )
    assert happened.receivers == {}


def test_a_sender_in_the_place_of_the_receiver_is_refused_with_what_to_write(happened):
    with pytest.raises(TypeError) as caught:
        happened.connect("tasks.add")

    assert str(caught.value) == (
        "'tasks.add' cannot be called, so it is not connected to happened. "
        "To hear only from one sender write: @happened.connect(sender='tasks.add')"
    )


def test_a_receiver_that_cannot_be_held_weakly_is_refused_with_what_to_write(happened):
    class Slotted:
        __slots__ = ()

        def __call__(self, **named):
            return "heard"

        def __repr__(self):
            return "Slotted()"

    with pytest.raises(TypeError) as caught:
        happened.connect(Slotted())

    assert str(caught.value) == (
        "Slotted() cannot be held weakly. It is not connected to happened. Have it kept: connect(receiver, weak=False)"
    )
    happened.connect(Slotted(), weak=False)
    assert [said for _, said in happened.send(None)] == ["heard"]


def test_a_function_that_does_not_say_what_it_takes_is_taken_at_its_word(happened):
    happened.connect(dict)

    assert happened.send("me", what=1) == [(dict, {"signal": happened, "sender": "me", "what": 1})]


def test_every_signal_of_celery_is_here_or_has_a_reason_not_to_be():
    assert set(ALL) | set(ABSENT) == set(CELERYS.split())
    assert set(ALL) & set(ABSENT) == set()


def test_every_signal_goes_by_its_own_name_and_says_when_it_is_sent():
    body = ast.parse(Path(signals.__file__).read_text()).body
    said = {
        ast.unparse(node.targets[0])
        for node, after in pairwise(body)
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }

    assert {name for name, signal in ALL.items() if name == signal.name} & said == set(ALL)
    assert repr(signals.task_prerun) == "<Signal: task_prerun>"


def test_nobody_is_connected_to_begin_with():
    assert [name for name, signal in ALL.items() if signal.receivers] == []
