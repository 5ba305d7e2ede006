"""The steps that a workflow comes down to: plain calls, each naming the ids of those it comes after.

1. A step stands behind all that it waits for, so whoever runs them in this order never has to wait.
2. Each step knows who follows it, and each follower what it waits for: what is said once here is said in both records.
3. Where many would wait for many, one step in between gathers: the text of a workflow is as long as it has steps.

It does not know what a chain or a chord is; ``canvas`` lays those out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from pmtq.ids import derived_task_id, ids_in, new_task_id
from pmtq.steps import GATHER


class Layable(Protocol):
    """What can be laid out: a signature."""

    def lay_out(self, plan: Plan, feed: Feed) -> Node:
        """Add the steps it comes down to; return what comes out of them."""


@dataclass(frozen=True)
class Node:
    """What comes out of a shape: the id that a result goes by, or a group of nodes."""

    id: str
    members: list[Node] | None = None
    parent: Node | None = None
    """What came before it in its chain, or the header of its chord."""

    @property
    def tree(self) -> Any:
        """The ids whose values make up its value: one, or a list of trees."""
        return self.id if self.members is None else [member.tree for member in self.members]


@dataclass(frozen=True)
class Feed:
    """What goes into a shape: nothing, the value of what came before it, or the news that one of some tasks has failed."""

    node: Node | None = None
    failure: tuple[str, ...] = ()

    @property
    def ids(self) -> list[str]:
        """The ids of the tasks that must have ended."""
        return [*(ids_in(self.node.tree) if self.node else ()), *self.failure]


@dataclass
class Step:
    """One call of a workflow, and what it waits for; the fields mean what they mean in a ``TaskRecord``."""

    task_id: str
    task: Any
    """A task, or the name of one."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    after: Any = None
    after_failure: list[str] | None = None
    immutable: bool = False
    each: str = ""
    parent_id: str = ""
    followers: list[str] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """Whether it comes after others."""
        return self.after is not None or bool(self.after_failure)

    @property
    def is_fed(self) -> bool:
        """Whether it is given more arguments than stand here."""
        return self.waits and not self.immutable


class Plan:
    """The steps of one workflow, each behind those that it waits for."""

    def __init__(self, known_by: str = "") -> None:
        """Begin with none.

        ``known_by`` is the id that the caller has given the workflow. All ids that are made here come of it and of what
        the step is, so that a workflow that is posted twice, because of a crash in between, is still one workflow.
        """
        self.steps: list[Step] = []
        self.made: set[str] = set()
        """Ids that nobody but this plan can know: another plan of the same workflow has others."""
        self._known_by = known_by
        self._count = 0
        """How many ids were asked for."""
        self._by_id: dict[str, Step] = {}
        self._inside: list[str] = []
        """The steps of the shapes that are being laid out, without those of callbacks."""

    def new_id(self, what: object) -> str:
        """Return the id of a step that was given none; ``what`` tells it from other ones, by its ``repr``."""
        self._count += 1
        if self._known_by:
            return derived_task_id(f"{self._known_by} {self._count} {what!r}")
        task_id = new_task_id()
        self.made.add(task_id)
        return task_id

    def _id_behind(self, ids: Iterable[str]) -> str:
        """Return the id of a step that does nothing but come after these."""
        self._count += 1
        before = list(ids)
        task_id = derived_task_id(f"{self._count} {' '.join(before)}")
        if not self.made.isdisjoint(before):
            self.made.add(task_id)
        return task_id

    def add(self, step: Step, feed: Feed) -> Node:
        """Add a step that is fed with ``feed``, and return what comes out of it."""
        ids = feed.ids
        if ids:
            step.parent_id = ids[0] if len(ids) == 1 else ""
            step.after = feed.node.tree if feed.node else None
            step.after_failure = list(feed.failure) or None
        elif feed.node and not step.immutable:
            step.args = (feed.node.tree, *step.args)  # the value of an empty group is known
        for task_id in ids:
            if before := self._by_id.get(task_id):
                before.followers.append(step.task_id)
        self.steps.append(step)
        self._by_id[step.task_id] = step
        self._inside.append(step.task_id)
        return Node(step.task_id, parent=feed.node)

    def gather(self, node: Node, task_id: str = "") -> Node:
        """Add a step that does nothing but collect, so that many need not wait for many; return what comes out of it."""
        step = Step(task_id or self._id_behind(ids_in(node.tree)), GATHER, (), {}, {})
        gathered = self.add(step, Feed(node))
        step.args, step.after = (), node.tree
        return gathered

    def only_after(self, feed: Feed, value: Any) -> Node:
        """Add a step that has ``value`` as soon as what it is fed with has ended well; return what comes out of it."""
        return self.add(Step(self._id_behind(feed.ids), GATHER, (value,), {}, {}, immutable=True), feed)

    def mark(self) -> int:
        """Return where the shape begins that is laid out next; see ``call_back``."""
        return len(self._inside)

    def call_back(self, node: Node, links: Iterable[Layable], errbacks: Iterable[Layable], mark: int) -> None:
        """Lay out what follows the end of a shape, and what follows its failure: that of any step since ``mark``."""
        inside = self._inside
        scope = tuple(inside[mark:])
        self._inside = []
        for link in links:
            link.lay_out(self, Feed(node))
        for errback in errbacks if scope else ():
            errback.lay_out(self, Feed(failure=scope))
        self._inside = inside
