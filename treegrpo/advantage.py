"""Advantages: from the rewards of the leaves to the credit of every branching decision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .errors import check_known
from .tree import Tree

CENTRINGS = ("none", "siblings")


def group_advantages(rewards: Tensor) -> Tensor:
    """(S - mean) / (std + 1e-8) over the leaves of each prompt, population std (paper, section 3). [P, L] -> [P, L].

    Leaves that all got the same reward get exactly 0: their rounded mean may miss them by more than 1e-8.
    """
    std = rewards.std(1, correction=0, keepdim=True)
    advantages = (rewards - rewards.mean(1, keepdim=True)) / (std + 1e-8)
    equal = rewards.amax(1, keepdim=True) == rewards.amin(1, keepdim=True)
    return advantages.masked_fill(equal, 0.0)


def mix(rewards: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """sum_i w_i A_i: each reward is normalised within its group before it is weighted (paper, section 4). [P, L]."""
    mixed = [weights[name] * group_advantages(scores.float()) for name, scores in rewards.items()]
    return torch.stack(mixed).sum(0)


def backup_logprob(values: Tensor, log_probs: Tensor) -> Tensor:
    """The paper's backup: children weighted by softmax(log pi_old). [N, k], [N, k] -> [N]."""
    return (log_probs.softmax(1) * values).sum(1)


def backup_mean(values: Tensor, log_probs: Tensor) -> Tensor:
    """The released code's backup: the mean over children. [N, k], [N, k] -> [N]."""
    return values.mean(1)


BACKUPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"logprob": backup_logprob, "mean": backup_mean}


def back_up(tree: Tree, leaf_values: Tensor, backup: str = "logprob", centring: str = "none") -> dict[int, Tensor]:
    """Carry leaf values [P, leaves] up the tree: the value of every edge of each trained step, [P * nodes(t + 1)].

    centring "siblings" subtracts the mean over the children of the same node from every edge, where there is more
    than one child; what flows further up is not centred. Raises UsageError for unknown names.
    """
    check_known("advantage.backup", backup, BACKUPS)
    check_known("advantage.centring", centring, CENTRINGS)
    values = leaf_values.float().flatten()
    edges: dict[int, Tensor] = {}
    for t in reversed(tree.trained_steps):
        k = tree.plan.branch[t]
        siblings = values.view(-1, k)
        centred = siblings - siblings.mean(1, keepdim=True) if centring == "siblings" and k > 1 else siblings
        edges[t] = centred.flatten()
        values = BACKUPS[backup](siblings, tree.log_probs[t].to(values.device).view(-1, k))
    return dict(sorted(edges.items()))


def with_advantages(
    tree: Tree, weights: dict[str, float], backup: str = "logprob", centring: str = "none", clamp: float = 5.0
) -> Tree:
    """A scored tree with its advantages: normalise each reward, mix, clamp to [-clamp, clamp], back up."""
    leaf = mix(tree.rewards, weights).clamp(-clamp, clamp)
    return tree.with_advantages(leaf, back_up(tree, leaf, backup, centring))


def zero_spread(rewards: dict[str, Tensor]) -> int:
    """How many prompts have leaves that all got the same rewards, and so teach nothing. rewards[name]: [P, L]."""
    flat = torch.stack([scores.amax(1) == scores.amin(1) for scores in rewards.values()])
    return int(flat.all(0).sum())
