"""Workflows on workers: who waits for whom, what a failure does, and tasks that change the workflow they are in."""

import json
import logging
from contextlib import suppress

import pytest

from pmtq.canvas import chain, chord, group
from pmtq.exceptions import ChordError, Ignore, ImproperlyConfigured, OperationalError, Reject, TaskRevokedError
from pmtq.inspection import View
from pmtq.records import StateRecord
from pmtq.result import GroupResult
from pmtq.states import FAILURE, IGNORED, REJECTED, REVOKED, SUCCESS
from tests.support import NOW, all_states, life, post_by_hand, read_lines


@pytest.fixture
def total(app):
    """A task that adds up."""
    return app.task(sum, name="total", typing=False)


@pytest.fixture
def fail(app):
    """A task that fails."""

    @app.task(name="fail")
    def fail(*args):
        raise ValueError("no")

    return fail


@pytest.fixture
def told(app):
    """A failure callback, and what it was told."""

    @app.task(name="hear")
    def hear(request, exc, traceback, word="once"):
        hear.told.append((request.id, request.task, list(request.args), repr(exc), traceback.splitlines()[-1], word))

    hear.told = []
    return hear


@pytest.fixture
def heard(app):
    """What the failure callback ``hear it`` was told that has happened."""
    heard = []
    app.task(name="hear it")(lambda request, exc, traceback: heard.append(str(exc)))
    return heard


def test_of_a_workflow_that_cannot_be_posted_whole_no_step_waits_for_ever(app, add, work, folder):
    """A later step is written before an earlier one, so that no crash lets it run too early."""
    folder.make()
    folder.queue("shut").mkdir()
    workflow = chain(add.s(1, 1).set(queue="shut"), add.s(2))

    with pytest.raises(OperationalError, match="shut"):
        workflow.delay()
    written = [line["task_id"] for line in read_lines(folder.queue())]
    work(app)

    (last,) = map(app.AsyncResult, written)
    assert last.state == REVOKED
    assert "its workflow could not be posted whole: " in str(last.result)


@pytest.mark.parametrize("how", ["called with an id", "made with an id", "frozen"])
def test_a_workflow_with_ids_of_its_own_is_made_whole_by_posting_it_again(app, add, total, work, folder, how):
    folder.make()
    folder.queue("shut").mkdir()
    parts = group(add.s(1, 1).set(queue="shut"), add.s(2, 2)) | group(add.si(3, 3), add.si(4, 4)) | total.s()
    workflow = chain(parts, task_id="mine") if how == "made with an id" else parts
    options = {"task_id": "mine"} if how == "called with an id" else {}
    if how == "frozen":
        workflow.freeze()
    with pytest.raises(OperationalError, match="shut"):
        workflow.apply_async(**options)
    folder.queue("shut").rmdir()

    first, again = workflow.apply_async(**options), workflow.apply_async(**options)
    posted = [line["task_id"] for name in ("celery", "shut") for line in read_lines(folder.queue(name))]
    work(app, queues=("celery", "shut"))

    assert (first.id, first.get(timeout=0)) == (again.id, 14)
    assert len(set(posted)) == 7


def test_a_task_of_another_workflow_is_not_called_off_because_a_step_has_its_id(app, add, work, folder):
    nightly = add.apply_async((1, 1), task_id="nightly")
    folder.queue("shut").mkdir()
    with pytest.raises(OperationalError, match="shut"):
        chain(add.s(1, 1).set(queue="shut"), add.s(2).set(task_id="nightly")).delay()
    work(app)

    assert nightly.get(timeout=0) == 2


def test_another_workflow_under_the_same_id_has_steps_of_its_own(app, add, work, folder):
    told = []
    app.task(name="tell")(lambda value, who: told.append((value, who)))
    tell = app.tasks["tell"]

    add.apply_async((1, 1), task_id="one", link=tell.s("alice"))
    add.apply_async((1, 1), task_id="one", link=tell.s("bob"))
    work(app)

    assert told == [(2, "alice"), (2, "bob")]


