"""The power goes while clients and a worker are at work; ``power_cut`` and ``careless`` say how, and the first does it more often."""

import os
import random
import shutil
import time

import pytest

from pmtq import sealing
from pmtq.folder import Folder
from pmtq.moving import move
from tests.crash import power_cut
from tests.crash.careless import Recorder, build
from tests.crash.counts import LARGE
from tests.crash.power_cut import MAKE, cut_power, in_child, recover, why_not
from tests.crash.power_load import LATER, make_app
from tests.support import NOW, Hand, success

CUTS = 30


@pytest.mark.skipif(
    not LARGE, reason="mounts file systems: PMTQ_CRASH=large in front of pytest has the power cut under them"
)
@pytest.mark.parametrize("file_system", list(MAKE))
def test_a_power_cut_costs_nothing_that_was_promised_and_of_the_rest_only_the_newest(file_system):
    if reason := why_not(file_system):
        pytest.skip(f"no power cut under {file_system}: {reason}")

    seen = cut_power(file_system, CUTS)

    assert (seen.cuts, seen.lost, seen.older, seen.troubles) == (CUTS, 0, 0, [])
    assert seen.acknowledged > 0
    assert seen.gone > 0, "a cut that takes nothing proves nothing"


def test_a_machine_on_which_no_power_can_be_cut_says_what_it_lacks(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    not_root = why_not("xfs")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(power_cut.sys, "platform", "linux")
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "mkfs.xfs" else tool)

    assert not_root == "needs Linux and root, to mount file systems"
    assert why_not("xfs") == "mkfs.xfs is not installed (apt-get install xfsprogs util-linux)"


class Story:
    """Calls, runs and clearings one after the other, on files whose effects are recorded."""

    def __init__(self, path, patch):
        self.record = Recorder(patch)
        self.folder = Folder(path)
        self.app = make_app(path, durable=True)
        self.patch = patch

    def post(self, *names, **options):
        for name in names:
            self.app.tasks["tasks.echo"].apply_async([name], task_id=name, **options)
            self.record.note(name)
        self.app.broker.close()

    def tell(self):
        self.post("a", "b")
        self.post("later", "even-later", eta=LATER)
        self.post("c", priority=3)
        one = Hand(self.folder, "one", {"tasks.echo": True}, ["celery"])
        self.run(one, 2)
        self.clear(one)  # what is owed is carried over, and the results start afresh
        self.post("d")
        self.post("not-promised", durable=False)
        self.run(one, 1)
        move(self.folder, "even-later", "plain", None)
        self.clear(one, sealing.GRACE + 1)  # the first sealed file goes
        self.post("e", queue="plain")
        self.clear(one, sealing.GRACE + 1)
        self.clear(one, sealing.GRACE + 1)
        one.die()
        self.app.close()

    def run(self, hand, count):
        hand.claimer.exchange([success(claim, claim.record.task_id) for claim in hand.claim(count)], NOW)

    def clear(self, hand, later=0.0):
        self.patch.setattr(sealing, "is_outgrown", lambda *_, **__: True)
        hand.claimer.tidy(time.time() + later, idle=False)


def test_a_file_system_that_keeps_only_what_it_must_keeps_what_was_promised(tmp_path, monkeypatch):
    chance = random.Random(0)
    top = tmp_path / "top"
    top.mkdir()
    with monkeypatch.context() as patch:
        story = Story(top / "queue_dir", patch)
        story.tell()
    effects = story.record.effects
    assert {effect.kind for effect in effects} == {
        "write", "create", "rename", "remove", "mkdir", "sync", "sync folder", "note"
    }  # fmt: skip
    troubles, gone = [], 0
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # from here on the power stays on

    for end in range(1, len(effects) + 1):
        place = tmp_path / f"{end}"
        place.mkdir()
        build(effects[:end], chance, top, place)
        posted = {effect.data.decode() for effect in effects[:end] if effect.kind == "note"}
        there, wrong = in_child(lambda place=place, end=end: recover(place / "queue_dir", f"after effect {end}"))
        troubles += wrong + [
            f"after effect {end}: lost {name}" for name in sorted(posted - {"not-promised"} - set(there))
        ]
        gone += bool({"not-promised"} & posted - set(there))

    assert troubles == []
    assert gone > 0, "nothing that a cut could take was at risk"
