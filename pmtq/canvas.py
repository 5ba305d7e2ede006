"""Workflows: a call that has not been made yet, chains and groups of such calls, and the steps they come down to.

1. A signature is a dict of what a call needs, so it goes through JSON and into the arguments of a task as it is.
2. Shapes nest in any way. The value of a chain is that of its last step; that of a group, the list of its members' values.
3. ``lay_out`` turns a shape into steps, plain calls that name the ids of those they come after. Nothing is written here.
4. Every step is an ordinary task: what it waits for is the one thing that makes it a part of something.

It does not know records, files or workers. Whoever posts the steps (``app.conductor``) makes records of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, Self, cast

from pmtq import current
from pmtq.ids import new_task_id
from pmtq.plan import Feed, Node, Plan, Step

CALLBACKS = ("link", "link_error")
_END = ("task_id", "group_id")
"""Options that say what a shape is known by; its last step gets them."""
_START = frozenset({"countdown", "eta"})
"""Options that say when something begins: of a chain they are its first step's, of a chord its header's."""


class Signature(dict[str, Any]):
    """A call that has not been made yet: the task, arguments for it, and options for the call.

    Further arguments, such as the value of the task before it in a chain, go before its own unless it is ``immutable``.
    """

    TYPES: ClassVar[dict[str, type[Signature]]] = {}
    """The shapes, by the name that stands in ``subtask_type``."""
    _app: Any = None
    _task: Any = None

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[type[Signature]], type[Signature]]:
        """Have dicts with this ``subtask_type`` made into the decorated class; use it as ``@Signature.register_type()``."""

        def register(kind: type[Signature]) -> type[Signature]:
            cls.TYPES[name or kind.__name__] = kind
            return kind

        return register

    @classmethod
    def from_dict(cls, source: Mapping[str, Any], app: Any = None) -> Signature:
        """Return the signature that was made a dict, or came through JSON."""
        kind = cls.TYPES.get(source.get("subtask_type") or "")
        if kind is not None and kind is not cls:
            return kind.from_dict(source, app)
        made = cls(source["task"], app=app)
        made.update(deepcopy(dict(source)))
        return made

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,  # noqa: A002  (Celery's name)
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Any = None,
        **more: Any,
    ) -> None:
        """Take a task or the name of one, its arguments, and options, which may also be given by name."""
        if isinstance(task, dict):
            super().__init__(deepcopy(task))
        else:
            self._task = task if hasattr(task, "name") else type
            super().__init__(
                task=getattr(task, "name", task),
                args=tuple(args or ()),
                kwargs=dict(kwargs or {}),
                options={**(options or {}), **more},
                subtask_type=subtask_type,
                immutable=immutable,
            )
        self._app = app or getattr(self._task, "app", None)

    @property
    def app(self) -> Any:
        """The app that it was given, else that of its task or of a part, else the current one."""
        return self.own_app or current.app_in_use()

    @property
    def own_app(self) -> Any:
        """The same, but None if there is only the current one."""
        return self._app

    @property
    def type(self) -> Any:
        """The task, or its name if this program has no code for it."""
        return self._task or self.app.tasks.get(self["task"], self["task"])

    @property
    def task(self) -> str:
        """The task's name."""
        return cast("str", self["task"])

    name = task

    @property
    def args(self) -> tuple[Any, ...]:
        """Its positional arguments."""
        return tuple(self["args"])

    @args.setter
    def args(self, args: Iterable[Any]) -> None:
        self["args"] = tuple(args)

    @property
    def kwargs(self) -> dict[str, Any]:
        """Its keyword arguments."""
        return cast("dict[str, Any]", self["kwargs"])

    @kwargs.setter
    def kwargs(self, kwargs: Mapping[str, Any]) -> None:
        self["kwargs"] = dict(kwargs)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the call, such as ``countdown``."""
        return cast("dict[str, Any]", self["options"])

    @options.setter
    def options(self, options: Mapping[str, Any]) -> None:
        self["options"] = dict(options)

    @property
    def subtask_type(self) -> str | None:
        """The name of the shape; None for a single call."""
        return cast("str | None", self["subtask_type"])

    @property
    def immutable(self) -> bool:
        """Whether it takes no further arguments."""
        return bool(self["immutable"])

    @immutable.setter
    def immutable(self, immutable: bool) -> None:
        self["immutable"] = immutable

    @property
    def id(self) -> str | None:
        """The id that the call will have, if it was frozen or given one."""
        return self.options.get("task_id")

    @property
    def parent_id(self) -> str | None:
        """The task that it is to be a child of, if that was said."""
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        """The task that the workflow began with, if that was said."""
        return self.options.get("root_id")

    @property
    def is_empty(self) -> bool:
        """Whether it comes down to no call at all."""
        return False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function here and now, as if it were no task."""
        args, kwargs, _ = self._merged(args, kwargs, {})
        return self.app.find_task(self.task)(*args, **kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Post it; short for ``apply_async(args, kwargs)``."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Post it, further arguments first, and return the promise of its value: an ``AsyncResult`` or a ``GroupResult``.

        Raises what ``Task.apply_async`` raises; then nothing was queued, or nothing that will ever run.
        """
        all_args, all_kwargs, all_options = self._merged(args or (), kwargs or {}, options)
        task = self.type
        if isinstance(task, str) or any(name in all_options for name in CALLBACKS):
            return self.app.conductor.send(self, tuple(args or ()), kwargs or {}, options)
        return task.apply_async(all_args, all_kwargs, **all_options)

    def apply(self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run it here and now, all steps of it, with nothing written; return its result."""
        return self.app.conductor.run_here(self, tuple(args or ()), kwargs or {}, options)

    def clone(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        immutable: bool | None = None,
        **options: Any,
    ) -> Self:
        """Return a copy with further arguments and options."""
        copy = cast("Self", Signature.from_dict(self, self._app))
        copy._task = self._task  # noqa: SLF001  (of its own kind)
        copy["args"], copy["kwargs"], copy["options"] = self._merged(args or (), kwargs or {}, options)
        if immutable is not None:
            copy.set_immutable(immutable)
        return copy

    partial = clone

    def replace(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a copy with these instead of its own arguments or options; None leaves them."""
        copy = self.clone()
        for name, value in (("args", args), ("kwargs", kwargs), ("options", options)):
            if value is not None:
                setattr(copy, name, value)
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Set options of the call, such as ``countdown=10``; return it."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether it takes no further arguments."""
        self["immutable"] = immutable

    def freeze(self, _id: str | None = None, **_: Any) -> Any:
        """Give it the id it will have when it is called, and return the promise of its value."""
        self.set_ids(_id)
        return self.app.conductor.promise_of(self.lay_out(Plan(), Feed()))

    def set_ids(self, task_id: str | None = None) -> None:
        """Give ids to all calls in it that have none; ``task_id`` to the one its value will be known by."""
        self.options["task_id"] = task_id or self.options.get("task_id") or new_task_id()

    def link(self, callback: Signature) -> Signature:
        """Have ``callback`` called with the value when it has ended well; return the callback."""
        self._append("link", callback)
        return callback

    def link_error(self, errback: Signature) -> Signature:
        """Have ``errback`` called once when it has failed; return the errback.

        It gets the call that failed, the exception and the traceback, if it takes three arguments, else the id.
        """
        self._append("link_error", errback)
        return errback

    def on_error(self, errback: Signature) -> Self:
        """Do the same as ``link_error``, and return the signature itself, to be called or to go on with."""
        self.link_error(errback)
        return self

    def flatten_links(self) -> list[Signature]:
        """Return it and its callbacks, and theirs."""
        return [self, *(one for link in _signatures(self.options.get("link")) for one in link.flatten_links())]

    def __or__(self, other: object) -> Signature:  # type: ignore[override]
        """Return the chain of this one and the other."""
        return chain(self, other) if isinstance(other, Signature) else NotImplemented

    __ior__ = __or__

    def __invert__(self) -> Any:
        """Post it, wait for it, and return its value."""
        return self.apply_async().get()

    def lay_out(
        self, plan: Plan, feed: Feed, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Node:
        """Add the steps it comes down to; return what comes out of them."""
        mark = plan.mark()
        args, kwargs, options = self._merged(args, kwargs or {}, options)
        task_id = options.pop("task_id", None) or plan.new_id((self.task, args, kwargs))
        node = plan.add(self._step(task_id, args, kwargs, _without_callbacks(options)), feed)
        plan.call_back(node, *_callbacks(options), mark)
        return node

    def _step(self, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]) -> Step:
        return Step(task_id, self.type, args, kwargs, options, immutable=self.immutable)

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as text, with further arguments."""
        args = (*args, *self.args)
        named = {**self.kwargs, **kwargs}.items()
        return f"{self.task}({', '.join([*map(repr, args), *(f'{name}={value!r}' for name, value in named)])})"

    def __repr__(self) -> str:
        """Return the call as text."""
        return self.reprcall()

    def __deepcopy__(self, memo: dict[int, Any]) -> Signature:
        return self.clone()

    __copy__ = clone

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def _append(self, option: str, callback: Signature) -> None:
        callbacks = _signatures(self.options.get(option))
        if callback not in callbacks:
            self.options[option] = [*callbacks, callback]

    def _merged(
        self, args: Iterable[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Return all arguments and options, given further ones."""
        options = {**self.options, **options}
        if self.immutable:
            return self.args, dict(self.kwargs), options
        return (*args, *self.args), {**self.kwargs, **kwargs}, options


class Shape(Signature):
    """Several signatures that are one; which ones stands in ``kwargs``, as in Celery's JSON."""

    _holds: ClassVar[tuple[str, ...]] = ("tasks",)
    """The keys in ``kwargs`` under which its parts stand."""

    def _make(self, name: str, app: Any, options: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(f"celery.{name}", (), kwargs, options, subtask_type=name, app=app)

    @classmethod
    def from_dict(cls, source: Mapping[str, Any], app: Any = None) -> Signature:
        """Return the shape that was made a dict, or came through JSON."""
        made = cls.__new__(cls)
        dict.__init__(made, {key: deepcopy(value) for key, value in source.items() if key != "kwargs"})
        kwargs = source["kwargs"]
        made["kwargs"] = {key: _revived(kwargs[key], app) if key in cls._holds else kwargs[key] for key in kwargs}
        made._app = app  # noqa: SLF001  (of its own kind)
        return made

    @property
    def own_app(self) -> Any:
        """The app that it was given, else that of the first part that has one."""
        return self._app or next(filter(None, (part.own_app for part in self.tasks)), None)

    @property
    def tasks(self) -> list[Signature]:
        """Its steps or members."""
        return cast("list[Signature]", self.kwargs["tasks"])

    @tasks.setter
    def tasks(self, tasks: Iterable[Signature]) -> None:
        self.kwargs["tasks"] = list(tasks)

    @property
    def is_empty(self) -> bool:
        """Whether it comes down to no call at all."""
        return all(task.is_empty for task in self.tasks)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Post it, with further arguments for what begins it."""
        return self.apply_async(args, **options)

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Post it all in one append, and return the promise of its value.

        Further arguments go before those of whatever begins it, of each member of a group. Raises what
        ``Task.apply_async`` raises; then nothing was queued, or, over several queues, nothing that will ever run.
        """
        return self.app.conductor.send(self, tuple(args or ()), kwargs or {}, options)

    def clone(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        immutable: bool | None = None,
        **options: Any,
    ) -> Self:
        """Return a copy of all of it, with further arguments for what begins it."""
        copy = cast("Self", type(self).from_dict(self, self._app))
        copy.options.update(options)
        if immutable is not None:
            copy.set_immutable(immutable)
        if args or kwargs:
            copy._push(tuple(args or ()), dict(kwargs or {}))  # noqa: SLF001  (of its own kind)
        return copy

    partial = clone

    def _push(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Give further arguments to all that begins it."""
        self.tasks = [task.clone(args, kwargs) for task in self.tasks]

    def set_immutable(self, immutable: bool) -> None:
        """Say whether what begins it takes further arguments."""
        for task in self.tasks:
            task.set_immutable(immutable)


@Signature.register_type()
class chain(Shape):  # noqa: N801  (Celery's name)
    """Calls one after the other; the value of each goes before the arguments of the next.

    What follows a group gets the list of its members' values, so it is the body of a chord. A group of one member is that
    member here, and an empty one nothing.
    """

    def __init__(self, *tasks: Any, app: Any = None, **options: Any) -> None:
        """Take the steps, or a list of them."""
        self._make("chain", app, options, tasks=[step for task in _several(tasks) for step in _steps(task)])

    def unchain_tasks(self) -> list[Signature]:
        """Return copies of the steps."""
        return [task.clone() for task in self.tasks]

    def __or__(self, other: object) -> Signature:  # type: ignore[override]
        """Return the chain that goes on with the other one."""
        if not isinstance(other, Signature):
            return NotImplemented
        longer = self.clone()
        longer.tasks = [*longer.tasks, *_steps(other)]
        return longer

    __ior__ = __or__  # type: ignore[assignment]

    def lay_out(
        self, plan: Plan, feed: Feed, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Node:
        """Add the steps it comes down to; return what comes out of the last one."""
        mark = plan.mark()
        options = {**self.options, **options}
        at_the_end = {name: options.pop(name) for name in _END if name in options}
        given = _without_callbacks(options)
        tasks = [task for task in self.tasks if not task.is_empty]
        node = feed.node or Node("", [])
        for number, task in enumerate(tasks, 1):
            if number == len(tasks):
                given |= at_the_end
            node = task.lay_out(plan, feed, args, kwargs, **given)
            feed, args, kwargs, given = Feed(node), (), None, {}
        plan.call_back(node, *_callbacks(options), mark)
        return node

    def set_ids(self, task_id: str | None = None) -> None:
        """Give ids to all calls in it that have none; ``task_id`` to the last."""
        self.tasks = self.unchain_tasks()
        for task in self.tasks[:-1]:
            task.set_ids()
        for last in self.tasks[-1:]:
            last.set_ids(task_id or self.options.get("task_id"))

    def _push(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.tasks = [*(task.clone(args, kwargs) for task in self.tasks[:1]), *self.tasks[1:]]

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the first step takes further arguments."""
        for task in self.tasks[:1]:
            task.set_immutable(immutable)

    def __repr__(self) -> str:
        """Return its steps as text."""
        return " | ".join(map(repr, self.tasks)) or "<chain: empty>"


_chain = chain


@Signature.register_type()
class group(Shape):  # noqa: N801  (Celery's name)
    """Calls that run side by side; the value is the list of their values, in the order of the calls.

    Groups that are members stand for their own members.
    """

    def __init__(self, *tasks: Any, app: Any = None, **options: Any) -> None:
        """Take the members, a list of them, or a generator, which is read here."""
        alone = tasks[0] if len(tasks) == 1 else None
        self._make("group", app, options, tasks=alone.tasks if type(alone) is group else _several(tasks))

    def __or__(self, other: object) -> Signature:  # type: ignore[override]
        """Return the chord that has the other one as its body."""
        if not isinstance(other, Signature):
            return NotImplemented
        return self if other.is_empty else chord(self, other, app=self._app)

    __ior__ = __or__  # type: ignore[assignment]

    def __len__(self) -> int:
        """Return how many members it has."""
        return len(self.tasks)

    def link(self, callback: Signature) -> Signature:
        """Have ``callback`` called when the first member has ended well; for the end of all use a chord."""
        return self.tasks[0].link(callback.clone(immutable=True))

    def link_error(self, errback: Signature) -> Signature:
        """Have ``errback`` called once for each member that has failed."""
        for task in self.tasks:
            task.link_error(errback)
        return errback

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Self:
        """Have the members begin one after the other: ``start`` seconds from the call, then ``step`` later each, up to ``stop``."""
        for number, task in enumerate(self.tasks):
            countdown = start + number * step
            task.set(countdown=countdown if stop is None else min(countdown, stop))
        return self

    def lay_out(
        self, plan: Plan, feed: Feed, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Node:
        """Add the steps of all members; return the node that holds them."""
        options = {**self.options, **options}
        if wrong := next((name for name in CALLBACKS if options.get(name)), None):
            raise TypeError(
                f"{wrong} of a group is for none of its tasks. Nothing was queued. For the end of all use a chord, "
                f"chord(group, callback); for each task use group.{wrong}(…)"
            )
        group_id, parent = options.pop("task_id", None) or plan.new_id(self.task), feed.node
        members = list(_unrolled(self))
        if feed.node and len(feed.ids) > 1 and len(members) > 1:
            feed = Feed(plan.gather(feed.node))
        given = {**options, "group_id": group_id}
        return Node(group_id, [one.lay_out(plan, feed, args, kwargs, **given) for one in members], parent)

    def set_ids(self, task_id: str | None = None) -> None:
        """Give ids to itself and to all calls in it that have none."""
        super().set_ids(task_id)
        self.tasks = [task.clone() for task in self.tasks]
        for task in self.tasks:
            task.set_ids()

    def __repr__(self) -> str:
        """Return its members as text."""
        return f"group([{', '.join(map(repr, self.tasks))}])"


@Signature.register_type()
class chord(Shape):  # noqa: N801  (Celery's name)
    """A group, the header, and what is called with the list of its values when all members have ended well: the body."""

    _holds: ClassVar[tuple[str, ...]] = ("header", "body")

    def __init__(self, header: Any, body: Any = None, app: Any = None, **options: Any) -> None:
        """Take the header, a group or a list of signatures, and the body, which may also be given by calling the chord."""
        tasks = header if isinstance(header, group) else group(header)
        self._make("chord", app, options, header=tasks, body=body if body is None else _revived(body, app), kwargs={})

    @property
    def tasks(self) -> list[Signature]:
        """The members of the header."""
        return self.header.tasks

    @tasks.setter
    def tasks(self, tasks: Iterable[Signature]) -> None:
        self.kwargs["header"] = group(list(tasks))

    @property
    def header(self) -> group:
        """The group."""
        header = self.kwargs["header"]
        return header if isinstance(header, group) else group(header)

    @header.setter
    def header(self, header: group) -> None:
        self.kwargs["header"] = header

    @property
    def body(self) -> Signature:
        """What is called at the end; raises ``TypeError`` if that was not said."""
        body: Signature | None = self.kwargs["body"]
        if body is None:
            raise TypeError(
                "a chord needs a body. Nothing was queued. Give it as chord(header, body) or chord(header)(body)"
            )
        return body

    @body.setter
    def body(self, body: Signature) -> None:
        self.kwargs["body"] = body

    @property
    def own_app(self) -> Any:
        """The app that it was given, else that of the body or of the header."""
        return self._app or self.body.own_app or super().own_app

    @property
    def is_empty(self) -> bool:
        """Whether it comes down to no call at all; even with an empty header the body is called."""
        return False

    def __call__(self, body: Signature | None = None, **options: Any) -> Any:
        """Post it, with that body."""
        whole = self
        if body is not None:
            whole = self.clone()
            whole.body = body
        return whole.apply_async(**options)

    def link(self, callback: Signature) -> Signature:
        """Have ``callback`` called with the value of the body."""
        self.body = self.body.clone()
        return self.body.link(callback)

    def lay_out(
        self, plan: Plan, feed: Feed, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Node:
        """Add the steps of the header and of the body; return what comes out of the body.

        A failure callback of the body is one of the whole: the body fails when a member of the header does.
        """
        mark = plan.mark()
        options = {**self.options, **options}
        at_the_end = {name: options.pop(name) for name in _END if name in options}
        given = _without_callbacks(options)
        body = self.body.clone()
        errbacks = _signatures(options.get("link_error")) + _signatures(body.options.pop("link_error", None))
        header = self.header.lay_out(plan, feed, args, {**self.kwargs["kwargs"], **(kwargs or {})}, **given)
        if not header.members and feed.ids:
            header = plan.only_after(feed, [])
        for_body = {name: value for name, value in given.items() if name not in _START}
        node = header if body.is_empty else body.lay_out(plan, Feed(header), **for_body, **at_the_end)
        plan.call_back(node, _signatures(options.get("link")), errbacks, mark)
        return node

    def set_ids(self, task_id: str | None = None) -> None:
        """Give ids to the header and to all calls in it that have none; ``task_id`` to the body."""
        self.header = self.header.clone()
        self.header.set_ids()
        self.body = self.body.clone()
        self.body.set_ids(task_id or self.options.get("task_id"))

    def _push(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.header = self.header.clone(args, kwargs)

    def __repr__(self) -> str:
        """Return body and header as text."""
        return f"chord([{', '.join(map(repr, self.tasks))}], {self.kwargs['body']!r})"


class _Each(Signature):
    """One call that calls a function for each item of a list."""

    def __init__(self, task: Any, it: Iterable[Any], app: Any = None, **options: Any) -> None:
        """Take the task, or a signature of it, whose arguments do not count, and the items, which are read here."""
        inner = _revived(task, app)
        inner = inner if isinstance(inner, Signature) else Signature(inner, app=app)
        kwargs, name = {"task": inner, "it": list(it)}, self._name
        super().__init__(f"celery.{name}", (), kwargs, options, subtask_type=name, immutable=True, app=app)

    _name: ClassVar[str] = ""

    @classmethod
    def from_dict(cls, source: Mapping[str, Any], app: Any = None) -> Signature:
        """Return the signature that was made a dict, or came through JSON."""
        made = cls(source["kwargs"]["task"], source["kwargs"]["it"], app, **source["options"])
        made.kwargs.update({key: value for key, value in source["kwargs"].items() if key not in {"task", "it"}})
        return made

    @property
    def own_app(self) -> Any:
        """The app of the task."""
        return self._app or self.kwargs["task"].own_app

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Call the function for each item, here and now."""
        task = self.kwargs["task"]
        return [task.app.find_task(task.task)(*one) for one in self._calls()]

    def _calls(self) -> list[Sequence[Any]]:
        return [[item] for item in self.kwargs["it"]]

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Post it; further arguments are passed over."""
        return self.app.conductor.send(self, tuple(args or ()), kwargs or {}, options)

    def _step(self, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]) -> Step:
        del args, kwargs  # it takes no others
        task, items = self.kwargs["task"].type, self.kwargs["it"]
        return Step(task_id, task, (items,), {}, options, immutable=True, each=self._name)


@Signature.register_type("map")
class xmap(_Each):  # noqa: N801  (Celery's name)
    """One call that calls the function with each item of a list, and has the list of the values."""

    _name: ClassVar[str] = "map"

    def __repr__(self) -> str:
        """Return it as a comprehension."""
        return f"[{self.kwargs['task'].task}(x) for x in {self.kwargs['it']!r}]"


@Signature.register_type("starmap")
class xstarmap(_Each):  # noqa: N801  (Celery's name)
    """The same with lists of arguments as items."""

    _name: ClassVar[str] = "starmap"

    def _calls(self) -> list[Sequence[Any]]:
        return list(self.kwargs["it"])

    def __repr__(self) -> str:
        """Return it as a comprehension."""
        return f"[{self.kwargs['task'].task}(*x) for x in {self.kwargs['it']!r}]"


@Signature.register_type()
class chunks(xstarmap):  # noqa: N801  (Celery's name)
    """Many small calls as fewer larger ones: a group of starmaps over ``n`` items each."""

    _name: ClassVar[str] = "chunks"

    def __init__(self, task: Any, it: Iterable[Any], n: int, app: Any = None, **options: Any) -> None:
        """Take the task, the lists of arguments, which are read here, and how many of them make one call."""
        if n < 1:
            raise ValueError(f"chunks of {n} calls are none. Nothing was queued. Give a number from 1 up")
        super().__init__(task, it, app, **options)
        self.kwargs["n"] = n

    @classmethod
    def from_dict(cls, source: Mapping[str, Any], app: Any = None) -> Signature:
        """Return the signature that was made a dict, or came through JSON."""
        parts = source["kwargs"]
        return cls(parts["task"], parts["it"], parts["n"], app, **source["options"])

    def group(self) -> group:
        """Return the group that it stands for."""
        items, size = self.kwargs["it"], self.kwargs["n"]
        parts = (items[start : start + size] for start in range(0, len(items), size))
        return group([xstarmap(self.kwargs["task"], part, self._app) for part in parts], app=self._app)

    def __call__(self, *_: Any, **options: Any) -> Any:
        """Post it."""
        return self.apply_async(**options)

    def lay_out(
        self, plan: Plan, feed: Feed, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Node:
        """Add the steps of the group."""
        return self.group().lay_out(plan, feed, args, kwargs, **{**self.options, **options})


def signature(varies: Any, *args: Any, **options: Any) -> Signature:
    """Return a signature of a task, of the task of a name, or of a dict that was one; see ``Signature``."""
    if isinstance(varies, Signature):
        return varies.clone()
    if isinstance(varies, dict):
        return Signature.from_dict(varies, options.get("app"))
    return Signature(varies, *args, **options)


subtask = signature


def maybe_signature(value: Any, app: Any = None, clone: bool = False) -> Any:
    """Return a dict that was a signature as one, and anything else as it is; with ``clone`` a copy of a signature."""
    if isinstance(value, Signature):
        return value.clone() if clone else value
    return Signature.from_dict(value, app) if isinstance(value, dict) and "task" in value else value


def _revived(value: Any, app: Any) -> Any:
    """Return a copy in which dicts that were signatures are such."""
    if isinstance(value, list | tuple):
        return [_revived(one, app) for one in value]
    return maybe_signature(value, app, clone=True)


def _several(tasks: Sequence[Any]) -> list[Signature]:
    """Return the signatures that a shape was made of: several, or one list of them."""
    return _signatures(tasks[0]) if len(tasks) == 1 else _signatures(tasks)


def _signatures(value: Any) -> list[Signature]:
    """Return none, one or several signatures as a list; dicts become such."""
    if value is None:
        return []
    return [_as_signature(one) for one in ([value] if isinstance(value, dict) else value)]


def _unrolled(shape: group) -> Iterator[Signature]:
    """Yield the members of a group, and of those that are groups theirs."""
    for task in shape.tasks:
        if isinstance(task, group):
            yield from _unrolled(task)
        elif not task.is_empty:
            yield task


def _without_callbacks(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are for the call itself."""
    return {name: value for name, value in options.items() if name not in CALLBACKS}


def _callbacks(options: Mapping[str, Any]) -> tuple[list[Signature], list[Signature]]:
    """Return what is to follow the end, and what is to follow a failure."""
    return _signatures(options.get("link")), _signatures(options.get("link_error"))


def _as_signature(value: Any) -> Signature:
    found = maybe_signature(value)
    if not isinstance(found, Signature):
        name = getattr(value, "name", "add")
        raise TypeError(
            f"{value!r} is no signature, so it cannot be part of a workflow. Nothing was queued. Write {name}.s(…)"
        )
    return found


def _steps(task: Signature) -> list[Signature]:
    """Return the steps that a signature is in a chain: those of a plain chain, the member of a group of one, else itself."""
    if type(task) is _chain and not task.options:
        return task.tasks
    if type(task) is group and len(task.tasks) == 1 and not task.options:
        return _steps(task.tasks[0])
    return [task]
