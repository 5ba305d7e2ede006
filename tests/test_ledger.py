"""The rules: who may take what."""

import pytest

from pmtq.inheritance import BEGUN, MAX_STARTS, legacy, verdict_on_the_lost
from pmtq.ledger import Ledger, release, start
from pmtq.records import StateRecord, TaskRecord, decode_state, encode
from pmtq.states import FAILURE, FINAL_STATES, FORGOTTEN, LOST, RELEASED, RETRY, REVOKED, STARTED, SUCCESS

AT = "2027-01-15T08:00:00.000Z"


def told(*states):
    ledger = Ledger()
    for state in states:
        ledger.apply([state])
    return ledger


def started(task_id, worker="w1", attempt=1):
    return StateRecord(task_id, STARTED, attempt=attempt, worker=worker)


def test_a_started_task_is_held_by_the_worker_that_started_it():
    ledger = told(started("a"), started("b", "w2"), started("c"))

    assert ledger.holders() == {"w1", "w2"}
    assert ledger.held_by("w1") == [started("a"), started("c")]
    assert ledger.held_by("w3") == []


@pytest.mark.parametrize("status", sorted(FINAL_STATES))
def test_a_final_state_ends_a_task(status):
    ledger = told(started("a"), StateRecord("a", status))

    assert (ledger.final, ledger.open) == ({"a"}, {})


def test_the_first_final_state_decides_and_what_is_said_later_is_ignored():
    ledger = told(StateRecord("a", SUCCESS))

    said = [
        bool(ledger.apply([StateRecord("a", status)]))
        for status in (FAILURE, STARTED, LOST, RELEASED, RETRY, "PROGRESS")
    ]

    assert said == [False] * 6
    assert (ledger.final, ledger.open, ledger.forgotten) == ({"a"}, {}, set())


@pytest.mark.parametrize("idle", [StateRecord("a", FAILURE), StateRecord("b", "PROGRESS"), StateRecord("z", FORGOTTEN)])
def test_a_line_that_changes_nothing_does_not_hide_those_behind_it(idle):
    ledger = told(StateRecord("a", SUCCESS), started("b"))

    assert ledger.apply([idle, started("c"), idle, StateRecord("b", SUCCESS)]) == [
        started("c"),
        StateRecord("b", SUCCESS),
    ]
    assert (ledger.final, ledger.open) == ({"a", "b"}, {"c": started("c")})


def test_what_was_set_or_sealed_is_a_change():
    lines = [control("pause queue low"), StateRecord(sealed="queue.0.jsonl", size=10), control("pause queue low", None)]

    assert Ledger().apply(lines) == lines


@pytest.mark.parametrize("status", [RELEASED, LOST, RETRY])
def test_a_task_that_was_given_back_is_held_by_nobody(status):
    ledger = told(started("a"), StateRecord("a", status, attempt=1, worker="w1"))

    assert ledger.holders() == set()
    assert ledger.held_by("w1") == []
    assert ledger.open["a"].status == status


def test_a_progress_report_leaves_the_task_with_its_worker():
    ledger = told(started("a"))

    changed = ledger.apply([StateRecord("a", "PROGRESS", {"done": 3})])

    assert not changed
    assert ledger.held_by("w1") == [started("a")]


def test_a_task_taken_by_another_worker_is_held_by_that_one():
    ledger = told(started("a", "w1"), StateRecord("a", LOST, attempt=1, worker="w1"), started("a", "w2", 2))

    assert ledger.held_by("w1") == []
    assert ledger.held_by("w2") == [started("a", "w2", 2)]


def test_a_sealed_file_is_remembered_with_how_much_of_it_was_carried_over():
    ledger = told(StateRecord(sealed="queue.0.jsonl", size=10), StateRecord(sealed="queue.0.jsonl", size=20))

    assert ledger.sealed == {"queue.0.jsonl": 20}
    assert (ledger.final, ledger.open) == (set(), {})


def test_of_a_dead_workers_tasks_the_first_is_lost_and_the_others_were_never_begun():
    ledger = told(started("a", attempt=2), started("b"), started("c", attempt=3))

    assert legacy(ledger, "w1", [], AT) == [
        StateRecord("a", LOST, attempt=2, worker="w1", at=AT, deaths=1),
        StateRecord("b", RELEASED, attempt=0, worker="w1", at=AT),
        StateRecord("c", RELEASED, attempt=2, worker="w1", at=AT),
    ]


def test_the_first_is_the_one_taken_first_not_the_one_known_first():
    ledger = told(started("a"), StateRecord("a", RELEASED, worker="w1"), started("b"), started("a"))

    assert [state.task_id for state in legacy(ledger, "w1", [], AT)] == ["b", "a"]


def test_what_a_dead_worker_had_noted_stands_and_the_next_is_the_one_it_died_of():
    ledger = told(started("a"), started("b"), started("c"))
    noted = StateRecord("a", SUCCESS, 5, 1, "w1")

    assert legacy(ledger, "w1", [noted], AT) == [
        noted,
        StateRecord("b", LOST, attempt=1, worker="w1", at=AT, deaths=1),
        StateRecord("c", RELEASED, attempt=0, worker="w1", at=AT),
    ]


