"""The whole workflow of a task, found in the files, however far it has come."""

from pmtq.canvas import chain, chord, group
from pmtq.family import Member, family_of
from pmtq.states import FAILURE, PENDING, REVOKED, SUCCESS
from tests.support import post_by_hand


def shown(members, names=None):
    return [(one.depth, one.function, one.state) for one in members]


def test_before_it_runs_the_records_tell_of_it(app, add, folder):
    result = (add.s(1, 1) | group(add.s(2), add.s(3))).delay()
    add.delay(9, 9)

    members = family_of(folder, result[1].id)

    assert shown(members) == [(0, "tasks.add", PENDING), (1, "tasks.add", PENDING), (1, "tasks.add", PENDING)]
    assert [one.task_id for one in members[:1]] == [result.parent.id]
    assert members[1].before == [result.parent.id]


def test_when_the_records_are_gone_the_results_tell_of_it(app, add, folder, work):
    result = chord([add.s(1, 1), add.s(2, 2)], app.task(sum, name="total", typing=False).s()).delay()
    work(app)
    for _, _, path in folder.sealed_queues():
        path.unlink()
    assert folder.queue().stat().st_size == 0

    members = family_of(folder, result.id)

    assert shown(members) == [(0, "", SUCCESS), (0, "", SUCCESS), (1, "", SUCCESS)]
    assert members[-1].task_id == result.id


def test_a_task_alone_is_a_family_of_one(add, folder):
    result = add.delay(1, 2)

    assert family_of(folder, result.id) == [Member(result.id, "tasks.add")]
    assert family_of(folder, "unknown") == [Member("unknown")]


def test_what_a_task_posts_while_it_runs_belongs_to_it(app, add, folder, work):
    @app.task(name="post")
    def post():
        return chain(add.s(1, 1), add.s(1)).delay().id

    result = post.delay()
    work(app)

    assert [one.depth for one in family_of(folder, result.get(timeout=0))] == [0, 1, 2]


def test_steps_that_a_person_has_wait_for_each_other_are_shown_all_the_same(folder):
    post_by_hand(folder, '{"task_id":"a","function":"f","after":"b"}\n{"task_id":"b","function":"f","after":"a"}\n')

    assert sorted(one.task_id for one in family_of(folder, "a")) == ["a", "b"]


def test_all_of_a_workflow_is_called_off_by_one_handle(app, add, work):
    result = (add.s(1, 1) | group(add.s(2), add.s(3)) | app.task(sum, name="total", typing=False).s()).delay()

    result.revoke(workflow=True)
    work(app)

    assert [one.state for one in result.workflow()] == [REVOKED] * 4


def test_a_workflow_that_has_failed_is_seen_as_such(app, add, work):
    result = chain(add.s("x", 1), add.s(1)).delay()
    work(app)

    assert [one.state for one in result.workflow()] == [FAILURE, FAILURE]
