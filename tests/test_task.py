"""A task: what it posts while it runs, and classes of tasks."""

import pytest

from pmtq import PMTQ, Task
from pmtq.clock import moved_clock
from tests.support import NOW, all_states, read_lines


@pytest.fixture
def clock():
    """A clock that stands still until the test moves it."""
    with moved_clock(at=NOW) as clock:
        yield clock


# --- what it posts ---------------------------------------------------------------------------------------------------


def test_what_a_task_posts_knows_where_it_comes_from(app, folder, work):
    @app.task(bind=True, name="child")
    def child(self, deeper):
        if deeper:
            child.delay(deeper - 1)
        return [self.request.parent_id, self.request.root_id]

    root = child.delay(2)
    work(app)

    lines = {line["task_id"]: line for line in read_lines(folder.queue())}
    states = {line["task_id"]: line for line in all_states(folder) if line["status"] == "SUCCESS"}
    (second,) = states[root.id]["children"]
    (third,) = states[second]["children"]
    assert states[root.id]["result"] == [None, root.id]
    assert states[second]["result"] == [root.id, root.id]
    assert states[third]["result"] == [second, root.id]
    assert "children" not in states[third]
    assert set(lines) <= {root.id, second, third}


def test_a_task_called_directly_posts_for_the_one_that_runs(app, work):
    @app.task(bind=True, name="helper")
    def helper(self, x):
        return [self.request.id, self.request.called_directly, app.send_task("tasks.add", [x, 1]).id]

    @app.task(bind=True, name="outer")
    def outer(self):
        return [helper(1), self.request.children]

    result = outer.delay()
    work(app)

    (inner_id, directly, posted), children = result.get(timeout=1)
    assert (inner_id, directly, children) == (None, True, [posted])


def test_children_are_noted_however_the_try_ended(app, folder, work, clock):
    @app.task(bind=True, name="f")
    def f(self):
        app.send_task("tasks.add", [1, 1], task_id=f"child{self.request.retries}")
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        raise KeyError("k")

    f.apply_async(task_id="a")
    work(app)

    noted = {line["status"]: line.get("children") for line in all_states(folder) if line["task_id"] == "a"}
    assert noted == {"STARTED": None, "RETRY": ["child0"], "FAILURE": ["child1"]}


# --- classes of tasks ------------------------------------------------------------------------------------------------


def test_a_class_of_tasks_gives_them_its_options_and_methods(app):
    class Patient(app.Task):
        max_retries = 9
        queue = "slow"
        greeting = "hello"

        @property
        def connection(self):
            return self.greeting.upper()

    @app.task(base=Patient, queue="own", bind=True)
    def f(self):
        return self.connection

    assert (f.max_retries, f.queue, isinstance(f, Patient), f(), f.apply().get()) == (9, "own", True, "HELLO", "HELLO")


def test_a_class_with_a_run_of_its_own_is_registered_as_itself_or_an_instance(app, folder, work):
    class Resize(app.Task):
        name = "Image.resize"

        def run(self, width):
            return [width, self.request.id]

    class Unnamed(Task):
        def run(self):
            return "ran"

    resize, unnamed = app.register_task(Resize()), app.register_task(Unnamed)
    result, other = resize.delay(800), unnamed.delay()
    work(app)

    assert (resize.name, unnamed.name) == ("Image.resize", f"{__name__}.Unnamed")
    assert (app.tasks["Image.resize"], app.tasks[unnamed.name]) == (resize, unnamed)
    assert (result.get(timeout=1), other.get(timeout=1)) == ([800, result.id], "ran")
    with pytest.raises(TypeError, match="Nothing was queued"):
        resize.delay()


@pytest.mark.parametrize("how", ["base", "app.Task", "task_cls", "named"])
def test_a_call_that_a_class_makes_its_own_is_made_so_in_the_worker_too(folder, work, how):
    """The way Flask's documentation has tasks run inside of an application context."""
    calls.clear()
    app = PMTQ(
        "app",
        broker=f"file://{folder.path}",
        task_cls={"task_cls": InContext, "named": f"{__name__}:InContext"}.get(how),
    )
    if how == "app.Task":
        app.Task = InContext

    @app.task(bind=True, name="f", **({"base": InContext} if how == "base" else {}))
    def f(self, x):
        calls.append((self.request.id, self.request.called_directly))
        return x

    result = f.delay(5)
    work(app)

    assert result.get(timeout=1) == 5
    assert calls == ["enter", (result.id, False), "leave"]
    calls.clear()
    assert (f(6), calls) == (6, ["enter", (None, True), "leave"])
    app.close()


calls = []


class InContext(Task):
    def __call__(self, *args, **kwargs):
        calls.append("enter")
        try:
            return super().__call__(*args, **kwargs)
        finally:
            calls.append("leave")


def test_a_task_that_calls_itself_directly_is_called_directly(app):
    @app.task(base=InContext, bind=True)
    def f(self, n):
        return [self.request.called_directly, *(f(n - 1) if n else [])]

    assert f.apply((2,)).get() == [False, True, True]
