"""The fixtures that programs use in their own tests; here pytest runs such tests."""

import ast
import inspect
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from pmtq import PMTQ
from pmtq.contrib import pytest as plugin
from pmtq.exceptions import OperationalError, WorkerNameTaken
from tests.support import eventually

pytest_plugins = ("pytester",)


@pytest.fixture
def passes(pytester, monkeypatch):
    """A function that runs a test module with the plugin and no other, and asserts that all of its tests pass."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(
        "[pytest]\naddopts = --strict-markers --strict-config\nfilterwarnings = error\n ignore:Module already\n"
    )

    def passes(tests: str, count: int = 1, conftest: str = "") -> None:
        pytester.makeconftest(f'import pytest\npytest_plugins = ("pmtq.contrib.pytest",)\n{inspect.cleandoc(conftest)}')
        pytester.makepyfile(test_program=f"import pytest\n{inspect.cleandoc(tests)}")
        pytester.runpytest_inprocess().assert_outcomes(passed=count)

    return passes


def test_an_app_and_a_worker_are_there_for_the_asking(passes):
    passes("""
        def test_adding(pmtq_app, pmtq_worker):
            @pmtq_app.task
            def add(x, y):
                return x + y

            assert add.delay(2, 3).get(timeout=10) == 5
    """)


def test_tests_written_for_celery_run_as_they_are(passes):
    passes(
        """
        def test_create_task(celery_app, celery_worker):
            @celery_app.task
            def mul(x, y):
                return x * y

            celery_worker.reload()
            assert mul.delay(4, 4).get(timeout=10) == 16

        @pytest.mark.celery(broker_url="redis://nowhere", result_backend="redis://nowhere")
        def test_with_addresses(celery_app, celery_worker):
            assert celery_app.task(name="f")(lambda: 1).delay().get(timeout=10) == 1

        def test_a_long_lived_worker(celery_session_app, celery_session_worker):
            assert celery_session_app.task(name="g")(lambda: 2).delay().get(timeout=10) == 2
        """,
        count=3,
        conftest="""
        @pytest.fixture(scope="session")
        def celery_config():
            return {"broker_url": "memory://", "CELERY_RESULT_BACKEND": "cache+memory://"}
        """,
    )


def test_every_test_begins_with_an_empty_folder_of_its_own(passes):
    passes(
        """
        import os
        from pmtq.folder import Folder

        seen = set()

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(pmtq_app, turn, tmp_path):
            folder = pmtq_app.folder.path
            assert folder.is_relative_to(tmp_path)
            assert Folder.from_url(os.environ["PMTQ_BROKER_URL"]).path == folder
            assert not folder.exists()
            pmtq_app.send_task("f")
            seen.add(folder)

        def test_the_two_were_different():
            assert len(seen) == 2
            assert "PMTQ_BROKER_URL" not in os.environ
        """,
        count=3,
    )


def test_an_app_of_ones_own_works_in_the_tests_folder_and_afterwards_in_its_own_again(passes, pytester):
    pytester.makepyfile(
        shop="""
        from pmtq import PMTQ
        app = PMTQ("shop", broker="file:///nowhere/queue_dir")

        @app.task(name="shop.ship")
        def ship(order):
            return f"shipped {order}"
        """
    )

    passes(
        """
        from shop import app, ship

        def test_shipping(pmtq_app, pmtq_worker, tmp_path):
            assert pmtq_app is app
            assert ship.delay(7).get(timeout=10) == "shipped 7"
            assert app.folder.path == tmp_path / "queue_dir"

        def test_afterwards():
            assert str(app.folder.path) == "/nowhere/queue_dir"
        """,
        count=2,
        conftest="""
        @pytest.fixture
        def pmtq_app(pmtq_isolate):
            from shop import app
            return pmtq_isolate(app)
        """,
    )


def test_what_the_fixtures_say_of_app_and_worker_is_used(passes, pytester):
    pytester.makepyfile(more_tasks="loaded = True")

    passes(
        """
        import sys

        def test_it(pmtq_app, pmtq_worker):
            assert (pmtq_app.main, pmtq_app.durable) == ("shop", True)
            assert "more_tasks" in sys.modules
            task = pmtq_app.task(name="f", queue="high")(lambda: "high")
            assert task.delay().get(timeout=10) == "high"
            assert pmtq_worker.hostname == "w@test"

        @pytest.mark.pmtq(durable=False)
        def test_marked(pmtq_app):
            assert pmtq_app.durable is False
        """,
        count=2,
        conftest="""
        @pytest.fixture(scope="session")
        def pmtq_config():
            return {"durable": True}

        @pytest.fixture(scope="session")
        def pmtq_parameters():
            return {"main": "shop"}

        @pytest.fixture(scope="session")
        def pmtq_includes():
            return ["more_tasks"]

        @pytest.fixture(scope="session")
        def pmtq_worker_parameters():
            return {"queues": "low,high", "hostname": "w@test", "perform_ping_check": False}
        """,
    )


def test_the_time_of_a_test_stands_still_until_it_is_moved(passes):
    passes("""
        from pmtq.clock import now

        def test_it(pmtq_clock):
            before = now()
            pmtq_clock.advance(3600)
            assert (now(), pmtq_clock.now()) == (before + 3600, before + 3600)
    """)


def test_without_the_fixtures_nothing_of_a_test_is_changed(passes):
    passes("""
        import os, threading

        def test_it():
            assert "PMTQ_BROKER_URL" not in os.environ
            assert not [thread for thread in threading.enumerate() if thread.name.startswith("pmtq")]
    """)


def test_several_threads_may_work_at_once(app):
    meeting = threading.Barrier(3, timeout=10)
    meet = app.task(name="meet")(meeting.wait)

    with plugin.start_worker(app, concurrency=3):
        results = [meet.delay() for _ in range(3)]
        met = sorted(result.get(timeout=10) for result in results)

    assert met == [0, 1, 2]


def test_two_workers_of_one_app_do_not_take_each_others_name(app, add):
    with plugin.start_worker(app) as one, plugin.start_worker(app) as other:
        assert one.hostname != other.hostname
        assert add.delay(1, 2).get(timeout=10) == 3


def test_a_name_that_is_taken_is_refused(app):
    with (
        plugin.start_worker(app, hostname="a@b"),
        pytest.raises(WorkerNameTaken),
        plugin.start_worker(app, hostname="a@b"),
    ):
        pass


def test_a_worker_is_gone_when_its_block_ends(app, folder):
    with plugin.start_worker(app):
        assert [path.suffix for path in sorted(folder.workers.iterdir())] == [".json", ".notes"]

    assert list(folder.workers.iterdir()) == []


def test_a_task_that_does_not_end_is_reported_and_not_waited_for(app):
    gate, begun = threading.Event(), threading.Event()
    hang = app.task(name="hang")(lambda: begun.set() or gate.wait(20))

    with ExitStack() as stack:
        stack.enter_context(plugin.start_worker(app, hostname="a@b", shutdown_timeout=0.01))
        hang.delay()
        assert begun.wait(10)
        with pytest.raises(RuntimeError, match=r"the worker a@b has not ended: .* running for 0\.01 s"):
            stack.close()
    gate.set()
    assert eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "pmtq-a@b"])


def test_what_a_worker_dies_of_is_raised_by_the_test(app, add, monkeypatch):
    def die(self, **options):
        raise OperationalError("the disk is gone")

    monkeypatch.setattr(plugin.Consumer, "run", die)

    with pytest.raises(OperationalError, match="the disk is gone"), plugin.start_worker(app) as worker:
        assert eventually(lambda: worker._members[0]._died_of)


def test_a_parameter_that_means_nothing_is_refused(app):
    with pytest.raises(TypeError) as caught, plugin.start_worker(app, quees="high"):
        pass

    assert str(caught.value) == "start_worker() has no parameter 'quees'. Nothing was started."


def test_processes_that_a_test_starts_find_its_folder(folder):
    app = PMTQ("shop", broker="file:///nowhere/queue_dir")
    code = "from pmtq import PMTQ; PMTQ('shop', broker='file:///nowhere/queue_dir').send_task('f', task_id='a')"

    with plugin.isolated(app, folder.path):
        subprocess.run([sys.executable, "-c", code], check=True)
        found = folder.queue().read_text()
        assert app.AsyncResult("a").state == "PENDING"

    assert ('"task_id":"a"' in found, "PMTQ_BROKER_URL" in os.environ) == (True, False)


def test_every_fixture_goes_by_celerys_name_too_and_every_one_of_celerys_is_here_or_has_a_reason():
    fixtures = {
        node.name.removeprefix("pmtq_")
        for node in ast.walk(ast.parse(Path(plugin.__file__).read_text()))
        if isinstance(node, ast.FunctionDef) and "fixture" in "".join(map(ast.unparse, node.decorator_list))
    }
    twice = {name for name in fixtures if f"celery_{name}" in fixtures}
    of_celery = {
        "use_celery_app_trap", "celery_session_app", "celery_session_worker", "celery_enable_logging", "celery_includes",
        "celery_worker_pool", "celery_config", "celery_parameters", "celery_worker_parameters", "celery_app",
        "celery_class_tasks", "celery_worker", "depends_on_current_app",
    }  # fmt: skip

    assert {f"celery_{name}" for name in twice} | set(plugin.ABSENT) == of_celery
    assert {name for name in fixtures if not name.startswith("celery_")} - twice == {"isolate", "clock"}