@pytest.mark.parametrize(
    "stale", [StateRecord("a", SUCCESS, 5, 1, "w1"), StateRecord("z", SUCCESS, 5, 1, "w1"), StateRecord()]
)
def test_a_note_of_an_attempt_that_is_settled_is_ignored(stale):
    ledger = told(started("a", attempt=2))

    assert legacy(ledger, "w1", [stale], AT) == [StateRecord("a", LOST, attempt=2, worker="w1", at=AT, deaths=1)]


def test_an_outcome_noted_twice_stands_once():
    ledger = told(started("a"))
    noted = StateRecord("a", SUCCESS, 5, 1, "w1")

    assert legacy(ledger, "w1", [noted, noted], AT) == [noted]


def test_a_worker_that_holds_nothing_gives_nothing_back():
    assert legacy(told(started("a", "w2")), "w1", [], AT) == []


@pytest.mark.parametrize(
    ("last", "attempt"),
    [
        (None, 1),
        (StateRecord("a", RELEASED, attempt=0), 1),
        (StateRecord("a", LOST, attempt=1), 2),
        (StateRecord("a", RETRY, attempt=4), 5),
    ],
)
def test_an_attempt_is_one_more_than_the_starts_that_count(last, attempt):
    assert start(last, "a", "w1", AT) == StateRecord("a", STARTED, None, attempt, "w1", AT)


CALL = TaskRecord(task_id="a", function="shop.ship", params=[1])


def lost(deaths):
    return StateRecord("a", LOST, attempt=deaths, worker="w1", deaths=deaths)


@pytest.mark.parametrize(
    ("last", "acks_late"),
    [
        (None, True),
        (None, False),
        (lost(1), True),
        (lost(MAX_STARTS - 1), True),
        (StateRecord("a", RELEASED, attempt=MAX_STARTS), True),
        (StateRecord("a", RELEASED, attempt=1), False),
        (StateRecord("a", RETRY, attempt=9), False),
    ],
)
def test_a_task_may_start_again_unless_its_worker_died_too_often(last, acks_late):
    assert verdict_on_the_lost(last, CALL, AT, acks_late=acks_late) is None


def test_a_task_whose_workers_died_three_times_has_failed():
    verdict = verdict_on_the_lost(lost(3), CALL, AT, acks_late=True)

    message = "shop.ship: 3 workers died while running it, the last one w1. Mend shop.ship and send it again"
    error = {"type": "pmtq.exceptions.WorkerLostError", "message": message}
    assert verdict == StateRecord("a", FAILURE, None, 3, "w1", AT, error=error, deaths=3, record=CALL)


def test_a_task_that_is_to_start_once_at_most_has_failed_when_its_worker_dies():
    verdict = verdict_on_the_lost(lost(1), CALL, AT, acks_late=False)

    message = "shop.ship: worker w1 died while running it, and with acks_late=False a task is started once at most"
    error = {"type": "pmtq.exceptions.WorkerLostError", "message": message}
    assert verdict == StateRecord("a", FAILURE, None, 1, "w1", AT, error=error, deaths=1, record=CALL)


# --- tries and deaths ------------------------------------------------------------------------------------------------

TRIED = {"retries": 2, "deaths": 1, "changes": {"params": [2]}}


@pytest.mark.parametrize("status", [RETRY, LOST, RELEASED])
def test_what_is_known_of_earlier_tries_goes_into_the_next_start(status):
    assert start(StateRecord("a", status, attempt=3, **TRIED), "a", "w2", AT) == StateRecord(
        "a", STARTED, None, 4, "w2", AT, **TRIED
    )


def test_a_release_takes_the_start_back_and_forgets_nothing():
    taken = StateRecord("a", STARTED, None, 4, "w1", AT, **TRIED)

    assert release(taken, AT) == StateRecord("a", RELEASED, None, 3, "w1", AT, **TRIED)


def test_a_death_counts_apart_from_tries():
    ledger = told(
        StateRecord("a", STARTED, None, 4, "w1", AT, **TRIED), StateRecord("b", STARTED, None, 4, "w1", AT, **TRIED)
    )

    assert legacy(ledger, "w1", [], AT) == [
        StateRecord("a", LOST, None, 4, "w1", AT, **{**TRIED, "deaths": 2}),
        StateRecord("b", RELEASED, None, 3, "w1", AT, **TRIED),
    ]


def test_a_task_that_was_tried_often_and_whose_worker_died_once_may_start_again():
    last = StateRecord("a", LOST, attempt=20, worker="w1", retries=18, deaths=1)

    assert verdict_on_the_lost(last, CALL, AT, acks_late=True) is None


def test_the_failure_of_a_lost_task_says_how_often_it_was_tried():
    last = StateRecord("a", LOST, attempt=5, worker="w1", retries=2, deaths=3)

    verdict = verdict_on_the_lost(last, CALL, AT, acks_late=True)
    assert (verdict.status, verdict.retries, verdict.deaths, verdict.record) == (FAILURE, 2, 3, CALL)


