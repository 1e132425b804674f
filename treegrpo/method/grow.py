"""Growing: plan + policy + prompts -> Tree. The whole frontier of a level goes through the network in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import RunError, UsageError
from .plan import TreePlan
from .policy import Policy
from .process import Kernel, Step, log_density, ode
from .tree import Tree


@dataclass(frozen=True)
class BatchSizes:
    """How many nodes share one network call, how many images one decode, and how many nodes keep their graphs at most.

    Nodes of trained steps are evaluated `training` at a time, in the rollout too: the update repeats these very
    batches, so its first importance ratios are exactly 1 (matrix products depend on the batch shape).
    """

    rollout: int
    training: int
    decode: int
    graphs: int = 0

    def trained(self, plan: TreePlan, prompts: int) -> list[int]:
        """How many nodes are in each batch of the trained steps, in the order of growing and of the update."""
        levels = [plan.nodes(t) * prompts for t in plan.stochastic_steps]
        return [min(self.training, nodes - done) for nodes in levels for done in range(0, nodes, self.training)]

    def reused(self, plan: TreePlan, prompts: int) -> list[int]:
        """Those of trained() that keep their graphs."""
        graphs = Graphs(self.graphs)
        return [nodes for nodes in self.trained(plan, prompts) if graphs.take(nodes)]


def smallest(several: Sequence[BatchSizes]) -> BatchSizes:
    """Sizes that suit all."""
    return BatchSizes(*(min(column) for column in zip(*map(astuple, several), strict=True)))


def transitions(policy: Policy, plan: TreePlan, kernel: Kernel, sigmas: Tensor) -> tuple[Step, ...]:
    """The Step of every t: `kernel` where the plan is stochastic, ODE elsewhere and on the way to sigma 0.

    There cps and ddim have no noise left; that of the others would stay in the picture. Raises UsageError when the plan
    branches there, or when no noise is left at all.
    """
    levels = sigmas.tolist()
    made = tuple(
        (kernel.step if noisy and s_next > 0 else ode)(policy.path, s, s_next)
        for noisy, s, s_next in zip(plan.stochastic, levels[:-1], levels[1:], strict=True)
    )
    for t, step in enumerate(made):
        if plan.branch[t] > 1 and step.std == 0:
            raise UsageError(
                f"plan: step {t} branches, but no noise is added on the way from sigma {levels[t]:.4f} to "
                f"{levels[t + 1]:.4f}; end the window before it."
            )
    if all(step.std == 0 for step in made):
        raise UsageError("plan: no noise is added at any stochastic step; choose earlier ones.")
    return made


def batched(call: Callable[..., Tensor], size: int, *columns: Tensor | Sequence) -> Tensor:
    """call(*slices) over equally long columns, `size` rows at a time, concatenated."""
    rows = len(columns[0])
    return torch.cat([call(*(column[i : i + size] for column in columns)) for i in range(0, rows, size)])


@dataclass
class Graphs:
    """Predictions of the first batches of trained steps, with their autograd graphs, in the order of growing.

    most: how many nodes they may have together. Batches after the first that is too many are not kept either, so the
    update has used all graphs up before it makes others.
    """

    most: int
    seen: int = 0
    kept: deque[Tensor] = field(default_factory=deque)

    def take(self, nodes: int) -> bool:
        """Whether the next batch, of so many nodes, keeps its graph."""
        self.seen += nodes
        return self.seen <= self.most


@torch.no_grad()
def grow(
    policy: Policy,
    prompts: Sequence[str],
    plan: TreePlan,
    kernel: Kernel,
    generator: torch.Generator,
    batch: BatchSizes,
    on_step: Callable[[int, Tensor], None] | None = None,
    graphs: Graphs | None = None,
    share: slice = slice(None),
) -> Tree:
    """Grow the trees of all prompts, or of a `share` of them, level by level.

    generator: a CPU generator; the same seed gives the same noise on every device and for every batch size. A share
    drops the noise of the other prompts, so its trees are those that all would have.
    on_step(t, x0), if given, hears of every step with the predictions of its nodes.
    graphs, if given, is filled, so that the first update need not run its nodes again.
    Raises UsageError for a plan that the kernel cannot run, RunError when the network returns values that are not
    finite.
    """
    sigmas = policy.sigmas(plan.steps)
    steps = transitions(policy, plan, kernel, sigmas)
    everyone, prompts = len(prompts), prompts[share]
    policy.prepare(prompts)

    def own(rows: Tensor) -> Tensor:
        return rows.unflatten(0, (everyone, -1))[share].flatten(0, 1)

    x = own(_roots(policy, everyone, plan, float(sigmas[0]), generator))
    states: dict[int, Tensor] = {}
    denoised: dict[int, Tensor] = {}
    log_probs: dict[int, Tensor] = {}

    for t, (step, (sigma, until)) in enumerate(zip(steps, pairwise(sigmas.tolist()), strict=True)):
        names = [prompt for prompt in prompts for _ in range(plan.nodes(t))]
        size = batch.training if step.std else batch.rollout
        predict = partial(_predict, policy, sigma, until, graphs if step.std else None)
        x0 = batched(predict, size, x, names)
        if not torch.isfinite(x0).all():
            raise RunError(
                f"the prediction at step {t} (sigma {sigma:.4f}) is not finite in {policy.dtype}; "
                "run the model in float32 or bfloat16, or lower the guidance."
            )
        if on_step:
            on_step(t, x0)
        mean = step.mean(x, x0)
        if step.std:
            states[t], denoised[t] = x, x0
            mean = mean.repeat_interleave(plan.branch[t], 0)
            rows = everyone * plan.nodes(t + 1)
            noise = torch.randn((rows, *mean.shape[1:]), generator=generator, dtype=mean.dtype)
            x = mean + step.std * own(noise).to(mean.device)
            states[t + 1] = x
            log_probs[t] = log_density(x, mean, step.std)
        else:
            x = mean
    states[plan.steps] = x
    return Tree(plan, sigmas, steps, tuple(prompts), states, denoised, log_probs)


def _predict(
    policy: Policy, sigma: float, until: float, graphs: Graphs | None, x: Tensor, prompts: Sequence[str]
) -> Tensor:
    """x0 of a batch without its graph; the one with its graph goes to `graphs`, if they take it."""
    if graphs is None or not graphs.take(len(x)):
        return policy.denoise(x, sigma, prompts, until)
    with torch.enable_grad():
        graphs.kept.append(policy.denoise(x, sigma, prompts, until))
    return graphs.kept[-1].detach()


def _roots(policy: Policy, prompts: int, plan: TreePlan, sigma: float, generator: torch.Generator) -> Tensor:
    """The states before step 0, [prompts * roots, C, H, W]; the roots of a prompt share them when the plan says so."""
    if plan.shared_noise:
        return policy.initial_noise(prompts, sigma, generator).repeat_interleave(plan.roots, 0)
    return policy.initial_noise(prompts * plan.roots, sigma, generator)
