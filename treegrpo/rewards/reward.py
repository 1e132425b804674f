"""The Reward protocol, and scoring that holds rewards to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..errors import RunError


class Reward(Protocol):
    """A judge of pictures. Larger is better; the class documents its natural range.

    One that has `may_leave_out = True` may answer NaN for all pictures of a prompt: the prompt is then not trained on.
    One that cannot judge every prompt has `check(prompts)`, which raises UsageError before anything is drawn for them.
    """

    name: str

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """float32 [N] for images float32 [N, H, W, 3] in 0..1 and their N prompts."""
        ...


Rewards = Sequence[tuple[Reward, float]]
"""Rewards with their weights in the mix."""


def check_prompts(reward: Reward, prompts: Sequence[str]) -> None:
    """Raises UsageError when the reward cannot judge one of the prompts, whatever is drawn for it."""
    if check := getattr(reward, "check", None):
        check(prompts)


def score(reward: Reward, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """The reward's scores, float32 [N] on the CPU. Raises RunError when they are not N finite numbers.

    Raises UsageError as check_prompts.
    """
    check_prompts(reward, prompts)
    scores = torch.as_tensor(reward.score(images, prompts)).detach().float().cpu()
    if scores.shape != (len(prompts),):
        raise RunError(
            f'reward "{reward.name}" returned shape {list(scores.shape)} for {len(prompts)} images; '
            f"it must return one number per image, shape [{len(prompts)}]."
        )
    fine = torch.isfinite(scores)
    if getattr(reward, "may_leave_out", False):
        fine |= scores.isnan()
    bad = int((~fine).sum())
    if bad:
        raise RunError(
            f'reward "{reward.name}" returned {bad} values of {len(prompts)} that are not finite; '
            "look at the pictures of the last tree, and leave this reward out if it cannot score them."
        )
    return scores