def test_what_a_task_has_added_counts_though_it_reports_its_end_itself(app, add, total, work):
    @app.task(bind=True)
    def more(self):
        self.add_to_chord(add.s(10, 10))
        self.update_state(state="SUCCESS", meta=1)

    result = chord([more.s(), add.s(1, 1)], total.s()).delay()
    work(app)

    assert result.get(timeout=0) == 23


def ends(folder):
    """Return how every task has ended."""
    return {
        line["task_id"]: line["status"] for line in all_states(folder) if line["status"] not in {"STARTED", "RETRY"}
    }


# Failures.


def test_a_failed_step_fails_all_that_waits_for_it_and_names_itself(app, add, fail, total, work, folder):
    result = (fail.s() | add.s(1) | group(add.s(2), add.s(3)) | total.s()).delay()
    work(app)

    culprit = result.parent.parent.parent.id
    assert list(ends(folder).values()) == [FAILURE] * 5
    assert [line["error"]["type"] for line in all_states(folder) if "error" in line] == [
        "ValueError",
        *["pmtq.exceptions.ChordError"] * 4,
    ]
    assert str(result.result) == (
        f"Dependency {culprit} raised ValueError: no. What waits for it is not run. See it: pmtq result {culprit}"
    )


def test_a_step_behind_a_failed_one_raises_that_ones_exception_where_it_is_known(app, add, fail, work):
    result = chain(fail.s(), add.s(1), add.s(2)).delay()
    work(app)

    with pytest.raises(ValueError, match=r"^no$"):
        result.get(timeout=0)
    with pytest.raises(ChordError, match=r"^Dependency"):
        result.get(timeout=0, follow_parents=False)
    with pytest.raises(ChordError, match=rf"^Dependency {result.parent.parent.id} raised ValueError: no"):
        app.AsyncResult(result.id).get(timeout=0)


def test_one_failed_member_fails_the_body_and_the_others_run(app, add, fail, total, work, folder):
    result = chord([add.s(1, 1), fail.s(), add.s(2, 2)], total.s()).delay()
    work(app)

    with pytest.raises(ChordError, match=rf"^Dependency {result.parent[1].id} raised ValueError: no"):
        result.get(timeout=0)
    assert [one.state for one in result.parent] == [SUCCESS, FAILURE, SUCCESS]


@pytest.mark.parametrize(
    ("raised", "state", "follower", "message"),
    [
        (Ignore("not today"), IGNORED, IGNORED, "is not to have a result"),
        (Reject("not mine"), REJECTED, FAILURE, "ended as REJECTED: the task refused the call: not mine. "),
    ],
)
def test_a_step_that_ends_in_another_way_ends_its_followers_too(
    app, add, work, folder, raised, state, follower, message
):
    @app.task
    def stop():
        raise raised

    result = chain(stop.s(), add.s(1), add.s(2)).delay()
    work(app)

    assert [one.state for one in (result.parent.parent, result.parent, result)] == [state, follower, follower]
    assert message in str(result.parent.result)


def test_a_step_that_is_called_off_fails_its_followers(app, add, work, folder):
    result = chain(add.s(1, 1).set(expires=-1), add.s(1)).delay()
    work(app)

    assert [result.parent.state, result.state] == [REVOKED, FAILURE]
    with pytest.raises(TaskRevokedError):
        result.get(timeout=0)


def test_a_step_that_is_called_off_fails_followers_that_are_come_to_after_the_results_were_sealed(
    app, add, work, folder, monkeypatch
):
    monkeypatch.setattr("pmtq.sealing.IDLE_SEAL_BYTES", 0)
    result = chain(add.s(1, 1).set(expires=-1), add.s(1).set(queue="elsewhere")).delay()
    work(app)
    sealed = len(folder.sealed_results())
    work(app, queues=("elsewhere",))

    assert (sealed, result.state) == (1, FAILURE)


def test_a_revocation_from_outside_fails_the_followers(app, add, total, work, folder):
    result = chord([add.s(1, 1).set(countdown=3600), add.s(2, 2)], total.s()).delay()
    app.backend.store(StateRecord(result.parent[0].id, REVOKED, error={"type": "x.Off", "message": "called off"}))
    work(app)

    assert "ended as REVOKED: called off. " in str(result.result)


