"""How an app is set up: where its settings come from, which modules have its tasks, and who is told that it is complete.

1. Settings are read at once. Modules are only named: whoever needs the tasks, a worker or a command, imports them.
2. Receivers of ``on_configure`` and the like are told once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pmtq import loading
from pmtq.conf import Settings
from pmtq.signals import Signal
from pmtq.task import Task


class Configurable:
    """What ``PMTQ`` has for being set up."""

    def __init__(self, include: Iterable[str], source: object, *settings: Mapping[str, Any]) -> None:
        """Take modules to be imported for their tasks, what is for ``config_from_object``, and settings by name."""
        self.conf = Settings()
        for some in settings:
            self.conf.update(some)
        if source is not None:
            self.config_from_object(source)
        self.include = [name for name in include if name]
        self.tasks: dict[str, Task[..., Any]] = {}
        self.on_configure = Signal("on_configure")
        self.on_after_configure = Signal("on_after_configure")
        self.on_after_finalize = Signal("on_after_finalize")
        self.on_after_fork = Signal("on_after_fork")
        self._packages: list[Callable[[], list[str]]] = []
        self._is_final = False

    def config_from_object(
        self,
        source: object,
        *,
        silent: bool = False,
        force: bool = False,  # noqa: ARG002  (Celery's signature)
        namespace: str = "",
    ) -> None:
        """Take the settings that are attributes of ``source``: an object, or the name of a module, ``celeryconfig``.

        With a ``namespace`` those that begin with it: ``namespace="CELERY"`` takes ``CELERY_TASK_ROUTES``. A module that
        is not there is an error unless ``silent``. ``force`` changes nothing: it is read at once anyway.
        """
        self.conf.from_object(source, namespace=namespace, silent=silent)

    def config_from_envvar(
        self,
        variable: str,
        *,
        silent: bool = False,
        force: bool = False,  # noqa: ARG002  (Celery's signature)
    ) -> None:
        """Take the settings of the module that the environment variable names."""
        self.conf.from_envvar(variable, silent=silent)

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] = (),
        related_name: str | None = "tasks",
        *,
        force: bool = False,
    ) -> None:
        """Have a worker import the module called ``related_name`` of each package, where there is one.

        ``force`` imports them here and now.
        """

        def found() -> list[str]:
            names = packages() if callable(packages) else packages
            return loading.related(names, related_name)

        self._packages.append(found)
        if force:
            loading.import_all(found())

    def modules(self) -> list[str]:
        """Return the names of the modules a worker imports for their tasks."""
        named = [*self.include, *(self.conf.include or ()), *(self.conf.imports or ())]
        return list(dict.fromkeys([*filter(None, named), *(name for found in self._packages for name in found())]))

    def finalize(self) -> None:
        """Tell receivers that the app is complete, once; a worker does it when it has imported the tasks."""
        if not self._is_final:
            self._is_final = True
            for task in self.tasks.values():
                task.take_annotations()
            for signal in (self.on_configure, self.on_after_configure, self.on_after_finalize):
                signal.send(self)

    def after_fork(self) -> None:
        """Tell receivers that this is a forked child, in which the app's files have been put in order."""
        self.on_after_fork.send(self)
