"""A file system that keeps no more through a power cut than it must: what POSIX lets it lose, it loses.

1. What was written to a file since its last ``fsync`` may be there up to any byte, or in any pieces with nothing between.
2. A name that was made, changed or removed may still be as it was, unless its folder was synced since. The changes of one
   folder come true in their order, and a rename in both folders at once.

ext4, xfs and btrfs bring a new file's name to the disk together with the file, so that there nobody notices if a folder is
never synced. Here it is noticed, on any machine: all effects on files pass through ``pmtq.disk``, and are recorded there.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmtq import disk, folder

HINTS = "workers"
"""The folder that may be missing altogether."""


@dataclass(frozen=True)
class Effect:
    """One effect on files, or a note of the test's own."""

    kind: str
    """``write``, ``create``, ``rename``, ``remove``, ``mkdir``, ``sync``, ``sync folder`` or ``note``."""
    file: int = 0
    """Its number: no file has that of another one before it, as inodes may."""
    data: bytes = b""
    path: Path = Path()
    target: Path = Path()

    @property
    def folders(self) -> set[Path]:
        """Return the folders whose names it changes."""
        if self.kind in {"create", "remove", "mkdir"}:
            return {self.path.parent}
        return {self.path.parent, self.target.parent} if self.kind == "rename" else set()


class Recorder:
    """Records what happens to the files of a queue folder, which does not exist yet."""

    def __init__(self, patch: Any) -> None:
        """Listen at ``pmtq.disk``; ``patch`` is pytest's ``monkeypatch``."""
        self.effects: list[Effect] = []
        self._numbers: dict[int, int] = {}
        """The number of each file, by its inode."""
        for name in ("open_file", "append", "rename", "remove", "make_folder"):
            patch.setattr(disk, name, self._listening(name, getattr(disk, name)))
        patch.setattr(os, "fsync", self._fsync)
        patch.setattr(folder, "make_folder", disk.make_folder)

    def note(self, text: str) -> None:
        """Record that the test has come to some point."""
        self.effects.append(Effect("note", data=text.encode()))

    def _listening(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: getattr(self, f"_{name}")(real, *args, **kwargs)

    def _open_file(self, real, path, **options):
        is_new = not path.exists()
        descriptor = real(path, **options)
        if is_new:
            self._numbers[os.fstat(descriptor).st_ino] = number = len(self.effects) + 1
            self.effects.append(Effect("create", number, path=path))
        return descriptor

    def _append(self, real, descriptor, data, path, before):
        real(descriptor, data, path, before)
        self.effects.append(Effect("write", self._number(descriptor), bytes(data)))

    def _rename(self, real, source, target):
        number = self._numbers[source.stat().st_ino]
        real(source, target)
        self.effects.append(Effect("rename", number, path=source, target=target))

    def _remove(self, real, path):
        was_there = path.exists()
        real(path)
        if was_there:
            self.effects.append(Effect("remove", path=path))

    def _make_folder(self, real, path):
        is_new = not path.exists()
        real(path)
        if is_new:
            self.effects.append(Effect("mkdir", path=path))

    def _fsync(self, descriptor: int) -> None:
        path = disk._path(descriptor)
        if path.is_dir():
            self.effects.append(Effect("sync folder", path=path))
        else:
            self.effects.append(Effect("sync", self._number(descriptor)))

    def _number(self, descriptor: int) -> int:
        return self._numbers[os.fstat(descriptor).st_ino]


def build(effects: list[Effect], chance: random.Random, top: Path, place: Path) -> None:
    """Put into ``place`` what a cut after these effects may have left of what was in ``top``."""
    files: dict[Path, int] = {}
    folders = {top}
    for effect in _names_that_last(effects, chance):
        if effect.kind == "mkdir" and effect.path.parent in folders:
            folders.add(effect.path)
        elif effect.kind == "create":
            files[effect.path] = effect.file
        elif effect.kind == "remove":
            files.pop(effect.path, None)
        elif effect.kind == "rename":
            files.pop(effect.path, None)
            files[effect.target] = effect.file
    for path in sorted(folders):
        if path.name != HINTS:
            (place / path.relative_to(top)).mkdir(mode=0o700, exist_ok=True)
    for path, number in files.items():
        if path.parent in folders and path.parent.name != HINTS:
            left = _bytes_that_last([effect for effect in effects if effect.file == number], chance)
            (place / path.relative_to(top)).write_bytes(left)


def _names_that_last(effects: list[Effect], chance: random.Random) -> list[Effect]:
    """Return the changes of names that are there after the cut, in their order."""
    certain: set[int] = set()
    synced: set[Path] = set()
    for place in range(len(effects) - 1, -1, -1):  # what a synced folder needs, others need from there on
        effect = effects[place]
        if effect.kind == "sync folder":
            synced.add(effect.path)
        elif effect.folders & synced:
            synced |= effect.folders
            certain.add(place)
    stopped: set[Path] = set()
    lasting = []
    for place, effect in enumerate(effects):
        if not effect.folders:
            continue
        if place in certain or (not effect.folders & stopped and chance.random() < 0.5):
            lasting.append(effect)
        else:
            stopped |= effect.folders
    return lasting


def _bytes_that_last(effects: list[Effect], chance: random.Random) -> bytes:
    """Return what stands in a file after the cut."""
    synced = max((place for place, effect in enumerate(effects) if effect.kind == "sync"), default=-1)
    left = b"".join(effect.data for effect in effects[: synced + 1])
    unsynced = [effect.data for effect in effects[synced + 1 :] if effect.data]
    if chance.random() < 0.5:
        rest = b"".join(unsynced)
        return left + rest[: chance.randrange(len(rest) + 1)]
    pieces = [data if chance.random() < 0.5 else bytes(len(data)) for data in unsynced]
    return left + b"".join(pieces).rstrip(b"\0")