def test_what_fails_because_of_another_is_no_error_of_its_own_in_the_log(app, add, fail, work, caplog):
    with caplog.at_level(logging.INFO, "pmtq.worker"):
        chain(fail.s(), add.s(1), add.s(2)).delay()
        work(app)

    assert [one.levelname for one in caplog.records if "FAILURE" in one.getMessage()] == ["ERROR", "INFO", "INFO"]


# Failure callbacks.


def test_a_failure_callback_is_told_of_the_task_that_failed_and_once(app, add, fail, told, work):
    result = chain(add.s(1, 1), fail.s(7), add.s(2), add.s(3)).on_error(told.s(word="chain")).delay()
    work(app)

    culprit = result.parent.parent.id
    assert told.told == [(culprit, "fail", [2, 7], "ValueError('no')", "ValueError: no", "chain")]


def test_the_failure_callback_of_a_later_step_does_not_hear_of_an_earlier_one(app, add, fail, told, work, folder):
    chain(fail.s(), add.s(1).on_error(told.s())).delay()
    work(app)

    assert told.told == []
    assert sorted(ends(folder).values()) == [FAILURE, FAILURE, IGNORED]


def test_the_failure_callback_of_a_chord_hears_of_its_header_once(app, add, fail, total, told, work):
    result = (add.s(1, 1) | chord([fail.s(), fail.s(), add.s(1)], total.s())).on_error(told.s()).delay()
    work(app)

    assert len(told.told) == 1
    assert told.told[0][0] in {one.id for one in result.parent}


def test_the_failure_callback_of_a_body_is_that_of_its_chord(app, fail, total, told, work):
    chord([fail.s(), fail.s()], total.s().on_error(told.s())).delay()
    work(app)

    assert len(told.told) == 1


def test_a_failure_callback_that_was_not_needed_ends_as_ignored_with_all_behind_it(app, add, told, work, folder):
    add.apply_async((1, 2), link_error=chain(told.s(), add.si(1, 1)))
    work(app)

    assert list(ends(folder).values()) == [SUCCESS, IGNORED, IGNORED]


def test_a_failure_callback_that_is_a_bound_task_may_take_all_three(app, fail, work):
    heard = []

    @app.task(bind=True)
    def hear(self, request, exc, traceback):
        heard.append((self.request.id != request.id, repr(exc)))

    fail.apply_async(link_error=[hear.s()])
    work(app)

    assert heard == [(True, "ValueError('no')")]


def test_a_callback_by_option_gets_the_value(app, add, work):
    result = add.apply_async((1, 2), link=add.s(10))
    work(app)

    (child,) = result.children
    assert (result.get(timeout=0), child.get(timeout=0)) == (3, 13)
    assert [value for _, value in result.collect(timeout=0)] == [3, 13]


# Waiting.


def test_a_step_is_claimed_only_when_all_before_it_have_ended_well(app, add, total, hand):
    result = chord([add.s(1, 1), add.s(2, 2)], total.s()).delay()
    known = {"tasks.add": True, "total": True}
    one, two = hand("w1", known), hand("w2", known)

    first, second = one.claim(2)
    assert (one.claim(), two.claim()) == ([], [])
    one.settle(first, result=2)
    assert two.claim() == []
    one.settle(second, result=4)
    (body,) = two.claim()

    assert (body.record.task_id, body.record.arguments()) == (result.id, ([[2, 4]], {}))


def test_the_values_enter_at_the_claim_and_not_into_the_file(app, add, hand, folder):
    chain(add.s(1, 1), add.s(y=5)).delay()
    before = folder.queue().read_bytes()
    one = hand()
    one.settle(*one.claim(), result=[1, 2])

    (second,) = one.claim()

    assert second.record.arguments() == ([[1, 2]], {"y": 5})
    assert folder.queue().read_bytes() == before


def test_what_one_follower_does_to_its_argument_the_other_does_not_see(app, work):
    @app.task
    def give():
        return [1]

    @app.task
    def spoil(values):
        values.append(2)
        return values

    result = (give.s() | group(spoil.s(), spoil.s())).delay()
    work(app)

    assert result.get(timeout=0) == [[1, 2], [1, 2]]


