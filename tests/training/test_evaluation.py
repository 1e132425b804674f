import math

import pytest
import torch

from tests.small_runs import SIZES
from treegrpo.rewards.jpeg import JpegCompressibility
from treegrpo.training.evaluation import bootstrap, diversity, evaluate


def test_diversity_of_noise_and_of_copies():
    noise = torch.randn(4, 3, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    # The distance of two unit normal vectors is sqrt(2) per element; 16,384 elements leave about 0.5 %.
    assert diversity(noise) == pytest.approx(math.sqrt(2), rel=0.01)
    assert diversity(noise[:, :1].expand(4, 3, 16, 32, 32)) == pytest.approx(0, abs=1e-3)


def test_bootstrap_resamples_prompts():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(100, 5, generator=generator) * 0.01 + torch.randn(100, 1, generator=generator)
    interval = bootstrap(scores)
    # Pictures of a prompt agree, so the interval follows from 100 prompts (1.96 / 10), not from 500 pictures.
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * float(scores.mean(1).std()) / 10, rel=0.1)
    assert interval.low < interval.mean < interval.high
    assert bootstrap(scores) == interval


def test_same_seed_same_pictures(policy):
    rewards = [(JpegCompressibility(), 2.0)]
    settings = {"images_per_prompt": 2, "steps": 4, "batch": SIZES}
    first = evaluate(policy, ["bear", "frog"], rewards, seed=1, **settings)
    again = evaluate(policy, ["bear", "frog"], rewards, seed=1, **settings)
    other = evaluate(policy, ["bear", "frog"], rewards, seed=2, **settings)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (2, 2, 64, 64, 3)
    assert first.diversity > 0.1
    alone = JpegCompressibility().score(first.images.flatten(0, 1), [""] * 4)
    assert torch.equal(first.scores.flatten(), 2.0 * alone)
