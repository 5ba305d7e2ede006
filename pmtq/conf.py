"""The settings of an app, as ``app.conf``: read and set as attributes or items, under new names or old ones.

1. The environment (``PMTQ_TASK_ALWAYS_EAGER=1``) overrides what the code sets, the code (``app.conf.x = …``, ``update``, the
   app's arguments) what a configuration object says, and that the default; the order in which they came does not matter.
2. A value is checked when it is set. If one of several is refused, none of them was set.
3. An unknown name is stored and never an error, so that the configuration of a whole program may be handed over.
4. What was set and does nothing here is said once, in a log line and in ``remarks``.

It does not know what a setting does, and no file but the module it is asked to import.
"""

from __future__ import annotations

import copy
import difflib
import json
import logging
import os
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from datetime import UTC, timedelta, tzinfo
from inspect import isbuiltin, isclass, isfunction, ismethod, ismodule
from types import EllipsisType
from typing import Any

from pmtq import values
from pmtq.censor import censored as censor
from pmtq.defaults import DIFFERENT, IGNORED, KNOWN, SETTINGS, setting_name
from pmtq.exceptions import ImproperlyConfigured
from pmtq.importing import NotFound, find_object
from pmtq.zones import LOCAL, find_zone

log = logging.getLogger(__name__)

_ENVIRONMENT = "PMTQ_"
_PREFIXES = ("CELERY_", _ENVIRONMENT)
_NO_SETTINGS = {"PMTQ_ALLOW_SHARED", "PMTQ_DEBUG"}
"""Variables that speak to a process, and not of an app."""


