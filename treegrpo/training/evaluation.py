"""Judging a policy on prompts and seeds that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import RunError
from ..method.grow import BatchSizes
from ..method.opinions import means
from ..method.policy import Policy
from ..method.sample import decode, sample
from ..rewards.reward import Reward, score

BOOTSTRAPS = 10_000


@dataclass(frozen=True)
class Evaluation:
    """Pictures of P prompts, S seeds each.

    images: float32 [P, S, H, W, 3]. scores: the weighted sum of the rewards, float32 [P, S], NaN where one of them has
    no opinion. diversity: see below.
    watched: the scores of each reward that is only watched, float32 [P, S].
    """

    prompts: tuple[str, ...]
    images: Tensor
    scores: Tensor
    diversity: float
    watched: dict[str, Tensor] = field(default_factory=dict)


def evaluate(
    policy: Policy,
    prompts: Sequence[str],
    rewards: Sequence[tuple[Reward, float]],
    *,
    images_per_prompt: int,
    steps: int,
    seed: int,
    batch: BatchSizes,
    watched: Sequence[tuple[Reward, float]] = (),
) -> Evaluation:
    """Draw images_per_prompt pictures of every prompt along the ODE and score them, by `watched` one by one.

    The same seed draws the same noise, so that two adapters are compared picture by picture.
    """
    shape = (len(prompts), images_per_prompt)
    texts = _repeated(prompts, images_per_prompt)
    latents = heldout_latents(policy, prompts, images_per_prompt=images_per_prompt, steps=steps, seed=seed, batch=batch)
    images = decode(policy, latents, batch)
    scores = torch.stack([weight * score(reward, images, texts) for reward, weight in rewards]).sum(0)
    return Evaluation(
        prompts=tuple(prompts),
        images=images.view(*shape, *images.shape[1:]),
        scores=scores.view(shape),
        diversity=diversity(latents.view(*shape, *latents.shape[1:])),
        watched={reward.name: score(reward, images, texts).view(shape) for reward, _ in watched},
    )


def heldout_latents(
    policy: Policy, prompts: Sequence[str], *, images_per_prompt: int, steps: int, seed: int, batch: BatchSizes
) -> Tensor:
    """The pictures that `evaluate` judges, not decoded: [P * images_per_prompt, C, H, W]."""
    with policy.drawing():
        texts = _repeated(prompts, images_per_prompt)
        return sample(policy, texts, steps, torch.Generator().manual_seed(seed), batch)


def _repeated(prompts: Sequence[str], times: int) -> list[str]:
    return [prompt for prompt in prompts for _ in range(times)]


def diversity(latents: Tensor) -> float:
    """Mean RMS distance between latents of the same prompt, [P, S, ...], S >= 2; pure noise has sqrt(2)."""
    flat = latents.flatten(2).float()
    distances = torch.cdist(flat, flat) / flat.shape[2] ** 0.5
    seeds = flat.shape[1]
    return float(distances.sum((1, 2)).mean() / (seeds * (seeds - 1)))


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap(scores: Tensor, seed: int = 0) -> Interval:
    """Mean of scores [P, S] with its 95 % percentile bootstrap interval, over the pictures that were judged (not NaN).

    Prompts are resampled, not pictures: pictures of one prompt succeed or fail together. Raises RunError when no
    picture was judged.
    """
    per_prompt = means(scores.double())
    per_prompt = per_prompt[~per_prompt.isnan()]
    if not len(per_prompt):
        raise RunError("rewards: there is no picture on which all of them have an opinion, so nothing to tell.")
    draws = torch.randint(len(per_prompt), (BOOTSTRAPS, len(per_prompt)), generator=torch.Generator().manual_seed(seed))
    resampled = per_prompt[draws].mean(1)
    low, high = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(per_prompt.mean()), low, high)
