import threading

import pytest
import torch

from treegrpo.bench.toy import ToyPolicy
from treegrpo.errors import RunError
from treegrpo.method.grow import BatchSizes
from treegrpo.training.overlap import decode_and_score

SIZES = BatchSizes(rollout=4, training=4, decode=3)  # 3 does not divide 7: the last batch is ragged
LATENTS = torch.linspace(-2, 2, 7).view(7, 1, 1, 1)
PROMPTS = [f"prompt {i}" for i in range(7)]


class Whiteness:
    """The mean of a picture, and how many it was shown at a time."""

    name = "whiteness"

    def __init__(self, **attributes):
        self.shown, self.heard, self.threads = [], [], []
        self.__dict__.update(attributes)

    def score(self, images, prompts):
        self.shown.append(len(images))
        self.heard += prompts
        self.threads.append(threading.current_thread())
        return images.mean((1, 2, 3))


def test_pictures_and_scores_are_those_of_one_after_the_other():
    policy, reward = ToyPolicy(), Whiteness()
    images, scores = decode_and_score(policy, LATENTS, PROMPTS, [reward], SIZES)
    assert torch.equal(images, policy.decode(LATENTS))
    assert torch.equal(scores["whiteness"], images.mean((1, 2, 3)))
    assert (reward.shown, reward.heard) == ([3, 3, 1], PROMPTS)
    assert threading.main_thread() not in reward.threads


def test_who_judges_a_prompt_as_a_whole_sees_all_pictures_at_once():
    voter, reward = Whiteness(name="votes", together=True), Whiteness()
    images, scores = decode_and_score(ToyPolicy(), LATENTS, PROMPTS, [voter, reward], SIZES)
    assert voter.shown == [7]
    assert torch.equal(scores["votes"], scores["whiteness"])
    _, alone = decode_and_score(ToyPolicy(), LATENTS, PROMPTS, [voter], SIZES)
    assert set(alone) == {"votes"}
    assert torch.equal(images.mean((1, 2, 3)), alone["votes"])


def test_what_fails_in_the_second_thread_fails_here():
    class Infinite(Whiteness):
        def score(self, images, prompts):
            return super().score(images, prompts) * torch.inf

    with pytest.raises(RunError, match="infinite"):
        decode_and_score(ToyPolicy(), LATENTS, PROMPTS, [Infinite()], SIZES)