def test_a_step_whose_worker_died_is_given_its_values_again(app, add, hand):
    chain(add.s(1, 1), add.s(4)).delay()
    dead, heir = hand("w1"), hand("w2")
    dead.settle(*dead.claim(), result=2)
    dead.claim()
    dead.die()

    (again,) = heir.claim(now=NOW + 1)

    assert (again.started.attempt, again.record.arguments()) == (2, ([2, 4], {}))


def test_a_countdown_of_a_step_begins_when_the_one_before_it_ends(app, add, hand):
    chain(add.s(1, 1), add.s(4).set(countdown=10)).delay()
    one = hand()
    one.settle(*one.claim(now=NOW + 100), now=NOW + 100)

    assert one.claim(now=NOW + 109) == []
    assert one.claimer.next_due() == NOW + 110
    assert len(one.claim(now=NOW + 110)) == 1


def test_options_of_a_chain_are_those_of_its_first_step_and_of_a_group_those_of_all(app, add, folder):
    chain(add.s(1, 1), add.s(2)).apply_async(queue="low", task_id="the-last")
    group(add.s(1, 1), add.s(2, 2)).apply_async(countdown=60)

    assert [line["params"] for line in read_lines(folder.queue("low"))] == [[1, 1]]
    last, *members = read_lines(folder.queue())
    assert last["task_id"] == "the-last"
    assert ["eta" in line for line in members] == [True, True]


def test_a_value_that_others_wait_for_is_handed_on_though_it_is_not_wanted(app, add, work):
    @app.task(ignore_result=True)
    def quiet():
        return 4

    result = (quiet.s() | add.s(1)).delay()
    work(app)

    assert result.get(timeout=0) == 5


def test_a_person_may_write_what_comes_after_what(app, folder, work):
    post_by_hand(
        folder,
        '{"task_id": "b", "function": "tasks.add", "params": [10], "after": "a"}\n'
        '{"task_id": "a", "function": "tasks.add", "params": [1, 2]}\n',
    )
    work(app)

    assert app.AsyncResult("b").get(timeout=0) == 13


def test_a_person_may_name_a_task_that_ended_before_the_files_were_cleared(app, add, folder, work, monkeypatch):
    monkeypatch.setattr("pmtq.sealing.IDLE_SEAL_BYTES", 0)
    add.apply_async((1, 2), task_id="a")
    work(app)
    assert folder.sealed_results()

    post_by_hand(folder, '{"task_id": "b", "function": "tasks.add", "params": [10], "after": "a"}\n')
    work(app)

    assert app.AsyncResult("b").get(timeout=0) == 13


def test_a_person_who_names_no_tasks_is_told_so(app, folder, work):
    post_by_hand(folder, '{"task_id": "b", "function": "tasks.add", "params": [10], "after": ["a", 7]}\n')
    work(app)

    (rejected,) = read_lines(folder.rejected)
    assert 'after is ["a", 7], which names no tasks' in json.dumps(rejected).replace("\\", "")
    assert app.AsyncResult("b").state == REJECTED or ends(folder)


def test_who_looks_is_told_what_a_step_waits_for(app, add, total, folder):
    result = chord([add.s(1, 1), add.s(2, 2)], total.s()).on_error(add.s()).delay()

    why = {owed.task_id: owed.why for owed in View(folder, NOW).backlog("celery", 10).first}

    first = result.parent[0].id
    assert [why[one] for one in why][2:] == [
        f"task {first} and 1 more have not ended yet",
        f"it runs only if task {first} fails, or one of 2 others",
    ]


def test_a_forgotten_value_stays_until_it_was_handed_on(app, add, hand):
    result = chain(add.s(1, 1), add.s(4)).delay()
    one = hand()
    one.settle(*one.claim(), result=2)
    result.parent.forget()
    one.claimer.tidy(NOW, idle=True)

    (second,) = one.claim()

    assert second.record.arguments() == ([2, 4], {})


# Tries, replacement, more members.


def test_a_step_may_be_tried_again_with_other_arguments(app, add, work):
    @app.task(bind=True, max_retries=1)
    def twice(self, before, own):
        if self.request.retries == 0:
            raise self.retry(args=[before * 100, own], countdown=0)
        return before + own

    result = (add.s(1, 1) | twice.s(3) | add.s(1)).delay()
    work(app)

    assert result.get(timeout=0) == 204


