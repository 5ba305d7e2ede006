"""Shapes as text, to be evaluated with the names of pmtq or with those of Celery: ``i`` is ``ident.s``, which returns its arguments."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

SHAPES = [
    "i(1)",
    "group()",
    "chain()",
    "group([])",
    "i(1) | i(2)",
    "i(1) | i(2) | i(3)",
    "chain(i(1), i(2), i(3))",
    "chain([i(1), i(2)])",
    "chain(i(1) | i(2) | i(3))",
    "chain(chain(i(1), i(2)), chain(i(3), i(4)))",
    "chain(ident.si(1), ident.si(2))",
    "chain(i(1), ident.si(2), i(3))",
    "group(i(1), i(2))",
    "group([i(1), i(2)])",
    "group(n for n in [i(1), i(2)])",
    "group(i(1))",
    "group(i(1) | i(2), i(3))",
    "group(group(i(1), i(2)), i(3))",
    "group(i(1) | group(i(2), i(3)), i(4))",
    "group(i(1) | group(i(2), i(3)))",
    "chord([i(1), i(2)], i())",
    "chord(group(i(1), i(2)), i(3))",
    "chord([i(1)], i())",
    "chord([], i())",
    "chord([i(1), i(2)], ident.si(5))",
    "chord([group(i(1), i(2)), i(3)], i())",
    "chord([i(1), i(2)], chain(i(), i(7)))",
    "chord([i(1), i(2)], group(i(7), i(8)))",
    "chord([i(1), i(2)], chord([i(3), i(4)], i()))",
    "chord([chord([i(1), i(2)], i()), i(3)], i())",
    "chord([i(1) | i(2), i(3) | i(4)], i())",
    "chord([i(1) | group(i(2), i(3)), i(4)], i())",
    "i(1) | group(i(2))",
    "i(1) | group(i(2)) | i()",
    "group(i(2)) | i()",
    "chain(group(i(2)), i())",
    "chain(i(1), group(), i(2))",
    "i(1) | group()",
    "group() | i(1)",
    "i(1) | group(i(2), i(3))",
    "i(1) | group(i(2), i(3)) | i()",
    "chain(i(1), group(i(2), i(3)), i())",
    "group(i(1), i(2)) | group(i(3), i(4))",
    "group(i(1), i(2)) | group()",
    "group(i(1), i(2)) | group(i(3), i(4)) | i()",
    "i(0) | group(i(1), i(2)) | group(i(3), i(4))",
    "i(0) | group(i(1), i(2)) | i() | i(9)",
    "i(0) | group(i(1), i(2)) | i() | group(i(5), i(6))",
    "i(0) | group(i(1), i(2)) | group(i(3), i(4)) | i()",
    "i(0) | chord([i(1), i(2)], i())",
    "i(0) | chord([i(1), i(2)], i()) | i(8)",
    "chord([i(1), i(2)], i()) | chord([i(3), i(4)], i())",
    "chord([i(1), i(2)], i()) | group(i(3), i(4))",
    "chord([i(1), i(2)], i()) | chain(i(3), i(4))",
    "chord([i(1), i(2)], i()) | i(3)",
    "ident.map([1, 2, 3])",
    "add.starmap([(1, 2), (3, 4)])",
    "add.chunks(zip(range(6), range(6)), 4)",
    "add.chunks(zip(range(6), range(6)), 4).group()",
    "add.chunks([(1, 1), (2, 2)], 1).group() | i()",
    "ident.map([1, 2]) | i()",
    "i(1) | ident.map([1, 2])",
    "(i(1) | i(2)).clone((10,))",
    "group(i(1), i(2)).clone((10,))",
    "i(1).clone((10,), countdown=0)",
    "ident.si(1).clone((10,))",
    "signature(json(i(1) | group(i(2), i(3)) | i()))",
    "signature(json(chord([i(1), i(2)], i())))",
    "signature(json(ident.map([1, 2])))",
    "boom.s()",
    "chain(i(1), boom.s(), i(3))",
    "chain(boom.s(), i(2), i(3))",
    "group(i(1), boom.s())",
    "chord([i(1), boom.s()], i())",
    "chord([i(1), i(2)], boom.s())",
    "i(1) | boom.s() | group(i(2), i(3)) | i()",
]

CALLBACKS = [
    "boom.s().on_error(told.s())",
    "boom.s().on_error(told_three.s())",
    "boom.s().on_error(told.si(5))",
    "boom.s().on_error(told_own.s())",
    "i(1).on_error(told.s())",
    "chain(i(1), boom.s(), i(2)).on_error(told_three.s())",
    "chain(boom.s(), i(1), i(2)).on_error(told_three.s())",
    "chain(boom.s(), i(1).on_error(told_three.s()))",
    "chain(boom.s().on_error(told_three.s()), i(1))",
    "group(i(1), boom.s(), boom.s()).on_error(told_three.s())",
    "linked(i(1), told.s(7))",
    "linked(chain(i(1), i(2)), told.s(7))",
    "linked(chord([i(1), i(2)], i()), told.s(7))",
    "linked(group(i(1), i(2)), told.s(7))",
    "linked(i(1), chain(told.s(7), told.s(8)))",
    "linked(boom.s(), told.s(7))",
]
"""Shapes with callbacks, which write down what they are told."""


def names_of(canvas: ModuleType, app: Any, heard: list[Any]) -> dict[str, Any]:
    """Give ``app`` the tasks, and return all names that the shapes are made of.

    ``canvas`` is ``pmtq`` or ``celery``; callbacks add to ``heard`` what they are told.
    """

    @app.task(name="ident")
    def ident(*args):
        return list(args)

    @app.task(name="add")
    def add(x, y):
        return x + y

    @app.task(name="boom")
    def boom(*args):
        raise ValueError("boom")

    @app.task(name="told")
    def told(first, *more):
        heard.append([shown(one) for one in (first, *more)])
        return first

    @app.task(name="told_three")
    def told_three(request, exc, traceback):
        heard.append([request.task, shown(exc)])

    @app.task(name="told_own", bind=True)
    def told_own(self, task_id):
        heard.append([shown(task_id)])

    return {
        "chain": canvas.chain, "group": canvas.group, "chord": canvas.chord, "signature": canvas.signature,
        "linked": linked, "ident": ident, "add": add, "boom": boom, "told": told, "told_three": told_three,
        "told_own": told_own, "i": ident.s, "json": lambda sig: json.loads(json.dumps(sig)),
    }  # fmt: skip


def linked(shape: Any, callback: Any) -> Any:
    """Return the shape with a callback for its end."""
    shape.link(callback)
    return shape


def shown(value: Any) -> Any:
    """Return a value, or an exception, as it can be written down; ids, tracebacks and requests become a word."""
    if isinstance(value, BaseException):
        return f"!{type(value).__name__}"
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    if isinstance(value, str):
        return "<text>" if len(value) > 20 else value
    return value if value is None or isinstance(value, int) else "<request>"


def got(result: Any, timeout: float = 5.0) -> Any:
    """Return what a result and its parents say."""
    line = []
    while result is not None:
        try:
            line.append(shown(result.get(timeout=timeout)))
        except Exception as error:
            line.append(shown(error))
        result = result.parent
    return line
