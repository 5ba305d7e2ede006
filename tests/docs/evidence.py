"""What the code does with what it accepts: which settings it reads, which signals it sends, which options it heeds.

It reads the source, as a reader would who looks for the place where a promise is kept.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pmtq import defaults, signals, values
from pmtq.cli.work import Wishes, worker

ROOT = Path(__file__).parents[2]
CODE = sorted((ROOT / "pmtq").rglob("*.py"))
_WORK = ROOT / "pmtq/cli/work.py"
_LABOUR = [
    path for path in CODE if path.is_relative_to(ROOT / "pmtq/worker") or path.stem in {"beat", "limits", "work"}
]
_NO_USE = {"_plan", "_refuse_what_is_at_odds"}
"""Where an option may be looked at without anything being done about it."""
_SETTINGS = {"conf", "_conf", "settings", "_settings"}
_KEPT_WHEN_SET = (values.serializer, values.content, values.content_or_none)
"""Checks of settings that leave one value to choose: to refuse all others is all that can be done about them."""


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text())


def nodes(path: Path, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes of these kinds in a module."""
    return (node for node in ast.walk(tree(path)) if isinstance(node, kinds))


def unread_settings() -> set[str]:
    """Return the settings that are said to be honoured, and that nothing reads."""
    read = {name for path in CODE if path.stem != "defaults" for name in _settings_in(tree(path))}
    kept = {name for name, setting in defaults.SETTINGS.items() if setting.check in _KEPT_WHEN_SET}
    return set(defaults.HONOURED) - read - kept


def _settings_in(node: ast.AST) -> Iterator[str]:
    """Yield what is read of ``conf`` and its like, and every text, unless it serves an option that comes to nothing."""
    if isinstance(node, ast.Call) and _last_name(node.func) == {"wanted"} and _wishes_in(node) & idle_wishes():
        return
    if isinstance(node, ast.Attribute) and _last_name(node.value) & _SETTINGS:
        yield node.attr
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for part in ast.iter_child_nodes(node):
        yield from _settings_in(part)


def unsent_signals() -> set[str]:
    """Return the signals that can be connected to, and that nobody sends."""
    sent: set[str] = set()
    for path in CODE:
        for call in nodes(path, ast.Call):
            assert isinstance(call, ast.Call)
            if isinstance(call.func, ast.Attribute) and call.func.attr in {"send", "send_robust"}:
                sent |= _last_name(call.func.value)
            for argument in call.args:  # handed to somebody who sends it
                sent |= _last_name(argument)
        for loop in nodes(path, ast.For):  # for signal in (one, other): signal.send(…)
            assert isinstance(loop, ast.For)
            sent |= {name for one in getattr(loop.iter, "elts", []) for name in _last_name(one)}
    return {*_signals(), "on_configure", "on_after_configure", "on_after_finalize", "on_after_fork"} - sent


@cache
def idle_wishes() -> set[str]:
    """Return the options of a worker that are taken, and come to nothing: nobody reads the part of the plan they set."""
    (plan,) = _calls_in_work("Plan")
    heeded = {word for path in _LABOUR for word in _parts_of_the_plan(path)}
    idle, useful = set(), set()
    for part in plan.keywords:
        (useful if part.arg in heeded else idle).update(_wishes_in(part.value))
    rest = ast.Module([node for node in tree(_WORK).body if getattr(node, "name", "") not in _NO_USE], [])
    useful |= _wishes_in(rest)
    return idle - useful


def _parts_of_the_plan(path: Path) -> Iterator[str]:
    """Yield what a module of the worker reads of a plan, by attribute or, in the plan itself, by name."""
    owners = {"plan", "_plan", "self"} if path.stem == "plan" else {"plan", "_plan"}
    for node in nodes(path, ast.Attribute, ast.Constant):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and _last_name(node.value) & owners:
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and path.stem == "plan":
            yield node.value


def unknown_options() -> set[str]:
    """Return the options of a worker that are neither wishes nor arguments of the command."""
    known = {*Wishes.__annotations__, *(worker.callback.__kwdefaults__ or {}), *worker.callback.__code__.co_varnames}
    return {one.name or "" for one in worker.params if one.expose_value} - known


def _wishes_in(node: ast.AST) -> set[str]:
    """Return the wishes that a piece of code looks at: ``asked.burst``, ``wanted("pool", …)``."""
    found = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == "asked":
            found.add(one.attr)
        elif isinstance(one, ast.Call) and _last_name(one.func) == {"wanted"} and isinstance(one.args[0], ast.Constant):
            found.add(str(one.args[0].value))
    return found


def _calls_in_work(name: str) -> list[ast.Call]:
    calls = (node for node in nodes(_WORK, ast.Call) if isinstance(node, ast.Call))
    return [call for call in calls if _last_name(call.func) == {name}]


def _last_name(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Attribute):
        return {node.attr}
    return {node.id} if isinstance(node, ast.Name) else set()


def _signals() -> set[str]:
    return {name for name, value in vars(signals).items() if isinstance(value, signals.Signal)}
