"""What the estimator's options do to the policy gradient, on a toy whose gradient is known exactly.

`python -m treegrpo.bench.estimator` prints markdown; docs/estimator.md discusses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..method.advantage import back_up, group_advantages
from ..method.grow import grow
from ..method.objective import edge_weights
from ..method.plan import TreePlan, preset
from ..method.process import Kernel
from ..method.tree import Tree
from .toy import (
    BATCH,
    EXPONENTIAL,
    LINEAR,
    QUADRATIC,
    ToyPolicy,
    ToyReward,
    analytic_gradient,
    leave_one_out,
    scores,
)

STEPS, BRANCH, DEPTH = 10, 3, 3
LEAVES = BRANCH**DEPTH
CLAMP = 5.0
PROMPTS = 8  # prompts of one iteration
FLOW_SDE, CPS = Kernel("flow_sde"), Kernel("cps")
Estimator = Callable[[Tree, Tensor], dict[int, Tensor]]
"""Tree and leaf rewards [P, leaves] -> advantages of the edges of every trained step, [P, E], weight included."""


def window(start: int) -> tuple[int, ...]:
    return tuple(range(start, start + DEPTH))


def tree_plan(start: int) -> TreePlan:
    return preset("treegrpo", steps=STEPS, branch=BRANCH, window=window(start), roots=1)


def trees(
    plan: TreePlan, kernel: Kernel, trees: int, dims: int = 1, chunk: int = 5000
) -> Iterator[tuple[ToyPolicy, Tree]]:
    """The same policy and `trees` independent trees of it, in chunks that fit in memory."""
    policy, generator = ToyPolicy(dims=dims), torch.Generator().manual_seed(0)
    for _ in range(0, trees, chunk):
        yield policy, grow(policy, ["p"] * chunk, plan, kernel, generator, BATCH)


def gradients(policy: ToyPolicy, tree: Tree, advantages: dict[int, Tensor]) -> Tensor:
    """Mean over the edges of a step of score * A, float64 [P, trained steps]."""
    prompts = len(tree.prompts)
    return torch.stack(
        [(scores(policy, tree, t).view(prompts, -1) * advantages[t].double()).mean(1) for t in tree.trained_steps], 1
    )


def per_prompt(tree: Tree, edges: dict[int, Tensor]) -> dict[int, Tensor]:
    return {t: values.view(len(tree.prompts), -1) for t, values in edges.items()}


# --- estimators ---------------------------------------------------------------------------------------------------


def unbiased(tree: Tree, rewards: Tensor, backup: str = "mean") -> dict[int, Tensor]:
    """Raw rewards; every edge against the other edges of its step."""
    return {t: leave_one_out(values) for t, values in per_prompt(tree, back_up(tree, rewards, backup)).items()}


def over_leaves(tree: Tree, rewards: Tensor, centring: str = "none") -> dict[int, Tensor]:
    """Raw rewards minus the mean over all leaves of the prompt, with or without sibling centring."""
    return per_prompt(tree, back_up(tree, rewards - rewards.mean(1, keepdim=True), "mean", centring))


def siblings(tree: Tree, rewards: Tensor) -> dict[int, Tensor]:
    """Every edge against its own siblings, times k / (k - 1), which makes it unbiased."""
    return {t: edges * BRANCH / (BRANCH - 1) for t, edges in over_leaves(tree, rewards, "siblings").items()}


def normalised(
    tree: Tree, rewards: Tensor, backup: str = "mean", centring: str = "none", clamp: float = float("inf")
) -> dict[int, Tensor]:
    """Group mean and spread, as in the paper."""
    return per_prompt(tree, back_up(tree, group_advantages(rewards).clamp(-clamp, clamp), backup, centring))


def weighted(tree: Tree, advantages: dict[int, Tensor], weighting: str) -> dict[int, Tensor]:
    """Advantages times the share of their step in the loss, scaled so that `steps` is 1 everywhere."""
    weights = edge_weights(tree, weighting)
    return {t: weights[t] * len(tree.log_probs[t]) * len(weights) * edges for t, edges in advantages.items()}


def paper(tree: Tree, rewards: Tensor) -> dict[int, Tensor]:
    """The library's default and the paper's choice: normalised, clamped, logprob backup, edges weighting."""
    return weighted(tree, normalised(tree, rewards, "logprob", "none", CLAMP), "edges")


# --- tables -------------------------------------------------------------------------------------------------------


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def header(*cells: str) -> None:
    print()
    row(*cells)
    row(*["---"] * len(cells))


def direction_and_scale(samples: Tensor, exact: Tensor) -> str:
    """Cosine of the expected estimate; mean cosine of one iteration's estimate; length along the exact gradient."""
    mean, length = samples.mean(0), float(exact.norm())
    iterations = samples.view(-1, PROMPTS, samples.shape[1]).mean(1)
    noisy = torch.nn.functional.cosine_similarity(iterations, exact[None]).mean()
    along = samples @ exact / length**2
    error = float(along.std()) / len(samples) ** 0.5
    cosine = float(mean @ exact) / float(mean.norm()) / length
    return f"{cosine:.3f}, {float(noisy):.3f}, {float(along.mean()):.3f} ± {error:.3f}"


