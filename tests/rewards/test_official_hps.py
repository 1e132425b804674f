"""How the official package is asked. That it then says the same as ours is asserted where it is: reference.py."""

import sys
from types import ModuleType

import pytest
import torch

from treegrpo.errors import UsageError
from treegrpo.rewards.official_hps import OfficialHps


@pytest.fixture
def asked(monkeypatch):
    """What a stand-in for the package is asked: prompts, pictures and versions; it answers with their brightness."""
    calls = []
    package = ModuleType("hpsv2")

    def score(pictures, prompt, hps_version):
        calls.append((prompt, len(pictures), hps_version))
        return [picture.getpixel((0, 0))[0] / 255 for picture in pictures]

    package.score = score
    monkeypatch.setitem(sys.modules, "hpsv2", package)
    return calls


def test_pictures_of_a_prompt_are_asked_about_together_and_scores_find_their_way_back(asked):
    levels = torch.tensor([0.2, 0.4, 0.6, 1.5])
    images = levels[:, None, None, None].expand(4, 2, 3, 3)
    scores = OfficialHps("hpsv2.1").score(images, ["a fox", "a bell", "a fox", "a bell"])
    assert scores.tolist() == pytest.approx([0.2, 0.4, 0.6, 1.0], abs=0.5 / 255)  # pictures have 8 bits
    assert asked == [("a fox", 2, "v2.1"), ("a bell", 2, "v2.1")]


def test_other_versions_are_refused(asked):
    with pytest.raises(UsageError, match=r"hpsv2, hpsv2\.1"):
        OfficialHps("hpsv3")
