"""Fixtures for the notes: places of one's own, and programs imported as a client would that was started there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pmtq import PMTQ
from tests.notes.support import URL, Load, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A directory of the test's own."""
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """A function that goes to a place and imports one of its programs, by default with the server's URL overridden."""
    before = set(sys.modules)

    def load(place: Place, name: str, *, overridden: bool = True):
        monkeypatch.chdir(place.path)
        if overridden:
            monkeypatch.setenv("PMTQ_BROKER_URL", URL)
        monkeypatch.syspath_prepend(place.path)
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        here = str(getattr(sys.modules[name], "__file__", "")).startswith(str(Path.cwd()))
        for app in vars(sys.modules[name]).values() if here else ():
            if isinstance(app, PMTQ):
                app.close()
        if here:
            del sys.modules[name]
