from math import inf, nan

import pytest
import torch

from treegrpo.errors import RunError, UsageError
from treegrpo.rewards.registry import create
from treegrpo.rewards.reward import score, silent


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
    with pytest.raises(RunError, match=r'"fixed" returned 1 values of 2 that are infinite'):
        score(Fixed([1.0, float("inf")]), IMAGES, ["a", "b"])
    for answer in (None, "good", ["good", "bad"]):
        with pytest.raises(RunError, match=r'"fixed" returned a (NoneType|str|list) that is not made of numbers'):
            score(Fixed(answer), IMAGES, ["a", "b"])


def test_no_opinion_on_a_picture_stays_none():
    assert score(Fixed([1.0, nan]), IMAGES, ["a", "b"]).isnan().tolist() == [False, True]


@pytest.mark.parametrize("value", [nan, inf])
@pytest.mark.parametrize(
    "name", ["jpeg_compressibility", "jpeg_incompressibility", "brightness", "contrast", "saturation", "symmetry"]
)
def test_what_is_no_picture_is_not_judged(name, value):
    """As bytes it would be black, which jpeg_compressibility likes best of all."""
    images = torch.rand(3, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    reward, prompts = create(name), ["a", "b", "c"]
    expected = score(reward, images, prompts)
    broken = images.clone()
    broken[1, 0, 0, 0] = value
    found = score(reward, broken, prompts)
    assert found.isnan().tolist() == [False, True, False]
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
    assert score(reward, broken[1:2], ["b"]).isnan().all()


def test_only_who_may_say_nothing_may_say_nothing_at_all():
    voter = Fixed([])
    voter.may_leave_out = True
    nothing, something = torch.full((2, 2), nan), torch.tensor([[nan, 1.0], [nan, nan]])
    assert silent([(Fixed([]), 1.0)], {"fixed": nothing}) == ["fixed"]
    assert silent([(Fixed([]), 1.0)], {"fixed": something}) == []
    assert silent([(voter, 1.0)], {"fixed": nothing}) == []


def test_unknown_names_and_options_list_the_known_ones():
    with pytest.raises(UsageError, match=r"aesthetic.*, clipscore, .*hpsv2, hpsv2\.1, http, human_votes, "):
        create("hps")
    with pytest.raises(UsageError, match="template"):
        create("clipscore", tempalte="x")
    with pytest.raises(UsageError, match="no options"):
        create("jpeg_compressibility", quality=3)
