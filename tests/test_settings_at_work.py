"""What a setting says comes about: each test sets one and looks at what is different then."""

import asyncio
import os

import pytest

from pmtq import PMTQ
from pmtq.exceptions import ImproperlyConfigured, ResultsDisabled
from pmtq.result import ResultSet
from tests.support import all_states, life, read_lines


def priorities(folder):
    return {
        path.name: [line["params"][0] for line in read_lines(path)] for path in sorted(folder.path.glob("queue*.jsonl"))
    }


def test_a_call_that_says_nothing_about_its_priority_gets_the_usual_one(app, add, folder):
    app.conf.task_default_priority = 4

    add.delay(1)
    app.send_task("by.name", [2])
    app.send_tasks([(add, [3])])
    add.apply_async([4], priority=0)

    assert priorities(folder) == {"queue.jsonl": [4], "queue.p4.jsonl": [1, 2, 3]}


def test_a_tasks_own_priority_counts_more_than_the_usual_one(app, folder):
    app.conf.task_default_priority = 4

    @app.task(priority=7)
    def urgent(x):
        return x

    urgent.delay(1)

    assert priorities(folder) == {"queue.p7.jsonl": [1]}


@pytest.mark.parametrize(("inherits", "expected"), [(True, 6), (False, 2)])
def test_what_a_task_posts_has_its_priority_if_the_setting_says_so(app, add, folder, work, inherits, expected):
    app.conf.update(task_inherit_parent_priority=inherits, task_default_priority=2)

    @app.task
    def parent(x):
        add.delay(x)
        add.apply_async([x + 1], priority=1)

    parent.apply_async([1], priority=6)
    work(app)

    assert set(priorities(folder)) - {"queue.jsonl"} == {"queue.p6.jsonl", f"queue.p{expected}.jsonl", "queue.p1.jsonl"}


def test_without_a_result_backend_no_value_is_written(app, add, folder, work):
    app.conf.result_backend = "disabled://"

    result = add.delay(2, 3)
    work(app)

    (end,) = [line for line in all_states(folder) if line["status"] == "SUCCESS"]
    assert "result" not in end
    assert result.state == "SUCCESS"


def test_whoever_waits_for_a_value_that_is_not_kept_is_told_at_once(folder):
    app = PMTQ("tasks", broker=f"file://{folder.path}", backend="disabled://")
    result = app.send_task("tasks.add", [1], task_id="mine")
    what = (
        "the result of task mine is not kept, because result_backend is disabled://. The task runs all the same, and its "
        "state can be asked: result.state. To keep results leave the setting out"
    )

    async def wait():
        return await result

    for asked in (result.get, ResultSet([result]).join, lambda: asyncio.run(wait())):
        with pytest.raises(ResultsDisabled) as told:
            asked()
        assert str(told.value) == what
        assert isinstance(told.value, NotImplementedError)  # what Celery's users catch
    assert result.state == "PENDING"


def test_a_task_that_runs_here_has_its_value_also_without_a_backend(folder):
    app = PMTQ("tasks", broker=f"file://{folder.path}", backend="disabled://")

    @app.task
    def double(x):
        return 2 * x

    assert double.apply([4]).get() == 8


@pytest.mark.parametrize(("acks_late", "life_of_it"), [(True, "SUCCESS"), (False, "FAILURE")])
def test_a_task_whose_worker_died_runs_again_unless_the_setting_forbids_it(
    app, add, folder, hand, work, acks_late, life_of_it
):
    app.conf.task_acks_late = acks_late
    result = add.delay(1, 1)
    dead = hand("dead@test")
    dead.claim()
    dead.die()

    work(app)

    assert life(folder, result.id)[-1][0] == life_of_it


def test_a_tasks_own_word_about_dying_workers_counts_more(app, folder, hand, work):
    app.conf.task_acks_late = False

    @app.task(name="tasks.keen", acks_late=True)
    def keen():
        return "ran"

    result = keen.delay()
    dead = hand("dead@test", {"tasks.keen": True})
    dead.claim()
    dead.die()

    work(app)

    assert result.get(timeout=5) == "ran"


def test_results_of_eager_tasks_are_kept_if_the_setting_says_so(app, folder):
    app.conf.update(task_always_eager=True, task_store_eager_result=True)

    @app.task(bind=True)
    def reports(self, x):
        self.update_state(state="HALF", meta={"done": x})
        return x

    @app.task(ignore_result=True)
    def silent():
        return 1

    kept, unkept = reports.delay(5), silent.delay()

    assert app.AsyncResult(kept.id).get(timeout=1) == 5
    assert [status for status, _ in life(folder, kept.id)] == ["HALF", "SUCCESS"]
    assert app.AsyncResult(unkept.id).state == "PENDING"


def test_results_of_eager_tasks_are_not_kept_by_themselves(app, add, folder):
    add.apply([1])

    assert not folder.path.exists()


def test_a_task_that_wants_another_serializer_is_refused_at_the_call(app, folder):
    @app.task(serializer="pickle")
    def pickled():
        pass

    with pytest.raises(ImproperlyConfigured, match="serializer='pickle' is not possible"):
        pickled.delay()
    assert not folder.path.exists()


def test_a_tasks_routing_key_is_its_queue(app, folder):
    @app.task(name="keyed", routing_key="low", serializer="json")
    def keyed():
        pass

    keyed.delay()

    assert [line["function"] for line in read_lines(folder.queue("low"))] == ["keyed"]


def test_a_receiver_is_told_in_a_forked_child_where_it_can_use_the_app(app, add, folder):
    add.delay(0)  # the files are open, as they are in a program that forks

    @app.on_after_fork.connect
    def post(sender, **_):
        sender.send_task("from.the.child", [os.getpid()])

    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

    assert [line["params"] for line in read_lines(folder.queue()) if line["function"] == "from.the.child"] == [[child]]
