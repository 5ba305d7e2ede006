"""Decides which queue a call goes to, by the settings ``task_routes``, ``task_queues`` and ``task_default_queue``.

1. What the call itself says wins over the routes; the routes win over what the task says of itself.
2. The first router that has an answer is right. In a dict an exact name comes before the patterns, and these are tried in
   the order they stand in.
3. A call that names no queue but a routing key or an exchange, as AMQP has them, goes to the queue declared with it.

It knows names; whether there is a file to a queue it does not know.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pmtq.conf import Settings
from pmtq.exceptions import ImproperlyConfigured, QueueNotFound
from pmtq.importing import find_object

Route = Callable[..., Any]
"""Called as ``route(name, args, kwargs, options, task=task)``; returns a queue, a dict of options, or None to pass."""
_WHERE = frozenset({"queue", "routing_key", "exchange"})
"""Options that say which queue."""
_AMQP = frozenset({"exchange_type", "binding_key"})
"""Options that go with them in a route, and say nothing here."""


class Exchange:
    """Where an AMQP broker would take a message in. Here it is a word by which a queue can be named."""

    def __init__(self, name: str = "", type: str = "direct", **ignored: object) -> None:  # noqa: A002  (kombu's name)
        """Take the name; the type and all else change nothing."""
        self.name, self.type, self.ignored = name, type, ignored


class Queue:
    """A queue that ``task_queues`` declares: ``Queue("feeds", routing_key="feed.#")``."""

    def __init__(
        self, name: str = "", exchange: Exchange | str | None = None, routing_key: str | None = None, **ignored: object
    ) -> None:
        """Take the name, and the words by which routes made for AMQP may mean it.

        In ``routing_key`` a ``*`` stands for one word between dots and ``#`` for any number. All other options of an AMQP
        queue (``max_priority``, ``durable`` …) change nothing: every queue has ten priorities and stands in a file.
        """
        self.name, self.exchange, self.routing_key, self.ignored = name, exchange, routing_key or "", ignored

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Queue({self.name!r})"


class Router:
    """The routes of one app. It follows its settings when they change."""

    def __init__(self, settings: Settings) -> None:
        """Take the app's settings; they are looked at when the first call is made."""
        self._settings = settings
        self._seen = -1
        self._routes: list[Route] = []
        self._queues: dict[str, Queue] = {}
        self._is_plain = self._is_fixed = True
        self._fixed: dict[str, Mapping[str, Any]] = {}
        """The answers by name, if they depend on nothing else."""

    def route(
        self,
        name: str,
        options: Mapping[str, Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        task: object = None,
        *,
        own: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Return the options of a call to the task called ``name``, completed by its route.

        ``options`` are the call's, ``own`` those of the task. The result has a ``queue``, a name, unless the call goes to
        the default one. Raises ``QueueNotFound`` for a queue that must be declared and is not, and
        ``ImproperlyConfigured`` for a route that is none.
        """
        if self._settings.version != self._seen:
            self._look()
        together = {**own, **options} if own else options
        if self._is_plain and _WHERE.isdisjoint(together):
            return together
        found = self._fixed.get(name)
        if found is None:
            found = self._named(self._answer(name, args, kwargs or {}, options, task), name)
            if self._is_fixed:
                self._fixed[name] = found
        said = {key: value for key, value in self._named(options, name).items() if value is not None}
        complete = {**self._named(own or {}, name), **found, **said}
        if not self._settings.task_create_missing_queues:
            self._require(complete.get("queue") or self._settings.task_default_queue, name)
        return complete

    @property
    def is_plain(self) -> bool:
        """Whether a call without options goes to the default queue, whatever it is."""
        if self._settings.version != self._seen:
            self._look()
        return self._is_plain

    @property
    def queues(self) -> dict[str, Queue]:
        """The queues a worker serves that was told no other: those declared, or else the default one."""
        if self._settings.version != self._seen:
            self._look()
        return self._queues

    def _look(self) -> None:
        """Read the settings."""
        self._queues = _declared(self._settings.task_queues) or _declared([self._settings.task_default_queue])
        self._routes = _routes(self._settings.task_routes)
        self._fixed.clear()
        self._is_fixed = all(isinstance(route, _ByName) for route in self._routes)
        self._is_plain = not self._routes and bool(self._settings.task_create_missing_queues)
        self._seen = self._settings.version

    def _answer(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], task: object
    ) -> Mapping[str, Any]:
        """Return the options that the first router with an answer gives."""
        for route in self._routes:
            answer = route(name, args, kwargs, options, task=task)
            if answer is not None:
                return _as_options(answer, name)
        return {}

    def _named(self, options: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """Return the same options with the queue as a name, also where AMQP's words stand for it."""
        if _WHERE.isdisjoint(options):
            return options
        plain = {key: value for key, value in options.items() if key not in _WHERE | _AMQP}
        if queue := options.get("queue") or self._meant(options.get("routing_key"), options.get("exchange")):
            plain["queue"] = _queue_name(queue, name)
        return plain

    def _meant(self, routing_key: str | None, exchange: object) -> str:
        """Return the queue declared with that key or exchange; the key itself is the name if none is."""
        if routing_key:
            declared = (queue.name for queue in self._queues.values() if _fits(routing_key, queue.routing_key))
            return routing_key if routing_key in self._queues else next(declared, routing_key)
        wanted = getattr(exchange, "name", exchange) or ""
        declared = (queue.name for queue in self._queues.values() if _exchange_name(queue) == wanted)
        return str(wanted and next(declared, wanted))

    def _require(self, queue: str, name: str) -> None:
        if queue in self._queues:
            return
        known = tuple(self._queues)
        near = difflib.get_close_matches(queue, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise QueueNotFound(
            f"{name} was to go to the queue {queue!r}, which task_queues does not list (there: {', '.join(known)}). Nothing "
            f"was queued.{hint} Declare it: app.conf.task_queues = [..., {queue!r}], or let every queue come into being "
            "when it is used: app.conf.task_create_missing_queues = True",
            queue,
            known,
        )


class _ByName:
    """A dict of routes: exact names, and patterns in their order."""

    def __init__(self, routes: Iterable[tuple[Any, Any]]) -> None:
        self._exact: dict[str, Any] = {}
        self._patterns: list[tuple[re.Pattern[str], Any]] = []
        for key, route in routes:
            if isinstance(key, re.Pattern):
                self._patterns.append((key, route))
            elif not isinstance(key, str):
                raise _wrong(f"the key {key!r} of task_routes is neither text nor a compiled regular expression")
            elif "*" in key:
                self._patterns.append((re.compile(fnmatch.translate(key)), route))
            else:
                self._exact[key] = route
            _as_options(route, str(key))

    def __call__(self, name: str, *_: object, **__: object) -> Any:
        if name in self._exact:
            return self._exact[name]
        return next((route for pattern, route in self._patterns if pattern.match(name)), None)


def _routes(setting: Any) -> list[Route]:
    """Return the routers of ``task_routes`` in the order they are asked."""
    if not setting:
        return []
    if not isinstance(setting, list | tuple) or all(_is_pair(one) for one in setting):
        setting = [setting]
    return [_router(one) for one in setting]


def _router(given: Any) -> Route:
    if isinstance(given, str):
        given = find_object(given)
        given = given() if isinstance(given, type) else given
    if isinstance(given, Mapping):
        return _ByName(given.items())
    if isinstance(given, list | tuple) and all(_is_pair(one) for one in given):
        return _ByName(given)
    if old := getattr(given, "route_for_task", None):
        return lambda name, args, kwargs, *_, **__: old(name, args, kwargs)
    if callable(given):
        return given  # type: ignore[no-any-return]
    raise _wrong(f"task_routes holds {given!r}, which is no router")


def _is_pair(given: object) -> bool:
    return isinstance(given, list | tuple) and len(given) == 2 and isinstance(given[0], str | re.Pattern)


def _as_options(route: Any, name: str) -> Mapping[str, Any]:
    if isinstance(route, Mapping):
        return route
    if route and (isinstance(route, str) or hasattr(route, "name")):
        return {"queue": route}
    raise _wrong(f"the route of {name} is {route!r}")


def _declared(setting: Any) -> dict[str, Queue]:
    """Return the queues of ``task_queues``, a list of them or a dict, by name."""
    if isinstance(setting, Mapping):
        queues = [_from_options(name, options) for name, options in setting.items()]
    elif isinstance(setting, str):
        raise _wrong_queues(setting)
    else:
        queues = [_as_queue(one) for one in setting or ()]
    return {queue.name: queue for queue in queues}


def _as_queue(given: Any) -> Queue:
    name = given if isinstance(given, str) else getattr(given, "name", None)
    if not name or not isinstance(name, str):
        raise _wrong_queues(given)
    if isinstance(given, Queue | str):
        return given if isinstance(given, Queue) else Queue(given)
    return Queue(name, getattr(given, "exchange", None), getattr(given, "routing_key", None))  # one of kombu's


def _from_options(name: Any, options: Any) -> Queue:
    if not isinstance(name, str) or not isinstance(options or {}, Mapping):
        raise _wrong_queues({name: options})
    words = dict(options or {})
    key = words.pop("routing_key", None) or words.pop("binding_key", None)
    return Queue(name, words.pop("exchange", None), key, **words)


def _fits(routing_key: str, pattern: str) -> bool:
    """Say whether a key is one that a queue's pattern takes: ``feed.import`` is for ``feed.#``."""
    expression = re.escape(pattern).replace(r"\.\#", r"(\..*)?").replace(r"\#", ".*").replace(r"\*", r"[^.]+")
    return bool(pattern) and re.fullmatch(expression, routing_key) is not None


def _exchange_name(queue: Queue) -> object:
    return getattr(queue.exchange, "name", queue.exchange)


def _queue_name(queue: Any, name: str) -> str:
    found = getattr(queue, "name", queue)
    if isinstance(found, str):
        return found
    raise _wrong(f"{name} was to go to the queue {queue!r}, which is no name")


def _wrong(what: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{what}. Nothing was queued. Write app.conf.task_routes = {{'feed.tasks.*': 'feeds', 'web.ping': {{'queue': 'web', "
        "'priority': 9}}, a list of such dicts, or a function: def route(name, args, kwargs, options, task=None, **kw)"
    )


def _wrong_queues(given: object) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"task_queues holds {given!r}, which is no queue. Nothing was queued. Write app.conf.task_queues = ['celery', 'feeds']"
    )