# --- what people set -------------------------------------------------------------------------------------------------


def control(text, result=True):
    return StateRecord(control=text, result=result, at=AT)


def test_what_people_set_holds_until_it_is_set_anew_or_taken_back():
    ledger = told(control("pause queue low"), control("rate_limit f", "10/m"), control("rate_limit f", "1/s"))
    assert ledger.controls == {
        "pause queue low": control("pause queue low"),
        "rate_limit f": control("rate_limit f", "1/s"),
    }

    ledger.apply([control("pause queue low", None), control("pause task f", None)])

    assert ledger.controls == {"rate_limit f": control("rate_limit f", "1/s")}
    assert (ledger.final, ledger.open) == (set(), {})


def test_a_revocation_is_forgotten_when_its_task_has_ended():
    ledger = told(control("revoke a"), control("revoke b"), StateRecord("a", SUCCESS))

    assert list(ledger.controls) == ["revoke b"]


def test_the_start_that_others_keep_a_distance_from_is_remembered():
    ledger = told(StateRecord("a", STARTED, at=AT, pace=["f", "key"]), started("b"))

    assert ledger.paced == {"f": 1_800_000_000.0, "key": 1_800_000_000.0}


def test_a_snapshot_says_the_same_about_all_that_is_not_done_with():
    ledger = told(
        StateRecord("a", STARTED, None, 4, "w1", AT, pace=["f"], **TRIED),
        StateRecord("b", RETRY, eta=AT, **TRIED),
        StateRecord("c", STARTED, at=AT, pace=["g"]),
        StateRecord("c", SUCCESS),
        control("pause queue low"),
        control("revoke b"),
        StateRecord(sealed="queue.0.jsonl", size=10),
    )

    again = Ledger()
    again.apply(decode_state(encode(line)) for line in ledger.snapshot())

    assert (again.open, again.controls, again.paced) == (ledger.open, ledger.controls, ledger.paced)
    assert (again.final, again.sealed) == (set(), {})


def begun(all_of_them):
    return StateRecord(control=BEGUN, result=all_of_them)


def test_of_a_worker_that_ran_all_at_once_every_task_without_an_outcome_is_lost():
    ledger = told(started("a"), started("b", attempt=2), started("c"))
    noted = StateRecord("b", SUCCESS, 5, 2, "w1")

    assert legacy(ledger, "w1", [begun(True), noted], AT) == [
        noted,
        StateRecord("a", LOST, attempt=1, worker="w1", at=AT, deaths=1),
        StateRecord("c", LOST, attempt=1, worker="w1", at=AT, deaths=1),
    ]


def test_of_a_worker_that_was_ended_for_one_task_no_other_had_begun():
    ledger = told(started("a"), started("b"), StateRecord("a", FAILURE, attempt=1))

    assert legacy(ledger, "w1", [begun(False)], AT) == [StateRecord("b", RELEASED, attempt=0, worker="w1", at=AT)]


def test_a_final_line_that_names_no_task_ends_nothing():
    ledger = told(StateRecord("", SUCCESS), StateRecord(control="pause queue low", result=True))

    assert (ledger.final, list(ledger.controls)) == (set(), ["pause queue low"])


# --- what is forgotten, and what others wait for ---------------------------------------------------------------------


def test_a_result_may_be_forgotten_whether_its_end_stands_here_or_in_a_sealed_file():
    ledger = told(StateRecord("a", SUCCESS))

    assert ledger.apply([StateRecord("a", FORGOTTEN), StateRecord("b", FORGOTTEN)]) == []
    assert (ledger.forgotten, ledger.final, ledger.open) == ({"a", "b"}, {"a"}, {})


def test_a_snapshot_says_what_is_still_to_be_erased():
    ledger = told(StateRecord("b", FORGOTTEN))

    assert ledger.snapshot() == [StateRecord("b", FORGOTTEN)]


def test_an_end_is_kept_for_the_followers_that_are_not_final_until_they_are():
    end = StateRecord("a", SUCCESS, 5, followers=["b", "c", "d"])
    ledger = told(StateRecord("b", REVOKED), end)
    kept = [ledger.snapshot()]
    for follower in "cd":
        ledger.apply([StateRecord(follower, SUCCESS)])
        kept.append(ledger.snapshot())

    assert kept == [
        [StateRecord("a", SUCCESS, 5, followers=["c", "d"], kept=True)],
        [StateRecord("a", SUCCESS, 5, followers=["d"], kept=True)],
        [],
    ]


def test_a_task_of_which_only_the_end_was_carried_over_is_known_as_such():
    ledger = told(StateRecord("a", SUCCESS, followers=["b"], kept=True), StateRecord("c", SUCCESS, followers=["b"]))

    assert (ledger.kept, ledger.final) == ({"a"}, {"a", "c"})


def test_the_name_of_a_rate_limit_or_a_throttled_key_may_hold_spaces():
    ledger = told(control("paced mails to one customer", 1_800_000_000.0), control("paced f", "10/m"))

    assert (ledger.paced, ledger.controls) == ({"mails to one customer": 1_800_000_000.0}, {})
