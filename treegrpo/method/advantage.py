"""Advantages: from the rewards of the leaves to the credit of every branching decision."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from ..errors import check_known
from .opinions import alike, means, spreads, unjudged
from .tree import Tree

CENTRINGS = ("none", "siblings")


def group_advantages(rewards: Tensor) -> Tensor:
    """(S - mean) / (std + 1e-8) over the leaves of each prompt, population std (paper, section 3). [P, L] -> [P, L].

    Leaves that all got the same reward get exactly 0: their rounded mean may miss them by more than 1e-8. So do those
    that were not judged (NaN, see rewards.reward), without which mean and spread of the others are taken.
    """
    advantages = (rewards - means(rewards)[:, None]) / (spreads(rewards)[:, None] + 1e-8)
    return advantages.masked_fill(alike(rewards)[:, None] | rewards.isnan(), 0.0)


def normalised_sum(scores: Tensor, weights: Tensor) -> Tensor:
    """sum_i w_i A_i: each reward is normalised within its group before it is weighted (paper, section 4).

    scores: [R, P, L] of R rewards. weights: [R]. -> [P, L].
    """
    return (weights[:, None, None] * torch.stack([group_advantages(values) for values in scores])).sum(0)


def raw_sum(scores: Tensor, weights: Tensor) -> Tensor:
    """A of sum_i w_i r_i: the rewards as they are, weighted and summed, and the sum normalised once. As above.

    What varies most has most say; in `normalised_sum` that is decided by the weights alone.
    """
    return group_advantages((weights[:, None, None] * scores).sum(0))


MIXINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"normalise": normalised_sum, "sum": raw_sum}
"""How scores [R, P, L] and weights [R] of R rewards become one advantage of every leaf, [P, L]."""


def mix(rewards: dict[str, Tensor], weights: dict[str, float], mixing: str = "normalise") -> Tensor:
    """One advantage of every leaf from all rewards, rewards[name]: [P, L]. -> [P, L].

    A leaf that any reward did not judge gets 0, and counts in none of them. Raises UsageError for an unknown mixing.
    """
    check_known("advantage.mixing", mixing, MIXINGS)
    scores = torch.stack([values.float() for values in rewards.values()]).masked_fill(unjudged(rewards), torch.nan)
    return MIXINGS[mixing](scores, torch.tensor([float(weights[name]) for name in rewards]))


def logprob_weights(log_probs: Tensor) -> Tensor:
    """The paper's backup: children weighted by softmax(log pi_old). [N, k] -> [N, k]."""
    return log_probs.softmax(1)


def mean_weights(log_probs: Tensor) -> Tensor:
    """The released code's backup: the mean over children. [N, k] -> [N, k]."""
    return torch.full_like(log_probs, 1 / log_probs.shape[1])


BACKUPS: dict[str, Callable[[Tensor], Tensor]] = {"logprob": logprob_weights, "mean": mean_weights}
"""What the children of a node weigh in its value, by their log-probabilities [N, k]; rows sum to 1."""


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
        values = (BACKUPS[backup](tree.log_probs[t].to(values.device).view(-1, k)) * siblings).sum(1)
    return dict(sorted(edges.items()))


def edge_shares(tree: Tree, backup: str = "logprob") -> dict[int, Tensor]:
    """What part of its root's value flows through every edge of each trained step, [P * nodes(t + 1)].

    The product of the backup's weights on the way from the root: the edges of a step that lie below one root add up
    to 1, and those below one node to the share of the edge into it.
    """
    share = torch.ones(len(tree.prompts) * tree.plan.roots)
    shares = {}
    for t in tree.trained_steps:
        weights = BACKUPS[backup](tree.log_probs[t].float().cpu().view(-1, tree.plan.branch[t]))
        share = shares[t] = (share[:, None] * weights).flatten()
    return shares


def with_advantages(
    tree: Tree,
    weights: dict[str, float],
    backup: str = "logprob",
    centring: str = "none",
    clamp: float = 5.0,
    mixing: str = "normalise",
) -> Tree:
    """A scored tree with its advantages: mix the rewards, clamp to [-clamp, clamp], back up."""
    leaf = mix(tree.rewards, weights, mixing).clamp(-clamp, clamp)
    return tree.with_advantages(leaf, back_up(tree, leaf, backup, centring), edge_shares(tree, backup))


def zero_spread(rewards: dict[str, Tensor]) -> int:
    """How many prompts teach nothing: all leaves that were judged got the same rewards. rewards[name]: [P, L]."""
    unknown = unjudged(rewards)
    same = [alike(values.masked_fill(unknown, torch.nan)) for values in rewards.values()]
    return int(torch.stack(same).all(0).sum())


def correlation(rewards: dict[str, Tensor]) -> dict[str, float | None]:
    """Pearson's correlation of every pair of rewards within the prompts, -1..1, under "a ~ b". rewards[name]: [P, L].

    sum x y / sqrt(sum x^2 sum y^2), where x and y are the two rewards of a leaf minus their means over the leaves of
    its prompt that both have judged. That one prompt is easier than another does not count. None where a reward does
    not differ within any prompt.
    """
    return {f"{a} ~ {b}": _correlation(rewards[a], rewards[b]) for a, b in combinations(rewards, 2)}


def _correlation(a: Tensor, b: Tensor) -> float | None:
    unknown = a.isnan() | b.isnan()
    x, y = (_deviations(values.double().masked_fill(unknown, torch.nan)) for values in (a, b))
    size = (x.square().sum() * y.square().sum()).sqrt()
    return float((x * y).sum() / size) if size > 0 else None


def _deviations(rewards: Tensor) -> Tensor:
    """What each leaf is above the mean of its prompt; exactly 0 where all got the same, and where it was not judged.

    [P, L] -> [P, L].
    """
    return (rewards - means(rewards)[:, None]).masked_fill(alike(rewards)[:, None] | rewards.isnan(), 0.0)
