"""Updates of the policy from trees that carry advantages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite, log2

import torch
from torch import Tensor

from ..errors import UsageError
from .grow import Graphs
from .objective import clipped_surrogate, edge_weights, gaussian_kl
from .policy import Policy
from .process import Step, log_density
from .ranks import ALONE, Ranks
from .tree import Tree


@dataclass(frozen=True)
class UpdateSettings:
    """passes: optimiser steps per rollout, each over all edges. kl: weight of the KL to the base model (0: off)."""

    passes: int = 1
    clip_range: float = 1e-4
    weighting: str = "edges"
    kl: float = 0.0
    max_grad_norm: float = 1.0


@dataclass
class UpdateStatistics:
    """What the passes of one update did. Lists have one entry per pass.

    ratio_error: largest |ratio - 1| over the edges; 0 in the first pass when rollout and update agree.
    grad_norm: before clipping; None when not finite. skipped: one sentence for every step that was not applied.
    """

    loss: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    ratio_error: list[float] = field(default_factory=list)
    clip_fraction: list[float] = field(default_factory=list)
    grad_norm: list[float | None] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Pass:
    """What one pass over the edges of one rank came to; its parts add up to those of all edges. trouble: what was not
    finite."""

    loss: float
    kl: float
    ratio_error: float
    clip_fraction: float
    trouble: str | None


def update(
    policy: Policy,
    tree: Tree,
    optimizer: torch.optim.Optimizer,
    settings: UpdateSettings,
    batch: int,
    graphs: Graphs | None = None,
    ranks: Ranks = ALONE,
) -> UpdateStatistics:
    """Move the adapter along the edge advantages of `tree`: `settings.passes` optimiser steps.

    batch: nodes per forward and backward pass; the same as in growing, see grow.BatchSizes. The children of a node
    share its prediction, so one network evaluation trains all its edges. graphs: what grow has filled; the first pass
    uses them up before it runs the network again, with the same result. A pass whose loss or gradient is not finite, or
    which would leave weights that are not, is not applied. ranks: each brings the trees of its share; gradients and
    statistics are those of all edges together.
    Raises UsageError for a tree without advantages.
    """
    if not tree.edge_advantages:
        raise UsageError("update: the tree has no advantages yet; score it and back the rewards up first.")
    statistics = UpdateStatistics()
    parameters = policy.parameters()
    share = len(tree.prompts) / sum(ranks.gather(len(tree.prompts)))
    for _ in range(settings.passes):
        with ranks.together():
            optimizer.zero_grad(set_to_none=True)
            part = _accumulate(policy, tree, settings, batch, share, graphs)
        graphs = None
        trouble = _add_statistics(statistics, ranks.gather(part))
        if not trouble:
            ranks.add_up([weight.grad for weight in parameters if weight.grad is not None])
        with ranks.together():
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm))
            statistics.grad_norm.append(norm if isfinite(norm) else None)
            if not trouble and not isfinite(norm):
                trouble = f"the gradient is not finite in {policy.dtype}"
            trouble = trouble or _step(optimizer, parameters)
            if trouble:
                statistics.skipped.append(f"update skipped: {trouble}")
    optimizer.zero_grad(set_to_none=True)
    return statistics


def _step(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> str | None:
    """Move the weights, unless that would leave one that is not finite, which is said."""
    before = [weight.detach().clone() for weight in parameters]
    optimizer.step()
    if all(bool(weight.isfinite().all()) for weight in parameters):
        return None
    for weight, old in zip(parameters, before, strict=True):
        weight.data.copy_(old)
    return "a weight would not be finite after it; lower the learning rate"


def _add_statistics(statistics: UpdateStatistics, parts: Sequence[_Pass]) -> str | None:
    """Append what a pass of all ranks came to, and return the first trouble."""
    statistics.loss.append(sum(part.loss for part in parts))
    statistics.kl.append(sum(part.kl for part in parts))
    statistics.ratio_error.append(max(part.ratio_error for part in parts))
    statistics.clip_fraction.append(sum(part.clip_fraction for part in parts))
    return next((part.trouble for part in parts if part.trouble), None)


def _accumulate(
    policy: Policy, tree: Tree, settings: UpdateSettings, batch: int, share: float, graphs: Graphs | None
) -> _Pass:
    """Add up the gradient of this rank's edges, a `share` of all, and note the first part that is not finite."""
    weights = {t: share * weight for t, weight in edge_weights(tree, settings.weighting).items()}
    loss = kl = ratio_error = 0.0
    scale = _loss_scale(tree)
    clipped = 0
    trouble: str | None = None
    for t, nodes in _batches(tree, batch):
        step, k = tree.transitions[t], tree.plan.branch[t]
        sigma, until = tree.sigmas[t : t + 2].tolist()
        children = slice(nodes.start * k, nodes.stop * k)
        x, prompts = tree.states[t][nodes], tree.prompts_at(t)[nodes]
        reference = _reference_mean(policy, x, sigma, until, prompts, step) if settings.kl else None
        x0 = graphs.kept.popleft() if graphs and graphs.kept else policy.denoise(x, sigma, prompts, until)
        mean = step.mean(x, x0)
        log_prob = log_density(tree.states[t + 1][children], mean.repeat_interleave(k, 0), step.std)
        ratio = torch.exp(log_prob - tree.log_probs[t][children])
        advantage = tree.edge_advantages[t][children].to(ratio.device)
        part = weights[t] * clipped_surrogate(ratio, advantage, settings.clip_range).sum()
        divergence = part.new_zeros(())
        if reference is not None:
            divergence = weights[t] * k * gaussian_kl(mean, reference, step.std).sum()
            part = part + settings.kl * divergence
        if not torch.isfinite(part):
            trouble = trouble or f"the loss of step {t} (sigma {sigma:.4f}) is not finite in {policy.dtype}"
        (part * scale).backward()  # in trouble too: ranks that share the network's weights go through it equally often
        del x0, mean  # a kept graph goes as soon as it is used
        if trouble:
            continue
        deviation = (ratio.detach() - 1).abs()
        loss += float(part.detach())
        kl += float(divergence.detach())
        ratio_error = max(ratio_error, float(deviation.max()))
        clipped += int((deviation > settings.clip_range).sum())
    for parameter in policy.parameters():
        if parameter.grad is not None:
            parameter.grad /= scale
    return _Pass(loss, kl, ratio_error, share * clipped / _edges(tree), trouble)


def _loss_scale(tree: Tree) -> float:
    """A power of two that brings the gradient of a prediction's elements near 1, so that float16 holds it.

    The loss is a mean over edges and, within each, over the elements of a latent. Scaling by powers of two changes no
    digit in float32 and bfloat16.
    """
    return 2.0 ** round(log2(_edges(tree) * tree.leaves[0].numel()))


def _edges(tree: Tree) -> int:
    return sum(len(log_probs) for log_probs in tree.log_probs.values())


def _batches(tree: Tree, size: int) -> Iterator[tuple[int, slice]]:
    """(step, nodes) for every batch of every trained step, cut as in growing."""
    for t in tree.trained_steps:
        for start in range(0, len(tree.states[t]), size):
            yield t, slice(start, start + size)


@torch.no_grad()
def _reference_mean(policy: Policy, x: Tensor, sigma: float, until: float, prompts: list[str], step: Step) -> Tensor:
    """Mean of the base model's transition from each node; made before the policy's own, whose graph stays intact."""
    with policy.reference():
        return step.mean(x, policy.denoise(x, sigma, prompts, until))
