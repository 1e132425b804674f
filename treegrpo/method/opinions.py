"""Statistics of scores where a judge may have no opinion on single pictures, which is NaN."""

from __future__ import annotations

import torch
from torch import Tensor


def means(scores: Tensor) -> Tensor:
    """The mean over the judged leaves of each prompt, NaN where there are none. [P, L] -> [P]."""
    of_all = scores.mean(1)
    return torch.where(of_all.isnan(), scores.nanmean(1), of_all)  # where all are judged, to the very last digit


def spreads(scores: Tensor) -> Tensor:
    """The population standard deviation over the judged leaves of each prompt, NaN where there are none, as above."""
    of_all = scores.std(1, correction=0)
    return torch.where(of_all.isnan(), (scores - means(scores)[:, None]).square().nanmean(1).sqrt(), of_all)


def alike(scores: Tensor) -> Tensor:
    """Which prompts have judged leaves that all got the same score, or none. [P, L] -> bool [P]."""
    unknown = scores.isnan()
    return scores.masked_fill(unknown, -torch.inf).amax(1) <= scores.masked_fill(unknown, torch.inf).amin(1)


def unjudged(rewards: dict[str, Tensor]) -> Tensor:
    """The leaves on which any of the rewards had no opinion. rewards[name]: [P, L] -> bool [P, L]."""
    return torch.stack(list(rewards.values())).isnan().any(0)
