"""Note 2's workflows, and the larger tasks of note 4: as printed, in every pool and without any."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest

from pmtq import PMTQ, chain
from tests.notes.support import Place, printed
from tests.support import read_lines


def values(block: str, names: dict[str, Any]) -> list[Any]:
    """Run a block as somebody would who types it, and return what the prompt would show."""
    shown = []
    for statement in ast.parse(block).body:
        code = ast.unparse(statement)
        if isinstance(statement, ast.Expr):
            shown.append(eval(code, names))
        else:
            exec(code, names)
    return shown


def add(x: int, y: int) -> int:
    return x + y


@pytest.fixture(params=["solo", "prefork", "threads", "eagerly"])
def names(request, place: Place) -> Iterator[dict[str, Any]]:
    """What is at hand at the prompt: ``add``, a task of a running worker, and ``chain``."""
    app = PMTQ("tasks", broker=f"file://{place.folder.path}")
    if request.param == "eagerly":
        app.conf.task_always_eager = True
    else:
        place.write("tasks.py", 'from pmtq import PMTQ\napp = PMTQ("tasks")\n@app.task\ndef add(x, y): return x + y\n')
        place.start_workers(f"pmtq worker -A tasks -P {request.param} -c {1 if request.param == 'solo' else 2}")
    yield {"add": app.task(name="tasks.add")(add), "chain": chain}
    app.close()


def test_s2_05_the_value_of_the_task_in_front_is_passed_on(names):
    assert values(printed("note_2_chain.py"), names) == [16]


def test_s2_06_07_08_immutable_steps_keep_their_own_arguments_and_know_their_parents(names):
    assert values(printed("note_2_immutable.py"), names) == [16, 8, 4]


def test_s2_06_si_is_an_immutable_signature(names):
    task = names["add"]

    assert task.si(2, 2) == task.signature((2, 2), immutable=True)


def test_s4_10_chunks_make_tasks_larger(app, folder, work):
    plus = app.task(name="tasks.plus")(add)

    result = plus.chunks(zip(range(100), range(100), strict=True), 10).apply_async()

    assert len(read_lines(folder.queue())) == 10
    work(app)
    assert [value for chunk in result.get(timeout=5) for value in chunk] == list(range(0, 200, 2))