OPTIONS: list[tuple[str, Estimator]] = [
    ("unbiased: raw rewards, mean backup, leave-one-out over edges, `steps`", unbiased),
    ("baseline over all leaves instead", over_leaves),
    ("(a) group mean and spread", normalised),
    ("(b) `logprob` backup", lambda tree, rewards: unbiased(tree, rewards, "logprob")),
    ("(c) sibling centring", lambda tree, rewards: over_leaves(tree, rewards, "siblings")),
    ("(d) `edges` weighting", lambda tree, rewards: weighted(tree, unbiased(tree, rewards), "edges")),
    ("(a) + (b) + (d): the paper, and the default", paper),
    (
        "(a) + (c), `mean` backup, `steps`",
        lambda tree, rewards: normalised(tree, rewards, "mean", "siblings", CLAMP),
    ),
]
REWARDS = (LINEAR, QUADRATIC, EXPONENTIAL)


def options(start: int, kernel: Kernel, count: int) -> None:
    """Direction and scale of every option, per reward."""
    found: dict[tuple[str, str], list[Tensor]] = {}
    spread: dict[str, list[Tensor]] = {}
    for policy, tree in trees(tree_plan(start), kernel, count):
        for reward in REWARDS:
            rewards = reward(tree.leaves).view(len(tree.prompts), -1)
            spread.setdefault(reward.name, []).append(rewards.std(1, correction=0))
            for name, estimator in OPTIONS:
                found.setdefault((name, reward.name), []).append(gradients(policy, tree, estimator(tree, rewards)))
    exact = {
        reward.name: analytic_gradient(policy, tree.transitions, reward)[list(window(start))] for reward in REWARDS
    }
    print(f"\n### {kernel.name}, window {start} to {start + DEPTH - 1}")
    print(f"\nCosine, mean cosine of {PROMPTS} prompts, scale ± standard error.")
    header("option", *(reward.name for reward in REWARDS))
    for name, _ in OPTIONS:
        cells = (direction_and_scale(torch.cat(found[name, reward.name]), exact[reward.name]) for reward in REWARDS)
        row(name, *cells)
    row("mean group spread", *(f"{float(torch.cat(spread[reward.name]).mean()):.3f}" for reward in REWARDS))
    row("1 / spread, averaged", *(f"{float((1 / torch.cat(spread[reward.name])).mean()):.3f}" for reward in REWARDS))


def share_of_baseline(start: int, count: int) -> None:
    """How much of each step's gradient is left by a baseline over leaves, and by sibling centring."""
    found: dict[str, list[Tensor]] = {"leaves": [], "siblings": [], "unbiased": []}
    for policy, tree in trees(tree_plan(start), FLOW_SDE, count):
        rewards = LINEAR(tree.leaves).view(len(tree.prompts), -1)
        found["leaves"].append(gradients(policy, tree, over_leaves(tree, rewards)))
        found["siblings"].append(gradients(policy, tree, over_leaves(tree, rewards, "siblings")))
        found["unbiased"].append(gradients(policy, tree, unbiased(tree, rewards)))
    exact = analytic_gradient(policy, tree.transitions, LINEAR)
    header("step", "edges E", "1 - 1/E", "mean over leaves", "sibling centring", "leave-one-out over edges")
    for column, t in enumerate(window(start)):
        edges = BRANCH ** (column + 1)
        cells = []
        for name in ("leaves", "siblings", "unbiased"):
            kept = torch.cat(found[name])[:, column] / exact[t]
            cells.append(f"{float(kept.mean()):.4f} ± {float(kept.std()) / len(kept) ** 0.5:.4f}")
        row(t, edges, f"{1 - 1 / edges:.4f}", *cells)


