import pytest
import torch

from treegrpo.errors import RunError, UsageError
from treegrpo.rewards.registry import create
from treegrpo.rewards.reward import score


class Fixed:
    """A reward that answers whatever it was told to."""

    name = "fixed"

    def __init__(self, answer):
        self.answer = answer

    def score(self, images, prompts):
        return self.answer


IMAGES = torch.zeros(2, 8, 8, 3)


def test_scores_come_back_as_float32():
    assert score(Fixed([1, 2]), IMAGES, ["a", "b"]).dtype == torch.float32


def test_wrong_answers_are_named():
    with pytest.raises(RunError, match=r'"fixed" returned shape \[3\] for 2 images'):
        score(Fixed([1.0, 2.0, 3.0]), IMAGES, ["a", "b"])
    with pytest.raises(RunError, match=r'"fixed" returned 1 values of 2 that are not finite'):
        score(Fixed([1.0, float("nan")]), IMAGES, ["a", "b"])


def test_unknown_names_and_options_list_the_known_ones():
    with pytest.raises(UsageError, match=r"aesthetic.*, clipscore, .*hpsv2, hpsv2\.1, http, human_votes, "):
        create("hps")
    with pytest.raises(UsageError, match="template"):
        create("clipscore", tempalte="x")
    with pytest.raises(UsageError, match="no options"):
        create("jpeg_compressibility", quality=3)