class Settings(MutableMapping[str, Any]):
    """The settings of one app.

    Reading an attribute costs what reading any object's attribute does: ``delay`` reads some.
    """

    version: int
    """How often settings have changed, for those who keep what they made of them."""
    __slots__ = ("__dict__", "_code", "_environment", "_layers", "_object", "_remarks", "version")

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Start with the defaults and what ``environ`` (by default the process's environment) says."""
        defaults = {name: copy.copy(setting.default) for name, setting in SETTINGS.items()}
        environ = os.environ if environ is None else environ
        self._remarks: list[str] = []
        object.__setattr__(self, "version", 0)
        self._object: dict[str, Any] = {}
        self._code: dict[str, Any] = {}
        self._environment: dict[str, Any] = {}
        self._layers = ChainMap(self._environment, self._code, self._object, defaults)
        self._show(defaults)
        self._store(self._environment, _from_environment(environ))
        for key in environ:
            if key.startswith(_ENVIRONMENT) and setting_name(key) not in KNOWN and key not in _NO_SETTINGS:
                self._remark(key, key, None)

    def update(self, other: Any = (), /, **settings: Any) -> None:
        """Set many: from a mapping, from pairs, or by name. A literal ``...`` stands for none."""
        pairs = {} if isinstance(other, EllipsisType) else dict(other)
        self._store(self._code, pairs | settings)

    def from_object(self, source: Any, *, namespace: str = "", silent: bool = False) -> bool:
        """Take the settings from ``source``, in place of those that were taken from another object before.

        It is a mapping, a module, an object with attributes, or the name of one: ``celeryconfig``, ``proj.conf:Config``;
        the current directory can be imported from. With ``namespace="CELERY"`` the name ``CELERY_TASK_ROUTES`` is
        ``task_routes``, as it is without for ``CELERY`` and ``PMTQ``. Raises ``ImproperlyConfigured`` if there is no such
        module; with ``silent`` it returns False instead, and nothing was changed.
        """
        if isinstance(source, str):
            try:
                source = find_object(source)
            except NotFound:
                if silent:
                    return False
                raise
        before = dict(self._object)
        self._object.clear()
        try:
            self._store(self._object, _settings_in(source), namespace)
        except ImproperlyConfigured:
            self._object.update(before)
            raise
        self._show(before)
        return True

    def from_envvar(self, name: str, *, namespace: str = "", silent: bool = False) -> bool:
        """Take the settings from the module that the environment variable ``name`` names; see ``from_object``."""
        if module := os.environ.get(name):
            return self.from_object(module, namespace=namespace, silent=silent)
        if silent:
            return False
        raise ImproperlyConfigured(
            f"the environment variable {name} is not set, so there are no settings to take. Nothing was changed. "
            f"Set it to the name of a module: {name}=celeryconfig"
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was set and does nothing here, and what looks misspelt; a line each."""
        return tuple(self._remarks)

    @property
    def zone(self) -> tzinfo:
        """The time zone of people and schedules: that of ``timezone``, else UTC, or local time without ``enable_utc``."""
        shown = vars(self)  # schedules ask often: looking through the layers would take most of their time
        chosen = shown["timezone"]
        if isinstance(chosen, tzinfo):
            return chosen
        if chosen:
            return find_zone(chosen)
        return UTC if shown["enable_utc"] else LOCAL

    @property
    def keeps_values(self) -> bool:
        """Whether what tasks return is to be found anywhere; not with ``result_backend="disabled://"``."""
        return not (self["result_backend"] or "").startswith("disabled")

    def seconds(self, name: str) -> float | None:
        """Return a setting that is a time span as seconds, whether it was set as such or as a ``timedelta``."""
        value = getattr(self, name)
        return value.total_seconds() if isinstance(value, timedelta) else value

    def table(self, *, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Return what is not as by default, by name; passwords and the like are starred out unless ``censored`` is false."""
        shown = sorted(name for name in self._layers if with_defaults or not self._is_default(name))
        return {name: censor(name, self[name]) if censored else self[name] for name in shown}

    def humanize(self, *, with_defaults: bool = False, censored: bool = True) -> str:
        """Return ``table`` as text, a line each, and say which of them the environment has set."""
        return "\n".join(
            f"{name}: {value!r}{f' (from {_ENVIRONMENT}{name.upper()})' if name in self._environment else ''}"
            for name, value in self.table(with_defaults=with_defaults, censored=censored).items()
        )

    def __getitem__(self, key: str) -> Any:
        name = setting_name(key)
        if name in self._layers:
            return self._layers[name]
        if name in IGNORED:
            return None
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._store(self._code, {key: value})

    def __delitem__(self, key: str) -> None:
        name = setting_name(key)
        del self._code[name]
        self._show([name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and setting_name(key) in self._layers

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            hint = _hint(key)
        raise AttributeError(f"there is no setting {key!r}, and nobody has set one.{hint}", name=key, obj=None)

    def __setattr__(self, key: str, value: Any) -> None:
        if key.startswith("_"):
            object.__setattr__(self, key, value)
        else:
            self[key] = value

    def __delattr__(self, key: str) -> None:
        try:
            del self[key]
        except KeyError:
            raise AttributeError(f"the setting {key!r} was not set by code", name=key, obj=None) from None

    def __repr__(self) -> str:
        return f"<Settings: {self.table()}>"

    def _store(self, layer: dict[str, Any], pairs: Mapping[str, Any], namespace: str = "") -> None:
        """Check all values, and then put them into a layer."""
        kept = {}
        for key in sorted(pairs, key=lambda key: _rank(key, namespace)):
            name, value = _name(key, namespace), pairs[key]
            overridden = name in self._environment and layer is not self._environment
            is_checked = name in SETTINGS and name not in IGNORED and not overridden
            kept[name] = SETTINGS[name].check(key, value) if is_checked else value
            self._remark(key, name, kept[name])
        layer.update(kept)
        self._show(kept)

    def _show(self, names: Iterable[str]) -> None:
        """Make the attributes of the object say what the layers do."""
        object.__setattr__(self, "version", self.version + 1)
        for name in names:
            if name not in self._layers:
                vars(self).pop(name, None)
            elif not hasattr(Settings, name):  # one called ``items`` must not hide the method
                vars(self)[name] = self._layers[name]

    def _remark(self, key: str, name: str, value: object) -> None:
        """Say once that a setting does nothing, or looks like the misspelling of one that does."""
        level, shown = logging.INFO, f"{key}={censor(name, value)!r}"
        if name in IGNORED:
            line = f"{shown} has no effect: {IGNORED[name]}"
        elif name in DIFFERENT and value != SETTINGS[name].default:
            line = f"{shown} is not quite as in Celery: {DIFFERENT[name]}"
        elif name not in KNOWN and (key.islower() or key.startswith(_PREFIXES)) and (hint := _hint(key)):
            level, line = logging.WARNING, f"{key} is no setting, and does nothing by itself.{hint}"
        else:
            return
        if line not in self._remarks:
            self._remarks.append(line)
            log.log(level, line)

    def _is_default(self, name: str) -> bool:
        return name in SETTINGS and self._layers[name] == SETTINGS[name].default


def _name(key: str, namespace: str) -> str:
    """Return the setting's name that a key means in a configuration whose names begin with ``namespace``."""
    rest = key[len(namespace) :].lstrip("_").lower()
    return rest if _has_namespace(key, namespace) and rest in KNOWN else setting_name(key)


def _has_namespace(key: str, namespace: str) -> bool:
    return bool(namespace) and key.lower().startswith(f"{namespace.rstrip('_').lower()}_")


def _rank(key: str, namespace: str) -> tuple[bool, bool, bool]:
    """Return where a key stands among those that mean the same setting; the last one counts."""
    return _has_namespace(key, namespace), key in KNOWN, key != "TIME_ZONE"


def _hint(key: str) -> str:
    plain = key.lower()
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix.lower())
    near = difflib.get_close_matches(plain, SETTINGS, n=1, cutoff=0.75)
    return f" Did you mean {near[0]!r}?" if near else ""


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings among the variables of the environment; one that is empty counts as not set."""
    found = {key: text for key, text in environ.items() if key.startswith(_ENVIRONMENT) and text}
    return {key: _parsed(setting_name(key), text) for key, text in found.items() if setting_name(key) in KNOWN}


def _parsed(name: str, text: str) -> Any:
    """Return what a text means: JSON if it is some, unless the setting is to be text; else the text itself."""
    if name in SETTINGS and SETTINGS[name].check is values.text:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _settings_in(source: Any) -> dict[str, Any]:
    """Return what a mapping, a module or another object has for settings."""
    if isinstance(source, Mapping):
        return dict(source)
    public = {name: getattr(source, name) for name in dir(source) if not name.startswith("_")}
    return {name: value for name, value in public.items() if setting_name(name) in KNOWN or not _is_helper(name, value)}


def _is_helper(name: str, value: object) -> bool:
    """Say whether a module's name is something it imports or defines on the way to its settings."""
    defined = isclass(value) or isfunction(value) or ismethod(value) or isbuiltin(value)
    return ismodule(value) or (defined and getattr(value, "__name__", "") == name)