@pytest.mark.parametrize("eagerly", [False, True], ids=["worker", "eager"])
@pytest.mark.parametrize(
    ("other", "value"),
    [
        (lambda add, total: add.s(2, 3), 5),
        (lambda add, total: add.s(2, 3) | add.s(4), 9),
        (lambda add, total: group(add.s(1, 1), add.s(2, 2)), [2, 4]),
        (lambda add, total: chord([add.s(1, 1), add.s(2, 2)], total.s()), 6),
        (lambda add, total: group(), []),
        (lambda add, total: add.s(2, 3).set(queue="low"), 5),
    ],
    ids=["task", "chain", "group", "chord", "nothing", "elsewhere"],
)
def test_a_task_goes_on_as_another_one_under_its_own_id(app, add, total, work, folder, eagerly, other, value):
    app.conf.task_always_eager = eagerly

    @app.task(bind=True)
    def change(self, *given):
        raise self.replace(other(add, total))

    wrap = app.task(lambda value: [value], name="wrap")
    result = (change.s() | wrap.s()).delay()
    if not eagerly:
        work(app, queues=("celery", "low"))

    assert (result.parent.get(timeout=0), result.get(timeout=0)) == (value, [value])
    assert eagerly or life(folder, result.parent.id)[-1][0] == SUCCESS


def test_a_task_in_the_middle_of_a_chain_is_replaced_and_its_argument_is_not_given_twice(app, add, work):
    @app.task(bind=True)
    def change(self, before):
        return self.replace(add.s(before, 100))

    result = (add.s(1, 1) | change.s() | add.s(1000)).delay()
    work(app)

    assert result.get(timeout=0) == 1102


def test_what_replaces_a_task_fails_in_its_place(app, add, fail, work):
    @app.task(bind=True)
    def change(self):
        raise self.replace(add.s(1, 1) | fail.s())

    result = (change.s() | add.s(1)).delay()
    work(app)

    assert [result.parent.state, result.state] == [FAILURE, FAILURE]
    assert "raised ValueError: no" in str(result.result)


@pytest.mark.parametrize("queue", ["celery", "low"])
def test_a_failure_in_what_replaces_a_task_is_the_tasks_own(app, add, fail, heard, work, queue):
    @app.task(bind=True)
    def change(self):
        raise self.replace(fail.s().set(queue=queue) | add.s(1) if queue == "celery" else fail.s().set(queue=queue))

    result = change.apply_async(link_error=[app.tasks["hear it"].s()])
    work(app, queues=("celery", "low"))

    assert result.state == FAILURE
    assert ["raised ValueError: no" in one for one in heard] == [True]


def test_a_failure_in_what_was_added_to_a_chord_is_the_chords_own(app, add, fail, total, heard, work):
    @app.task(bind=True)
    def more(self, *_):
        self.add_to_chord(fail.s())
        return 1

    result = chord([more.s(), add.s(1, 1)], total.s().on_error(app.tasks["hear it"].s())).delay()
    work(app)

    assert result.state == FAILURE
    assert ["raised ValueError: no" in one for one in heard] == [True]


def test_a_task_may_be_replaced_many_times(app, work):
    @app.task(bind=True)
    def count(self, number):
        if number:
            raise self.replace(count.s(number - 1))
        return "done"

    result = count.delay(20)
    work(app)

    assert result.get(timeout=0) == "done"


def test_an_empty_chain_replaces_nothing(app, work):
    @app.task(bind=True)
    def change(self):
        raise self.replace(chain())

    result = change.delay()
    work(app)

    for one in (result, change.apply()):
        with pytest.raises(ImproperlyConfigured, match=r"^a task cannot be replaced by an empty chain"):
            one.get(timeout=0)


def test_a_task_called_directly_cannot_be_replaced(app, add):
    with pytest.raises(RuntimeError, match=r"^tasks.add was called directly, so it cannot be replaced"):
        add.replace(add.s(1, 1))


