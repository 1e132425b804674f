"""trees/live: what can be read while a tree grows, and what stands there in the end."""

import json
import os

import torch
from PIL import Image

from tests.small_runs import SIZES
from tests.web_schema import checked
from treegrpo.method.advantage import with_advantages
from treegrpo.method.grow import grow
from treegrpo.method.plan import preset
from treegrpo.method.process import Kernel
from treegrpo.method.sample import decode
from treegrpo.run import atomic, live_tree
from treegrpo.run.live_tree import LiveTree
from treegrpo.run.outcome import Outcome
from treegrpo.run.tree_record import record

PROMPTS = ["bear", "frog"]


def follow(policy, live, number=4):
    """Grow, decode and back up under the eyes of `live`; returns the outcome."""
    plan = preset("treegrpo", steps=5, window=(1, 3), branch=2, roots=1)
    live.begin(number, plan, PROMPTS, policy.sigmas(5))
    tree = grow(policy, PROMPTS, plan, Kernel("cps"), torch.Generator().manual_seed(0), SIZES, live.step)
    images = decode(policy, tree.leaves, SIZES)
    live.leaves(tree.leaves, images)
    tree = with_advantages(tree.with_rewards({"r": torch.arange(float(len(images)))}), {"r": 1.0})
    outcome = Outcome(number, tree, images, None, tree.rewards)
    live.end(outcome)
    return outcome


def test_it_grows_generation_by_generation(policy, tmp_path, monkeypatch):
    monkeypatch.setattr(live_tree, "PAUSE", -1.0)
    seen = []
    outcome = follow(policy, LiveTree(tmp_path, policy.decode, seen.append))
    assert [len(each["generations"]) for each in seen] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [each["step"] for each in seen] == [0, 0, 1, 2, 3, 4, 5, 5]
    assert [each["complete"] for each in seen] == [False] * 7 + [True]
    for each in seen[2:]:
        nodes = sum(len(PROMPTS) * generation["count"] for generation in each["generations"])
        assert each["sheet"]["tiles"] == nodes
    stored = json.loads((tmp_path / "live.json").read_text())
    assert stored == seen[-1] == record(outcome.tree, 4) | {"sheet": stored["sheet"]}
    checked("Tree", stored | {"sheet": None})


def test_leaves_are_the_decoded_pictures(policy, tmp_path):
    outcome = follow(policy, LiveTree(tmp_path, policy.decode))
    layout = json.loads((tmp_path / "live.json").read_text())["sheet"]
    height, width = outcome.images.shape[1:3]
    assert (layout["height"], layout["width"]) == (height, width)
    row, column = divmod(layout["tiles"] - 1, layout["columns"])
    with Image.open(tmp_path / "live.jpg") as sheet:
        box = (column * width, row * height, (column + 1) * width, (row + 1) * height)
        crop = sheet.crop(box).convert("RGB")
    pixels = torch.frombuffer(bytearray(crop.tobytes()), dtype=torch.uint8).view(height, width, 3) / 255
    assert (pixels - outcome.images[-1]).abs().mean() < 0.05  # JPEG at quality 90


def test_news_come_at_most_every_pause(policy, tmp_path, monkeypatch):
    monkeypatch.setattr(live_tree, "PAUSE", 1e9)
    seen = []
    follow(policy, LiveTree(tmp_path, policy.decode, seen.append))
    assert [each["step"] for each in seen] == [0, 5, 5]
    assert len(seen[1]["generations"]) == 3, "what was not told at once comes with the next news"


def test_a_picture_that_a_browser_holds_open_is_missed_and_not_the_end(policy, tmp_path, monkeypatch):
    """Windows refuses to replace it: here for the first two looks at pictures."""
    seen, asked, replace = [], [], os.replace

    def refuse(partial, path):
        if path.name == "live.jpg":
            asked.append(path)
            if len(asked) <= 2:
                raise PermissionError(13, "being used by another process")
        replace(partial, path)

    monkeypatch.setattr(live_tree, "PAUSE", -1.0)
    monkeypatch.setattr(atomic, "PAUSES", ())
    monkeypatch.setattr(os, "replace", refuse)
    follow(policy, LiveTree(tmp_path, policy.decode, seen.append))
    assert [len(each["generations"]) for each in seen] == [0, 0, 2, 2, 3, 3]
    assert seen[2]["sheet"]["tiles"] == len(PROMPTS) * (1 + 2)
