"""Scoring pictures while the next ones are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ..method.grow import BatchSizes
from ..method.policy import Policy
from ..rewards.reward import Reward, score


def decode_and_score(
    policy: Policy, latents: Tensor, prompts: Sequence[str], rewards: Sequence[Reward], sizes: BatchSizes
) -> tuple[Tensor, dict[str, Tensor]]:
    """(images float32 [N, H, W, 3], scores float32 [N] of every reward) of latents [N, C, H, W] and their prompts.

    A second thread scores each batch that is decoded. Rewards that judge a prompt as a whole, as people who vote do,
    get all pictures at the end.
    """
    whole = [reward for reward in rewards if getattr(reward, "together", False)]
    single = [reward for reward in rewards if reward not in whole]

    def judge(pictures: Tensor, texts: Sequence[str]) -> list[Tensor]:
        return [score(reward, pictures, texts) for reward in single]

    images, waiting = [], []
    with ThreadPoolExecutor(max_workers=1) as pool:
        for start in range(0, len(latents), sizes.decode):
            rows = slice(start, start + sizes.decode)
            images.append(policy.decode(latents[rows]))
            waiting.append(pool.submit(judge, images[-1], prompts[rows]))
        parts = [each.result() for each in waiting]
    all_images = torch.cat(images)
    scores = {reward.name: torch.cat(column) for reward, column in zip(single, zip(*parts, strict=True), strict=True)}
    scores |= {reward.name: score(reward, all_images, prompts) for reward in whole}
    return all_images, scores
