"""The Reward protocol, and scoring that holds rewards to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..errors import RunError

log = logging.getLogger("treegrpo")


class Reward(Protocol):
    """A judge of pictures. Larger is better; the class documents its natural range.

    NaN is no opinion on a picture, which is then not trained on. One that has `may_leave_out = True` may have an
    opinion on none of an iteration's pictures; any other is broken then, and ends the run. One that has
    `together = True` judges the pictures of a prompt together. One that cannot judge every prompt has `check(prompts)`,
    which raises UsageError before anything is drawn for them, or returns what else is to be said of them, a sentence
    each.
    """

    name: str

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """float32 [N] for images float32 [N, H, W, 3] in 0..1 and their N prompts."""
        ...


Rewards = Sequence[tuple[Reward, float]]
"""Rewards with their weights in the mix."""


def check_prompts(reward: Reward, prompts: Sequence[str]) -> None:
    """Raises UsageError when the reward cannot judge the prompts, whatever is drawn for them; logs what it says."""
    if check := getattr(reward, "check", None):
        for sentence in check(prompts) or ():
            log.warning("rewards: %s", sentence)


def score(reward: Reward, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """The reward's scores, float32 [N] on the CPU; NaN is no opinion, and there is none on what is no picture.

    Raises RunError when they are not N numbers.
    """
    shown = are_pictures(images)
    if not bool(shown.all()):
        scores = torch.full((len(prompts),), torch.nan)
        if bool(shown.any()):
            rows = shown.nonzero()[:, 0].tolist()
            scores[rows] = score(reward, images[rows], [prompts[row] for row in rows])
        return scores
    answer = reward.score(images, prompts)
    try:
        scores = torch.as_tensor(answer).detach().float().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise RunError(
            f'reward "{reward.name}" returned a {type(answer).__name__} that is not made of numbers; it must return '
            "one number per image."
        ) from None
    if scores.shape != (len(prompts),):
        raise RunError(
            f'reward "{reward.name}" returned shape {list(scores.shape)} for {len(prompts)} images; '
            f"it must return one number per image, shape [{len(prompts)}]."
        )
    if bad := int(scores.isinf().sum()):
        raise RunError(
            f'reward "{reward.name}" returned {bad} values of {len(prompts)} that are infinite; '
            "look at the pictures of the last tree, and leave this reward out if it cannot score them."
        )
    return scores


def are_pictures(images: Tensor) -> Tensor:
    """Which of images [N, H, W, 3] are made of numbers. -> bool [N]."""
    return images.isfinite().flatten(1).all(1)


def silent(rewards: Rewards, scores: Mapping[str, Tensor]) -> list[str]:
    """The rewards that had no opinion on any of the pictures, though they have to."""
    return [
        reward.name
        for reward, _ in rewards
        if not getattr(reward, "may_leave_out", False) and bool(scores[reward.name].isnan().all())
    ]
