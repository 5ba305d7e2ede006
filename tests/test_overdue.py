"""A second thread notices what takes longer than expected."""

import logging

import pytest

from pmtq.worker import overdue as module
from pmtq.worker.overdue import Overdue
from tests.support import eventually


@pytest.fixture
def watchers(monkeypatch):
    monkeypatch.setattr(module, "OVERDUE", 0.002)
    made = []

    def make(count, act):
        made.append(Overdue(count, act))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()
        one.join()


def test_it_acts_once_on_what_does_not_go_on(watchers):
    acted = []
    watcher = watchers(lambda: 7, acted.append)

    watcher.look_after()

    assert eventually(lambda: acted == [7])
    assert not watcher._wanted.is_set(), "there is nothing more to look after"


def test_it_leaves_alone_what_goes_on(watchers):
    counts = iter([*range(20), *[20] * 1000])
    acted = []

    watchers(lambda: next(counts), acted.append).look_after()

    assert eventually(lambda: acted)
    assert acted == [20]


def test_it_acts_again_if_there_is_still_something_to_do(watchers):
    acted = []

    watchers(lambda: 7, lambda count: acted.append(count) or len(acted) < 3).look_after()

    assert eventually(lambda: acted == [7, 7, 7])


def test_what_goes_wrong_is_told_and_tried_again(watchers, caplog):
    acted = []

    def act(count):
        acted.append(count)
        if len(acted) == 1:
            raise KeyError("a mistake of ours")
        return False

    with caplog.at_level(logging.ERROR):
        watchers(lambda: 7, act).look_after()
        assert eventually(lambda: len(acted) == 2)

    assert [record.getMessage() for record in caplog.records] == [
        "The rest of a batch could not be given back; trying again"
    ]
    assert "a mistake of ours" in caplog.text
