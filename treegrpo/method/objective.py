"""The loss on the edges of the tree."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import check_known
from .tree import Tree

WEIGHTINGS = ("edges", "steps")


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip_range: float) -> Tensor:
    """-min(r A, clip(r, 1 - eps, 1 + eps) A), elementwise (paper, equation of the policy loss)."""
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.min(ratio * advantage, clipped * advantage)


def gaussian_kl(mean: Tensor, reference_mean: Tensor, std: float) -> Tensor:
    """KL between two Gaussians of the same std, MEAN over all but the first dimension like the log-density: [N]."""
    return ((mean - reference_mean) / std).square().flatten(1).mean(1) / 2


def edge_weights(tree: Tree, weighting: str) -> dict[int, float]:
    """The weight of one edge of each trained step; the weights of all edges sum to 1.

    "edges" (paper): every edge counts the same, so a step weighs branch times more than the one above it.
    "steps": every trained step counts the same. Raises UsageError for an unknown name.
    """
    check_known("update.weighting", weighting, WEIGHTINGS)
    counts = {t: len(log_probs) for t, log_probs in tree.log_probs.items()}
    if weighting == "edges":
        return dict.fromkeys(counts, 1 / sum(counts.values()))
    return {t: 1 / (len(counts) * count) for t, count in counts.items()}
