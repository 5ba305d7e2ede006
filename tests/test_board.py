"""What a parent sees of its child."""

import logging
import math
import multiprocessing
import os
import time

import pytest

from pmtq.claim import Claim
from pmtq.records import StateRecord, TaskRecord
from pmtq.request import running
from pmtq.states import FAILURE, STARTED
from pmtq.worker import board as module
from pmtq.worker.board import Board, SharedBoard


@pytest.fixture
def claim():
    started = StateRecord("a", STARTED, None, 2, "w1", retries=1, deaths=1)
    claim = Claim(TaskRecord(task_id="a", function="shop.ship", params=[17]), started)
    token = running.set(claim)
    yield claim
    running.reset(token)


@pytest.fixture(params=["fork", "spawn"])
def board(request):
    return SharedBoard(multiprocessing.get_context(request.param))


def test_an_idle_child_shows_nothing(board):
    assert (board.busy, board.deadline(), board.line_at_the_end()) == (False, math.inf, None)


def test_a_parent_reads_what_its_child_has_written():
    context = multiprocessing.get_context("fork")
    board = SharedBoard(context)

    def be_busy():
        board.busy = True

    child = context.Process(target=be_busy)
    child.start()
    child.join()

    assert board.busy


def test_while_a_limited_task_runs_its_end_stands_there(board, claim):
    board.hard_limit("a", 5.0)
    left, line = board.deadline() - time.monotonic(), board.line_at_the_end()
    board.hard_limit("a", 0.0)

    message = "shop.ship ran longer than its time limit of 5 s, so its process was ended"
    error = {"type": "pmtq.exceptions.TimeLimitExceeded", "message": message}
    assert 4 < left <= 5
    assert line == StateRecord(
        "a", FAILURE, None, 2, "w1", runtime=5.0, error=error, retries=1, deaths=1, record=claim.record, queue="celery"
    )
    assert (board.deadline(), board.line_at_the_end()) == (math.inf, None)


def test_a_record_too_long_for_the_board_is_left_in_the_queue_file(board, claim):
    claim.record.params = ["x" * module._SIZE]

    board.hard_limit("a", 5.0)

    line = board.line_at_the_end()
    assert (line.task_id, line.status, line.record) == ("a", FAILURE, None)


def test_all_those_stand_there_that_wait_for_the_task_however_many_they_are(board, claim):
    claim.record.followers = [f"{number:022x}" for number in range(10_000)]

    board.hard_limit("a", 5.0)

    assert board.line_at_the_end().followers == claim.record.followers


@pytest.mark.parametrize(("next_look", "pokes"), [(1.0, 0), (60.0, 1)])
def test_a_child_wakes_its_parent_if_that_would_look_too_late(board, claim, monkeypatch, next_look, pokes):
    poked = []
    monkeypatch.setattr(os, "kill", lambda *args: poked.append(args))
    monkeypatch.setattr(os, "getppid", os.getpid)  # as if we were the child of the process that has made it
    board.looks_again(time.monotonic() + next_look)

    board.hard_limit("a", 5.0)

    assert poked == [(os.getpid(), module._POKE)] * pokes


def test_without_a_process_to_end_it_says_once_that_a_limit_is_not_kept(claim, caplog):
    told = {"shop.bill"}
    board = Board(told)
    with caplog.at_level(logging.WARNING):
        for seconds in (5.0, 0.0, 5.0, 0.0):
            board.hard_limit("a", seconds)
        claim.record.function = "shop.bill"
        board.hard_limit("a", 5.0)

    assert [record.getMessage() for record in caplog.records] == [
        (
            "The time limit of 5 s of a call of shop.ship is not kept: a task can only be ended together with its process. "
            "Start the worker with -P prefork"
        )
    ]
    assert (board.deadline(), board.line_at_the_end()) == (math.inf, None)