def softness(start: int) -> None:
    """The logprob backup for latents of more elements: log-probabilities are means, so the softmax flattens.

    The weight is the mean over the nodes of the last trained step. The change of A is that of the edges of the first
    trained step against the mean backup, in units of their own spread, median over prompts. Exponential reward.
    """
    header("elements", "largest weight of 3", "change of A / spread of A", "cosine, cosine of 8 prompts, scale")
    for dims, count, chunk in [(1, 20_000, 5000), (16, 20_000, 5000), (256, 2000, 500), (4096, 120, 40)]:
        weights, gaps, found = [], [], []
        for policy, tree in trees(tree_plan(start), FLOW_SDE, count, dims, chunk):
            rewards = EXPONENTIAL(tree.leaves).view(len(tree.prompts), -1)
            last = tree.log_probs[window(start)[-1]].view(-1, BRANCH)
            weights.append(last.softmax(1).amax(1))
            top = window(start)[0]
            soft, plain = (per_prompt(tree, back_up(tree, rewards, backup))[top] for backup in ("logprob", "mean"))
            gaps.append((soft - plain).abs().mean(1) / plain.std(1))
            found.append(gradients(policy, tree, unbiased(tree, rewards, "logprob")))
        exact = analytic_gradient(policy, tree.transitions, EXPONENTIAL)[list(window(start))]
        row(
            dims,
            f"{float(torch.cat(weights).mean()):.4f}",
            f"{float(torch.cat(gaps).median()):.4f}",
            direction_and_scale(torch.cat(found), exact),
        )


def noise(samples: Tensor, exact: Tensor) -> tuple[float, float]:
    """Variance of one prompt's estimate over the squared gradient: of the whole vector, and of the sum over steps."""
    vector = float(samples.var(0).sum() / exact.square().sum())
    total = float(samples.sum(1).var() / exact.sum().square())
    return vector, total


def efficiency(kernel: Kernel, reward: ToyReward, count: int) -> None:
    """Variance times cost of tree and independent sampling with the same 27 leaves and the same trained steps."""
    print(f"\n### {kernel.name}, {reward.name} reward: variance of one prompt's estimate, times what it costs")
    header(
        "window",
        "sampling",
        "evaluations",
        "with update",
        "variance",
        "x evaluations",
        "x with update",
        "shared weight",
    )
    for start in (0, 2, 4, 6):
        fan = [1] * STEPS
        fan[start] = LEAVES
        rollouts = {"steps": STEPS, "branch": 1, "window": window(start), "roots": LEAVES}
        plans: list[tuple[str, TreePlan, Estimator]] = [
            ("tree, leave-one-out", tree_plan(start), unbiased),
            ("tree, siblings", tree_plan(start), siblings),
            ("fan", TreePlan(tuple(fan), tuple(t in window(start) for t in range(STEPS))), unbiased),
            ("independent", preset("mixgrpo", **rollouts), unbiased),
            ("independent, one noise", preset("mixgrpo", **rollouts, shared_noise=True), unbiased),
        ]
        for name, plan, estimator in plans:
            report(f"{start}-{start + DEPTH - 1}", name, plan, kernel, reward, estimator, count)
    flat = preset("flow_grpo", steps=STEPS, branch=1, window=(), roots=LEAVES)
    report("all", "independent, every step", flat, kernel, reward, unbiased, count)


def report(
    where: str, name: str, plan: TreePlan, kernel: Kernel, reward: ToyReward, estimator: Estimator, count: int
) -> None:
    found = []
    for policy, tree in trees(plan, kernel, count):
        rewards = reward(tree.leaves).view(len(tree.prompts), -1)
        found.append(gradients(policy, tree, estimator(tree, rewards)))
    exact = analytic_gradient(policy, tree.transitions, reward)[list(tree.trained_steps)]
    vector, total = noise(torch.cat(found), exact)
    cost = plan.cost()
    whole = cost.evaluations + 3 * cost.trained_nodes  # forward and backward of a node: three forward passes
    row(
        where,
        name,
        cost.evaluations,
        whole,
        f"{vector:.3g}",
        f"{vector * cost.evaluations:.3g}",
        f"{vector * whole:.3g}",
        f"{total * cost.evaluations:.3g}",
    )


def main() -> None:
    torch.set_num_threads(1)  # the tensors are small, and one thread gives the same digits everywhere
    print("## What is left of the gradient by each baseline")
    share_of_baseline(2, 400_000)
    print("\n## What each option changes")
    options(2, FLOW_SDE, 40_000)
    options(2, CPS, 40_000)
    print("\n## The logprob backup by number of elements")
    softness(2)
    print("\n## Variance for the cost")
    efficiency(FLOW_SDE, LINEAR, 10_000)
    efficiency(FLOW_SDE, QUADRATIC, 10_000)
    efficiency(CPS, LINEAR, 10_000)


if __name__ == "__main__":
    main()
