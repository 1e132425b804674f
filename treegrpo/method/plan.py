"""Plans: how a rollout branches. Every method is a plan, and a plan knows its cost before any work starts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any

from ..errors import UsageError, check_known

LEAF_LIMIT = 4096
MOST_LEAVES = 2**16
"""The most that a limit on leaves may be."""
STEP_LIMIT = 1000
"""The most denoising steps; models were trained with so many."""


@dataclass(frozen=True)
class Cost:
    """What one prompt costs under a plan. An evaluation is one image through the network once."""

    leaves: int
    evaluations: int
    trained_nodes: int
    trained_edges: int
    peak_frontier: int
    independent_evaluations: int


@dataclass(frozen=True)
class TreePlan:
    """What happens at each of the T denoising steps of one prompt.

    branch: children of every node, per step (>= 1). stochastic: SDE step (True) or ODE step (False), per step.
    roots: trees per prompt. shared_noise: whether the roots of a prompt start from the same noise.
    leaf_limit: the most leaves per prompt that the plan may have.

    Raises UsageError for a plan that cannot teach anything or would grow past `leaf_limit`.
    """

    branch: tuple[int, ...]
    stochastic: tuple[bool, ...]
    roots: int = 1
    shared_noise: bool = False
    leaf_limit: int = LEAF_LIMIT

    def __post_init__(self) -> None:
        if len(self.branch) != len(self.stochastic) or not self.branch:
            raise UsageError(
                f"plan: branch has {len(self.branch)} steps and stochastic has {len(self.stochastic)}; "
                "give both one entry per denoising step."
            )
        if min(self.branch) < 1 or self.roots < 1:
            raise UsageError("plan: every step needs branch >= 1 and every prompt needs roots >= 1.")
        for step, (children, noisy) in enumerate(zip(self.branch, self.stochastic, strict=True)):
            if children > 1 and not noisy:
                raise UsageError(
                    f"plan: step {step} branches into {children} but is deterministic, so its children would be "
                    "identical; make the step stochastic or set its branch to 1."
                )
        if not any(self.stochastic):
            raise UsageError("plan: no step is stochastic, so there is nothing to train; add a stochastic step.")
        if self.leaves < 2:
            raise UsageError(
                "plan: one leaf per prompt has no other leaf to compare with; raise branch, depth or roots."
            )
        if self.leaves > self.leaf_limit:
            raise UsageError(
                f"plan: {self.leaves} leaves per prompt exceed the limit of {self.leaf_limit}; "
                "lower branch, depth or roots, or raise leaf_limit."
            )

    @property
    def steps(self) -> int:
        """Number of denoising steps T."""
        return len(self.branch)

    @property
    def leaves(self) -> int:
        """Leaves per prompt."""
        return self.nodes(self.steps)

    @property
    def stochastic_steps(self) -> tuple[int, ...]:
        """The steps that have a log-probability, in order."""
        return tuple(step for step, noisy in enumerate(self.stochastic) if noisy)

    def nodes(self, level: int) -> int:
        """Nodes per prompt before step `level`; level T counts the leaves."""
        return self.roots * prod(self.branch[:level])

    def cost(self) -> Cost:
        """Cost of one prompt, by counting nodes level by level."""
        *nodes, leaves = accumulate(self.branch, mul, initial=self.roots)
        return Cost(
            leaves=leaves,
            evaluations=sum(nodes),
            trained_nodes=sum(nodes[step] for step in self.stochastic_steps),
            trained_edges=sum(nodes[step] * self.branch[step] for step in self.stochastic_steps),
            peak_frontier=max(nodes),
            independent_evaluations=leaves * self.steps,
        )


def at_steps(steps: int, where: tuple[int, ...], branch: int, **rest: Any) -> TreePlan:
    """A plan that is stochastic, with `branch` children, exactly at the steps in `where`.

    Raises UsageError when a step lies outside 0..steps-1.
    """
    for step in where:
        if not 0 <= step < steps:
            raise UsageError(
                f"plan: stochastic step {step} lies outside the {steps} denoising steps (0 to {steps - 1}); "
                "choose an earlier window or more steps."
            )
    children, noisy = [1] * steps, [False] * steps
    for step in where:
        children[step], noisy[step] = branch, True
    return TreePlan(branch=tuple(children), stochastic=tuple(noisy), **rest)


METHODS = ("treegrpo", "branchgrpo", "mixgrpo", "flow_grpo", "dance_grpo", "ddpo")
BRANCHGRPO_SPACING = 3


def preset(method: str, *, steps: int, branch: int, window: tuple[int, ...], roots: int, **rest: Any) -> TreePlan:
    """The plan of a published method. `window` is where it acts, and each method ignores what it has no use for.

    treegrpo: every node makes `branch` children at the steps of the window; ODE steps elsewhere (arXiv 2512.08153).
    branchgrpo: every step is stochastic, and nodes split in `branch` at the steps of the window.
    mixgrpo: `roots` independent rollouts, stochastic at the steps of the window, ODE elsewhere.
    flow_grpo, dance_grpo, ddpo: `roots` independent rollouts, every step stochastic (they differ in the kernel).
    Raises UsageError for an unknown method, and as TreePlan does.
    """
    check_known("plan.method", method, METHODS)
    everywhere = tuple(range(steps))
    if method == "treegrpo":
        return at_steps(steps, window, branch, roots=roots, **rest)
    if method == "branchgrpo":
        split = at_steps(steps, window, branch, roots=roots, **rest)
        return TreePlan(split.branch, (True,) * steps, roots, **rest)
    if method == "mixgrpo":
        return at_steps(steps, window, 1, roots=roots, **rest)
    return at_steps(steps, everywhere, 1, roots=roots, **rest)


def spaced(depth: int) -> tuple[int, ...]:
    """BranchGRPO's split steps: every third step from the first."""
    return tuple(range(0, BRANCHGRPO_SPACING * depth, BRANCHGRPO_SPACING))