@pytest.mark.parametrize("eagerly", [False, True], ids=["worker", "eager"])
def test_a_member_of_a_header_may_add_others_to_it(app, add, total, work, eagerly):
    app.conf.task_always_eager = eagerly

    @app.task(bind=True)
    def more(self, number):
        if number:
            self.add_to_chord(more.s(number - 1))
            self.add_to_chord(group(add.s(0, 0), add.s(0, 0)) | total.s())
        return number

    result = chord([more.s(2), add.s(10, 10)], app.task(lambda values: values, name="show").s()).delay()
    if not eagerly:
        work(app)

    assert sorted(result.get(timeout=0)) == [0, 0, 0, 1, 2, 20] or eagerly
    assert not eagerly or result.get(timeout=0)[:2] == [2, 20]


def test_what_could_not_be_added_to_a_header_is_not_waited_for(app, add, total, work, folder):
    @app.task(bind=True)
    def more(self):
        with suppress(OperationalError):
            self.add_to_chord(add.s(1, 1).set(queue="shut"))
        return 5

    result = chord([more.s(), add.s(1, 1)], total.s()).delay()
    folder.queue("shut").mkdir()
    work(app)

    assert result.get(timeout=0) == 7


def test_nothing_is_added_to_the_chord_of_a_task_that_is_in_none(app, add, work):
    @app.task(bind=True)
    def more(self):
        self.add_to_chord(add.s(1, 1))

    result = more.delay()
    work(app)

    with pytest.raises(ValueError, match=r"is in no chord's header, so nothing can be added to it. Nothing was queued"):
        result.get(timeout=0)


def test_a_task_that_posts_a_workflow_has_what_begins_it_as_children(app, add, work, folder):
    @app.task(bind=True)
    def post(self):
        return (group(add.s(1, 1), add.s(2, 2)) | add.si(3, 3)).delay().id

    result = post.delay()
    work(app)

    lines = {line["task_id"]: line for line in all_states(folder) if line["status"] == SUCCESS}
    last = app.AsyncResult(result.get(timeout=0))
    assert last.get(timeout=0) == 6
    assert [child.get(timeout=0) for child in result.children] == [2, 4]
    assert len(lines[result.id]["children"]) == 2
    assert [value for _, value in result.collect(timeout=0)] == [last.id, 2, 4, 6]


# Groups of results.


def test_a_group_is_saved_as_a_line_and_found_by_its_id(app, add, work):
    result = (add.s(1, 1) | group(add.s(2), add.s(3))).delay()
    work(app)

    assert result.save() is result
    again = GroupResult.restore(result.id, app=app)

    assert again == result
    assert (again.get(timeout=0), again.parent.get(timeout=0)) == ([4, 5], 2)
    result.delete()
    assert GroupResult.restore(result.id, app=app) is None


def test_a_group_counts_and_tells_of_its_members(app, add, fail, work):
    result = group(add.s(1, 1), fail.s(), add.s(2, 2)).delay()
    assert (result.ready(), result.waiting(), result.completed_count(), len(result), bool(result)) == (
        False, True, 0, 3, True,
    )  # fmt: skip
    work(app)

    assert (result.ready(), result.successful(), result.failed(), result.completed_count()) == (True, False, True, 2)
    assert [str(one) for one in result.join(timeout=0, propagate=False)] == ["2", "no", "4"]
    assert result.children == result.results
    assert result.as_list() == [result.id]


def test_groups_in_groups_are_waited_for_as_one(app, add, work):
    result = group(add.s(1, 1) | group(add.s(2), add.s(3)), add.s(4, 4)).delay()
    work(app)

    assert result.get(timeout=0) == [[4, 5], 8]
    assert [one.get(timeout=0) for one in result.leaves()] == [4, 5, 8]


def test_a_group_of_nothing_is_a_result_all_the_same(app, folder):
    result = group().delay()

    assert (result.get(timeout=0), result.ready(), bool(result), len(result)) == ([], True, True, 0)
    assert not folder.queue().exists()
    assert chain().delay() is None


def test_the_end_of_a_long_chain_is_forgotten_with_all_before_it(app, add, work):
    result = chain(add.s(0, 1), *[add.s(1)] * 1200).delay()
    work(app)

    assert result.get(timeout=0) == 1201
    assert len(result.as_list()) == 1201
    result.forget()
    assert result.parent.parent.state == "PENDING"
