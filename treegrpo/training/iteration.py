"""One iteration: grow -> decode -> score -> back up -> update."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import RunError
from ..method.advantage import with_advantages
from ..method.grow import BatchSizes, Graphs, grow
from ..method.policy import Policy
from ..method.process import Kernel
from ..method.ranks import ALONE, Ranks
from ..method.sample import decode
from ..method.tree import Tree
from ..method.update import update
from ..rewards.reward import Rewards, are_pictures, score, silent
from ..run.outcome import Outcome
from ..run.watcher import NOBODY, Watcher
from .config import Config, PlanTable, WindowTable, make_plan
from .overlap import decode_and_score


class Stopwatch:
    """Seconds per named part of an iteration."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last lap under `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def iteration_seed(seed: int, iteration: int) -> int:
    """The seed of one iteration's random numbers: a function of the two, so that resuming needs no RNG state."""
    return seed * 1_000_003 + iteration


def prompts_of(prompts: Sequence[str], count: int, seed: int, iteration: int) -> list[str]:
    """The `count` prompts of one iteration: a walk through the list, shuffled anew on every round."""
    chosen = []
    for place in range(iteration * count, (iteration + 1) * count):
        turn, position = divmod(place, len(prompts))
        shuffle = torch.Generator().manual_seed(iteration_seed(seed + 1, -1 - turn))
        chosen.append(prompts[int(torch.randperm(len(prompts), generator=shuffle)[position])])
    return chosen


def grow_trees(
    policy: Policy,
    prompts: Sequence[str],
    plan: PlanTable,
    window: WindowTable,
    kernel: Kernel,
    *,
    count: int,
    seed: int,
    number: int,
    sizes: BatchSizes,
    watcher: Watcher = NOBODY,
    graphs: Graphs | None = None,
    ranks: Ranks = ALONE,
) -> Tree:
    """The trees of `count` prompts (all, if there are fewer) in iteration `number` (0, 1, ...) of a run.

    Prompts, window and noise follow from the run's seed and the number alone. graphs: see grow. ranks: this one grows
    its share of the prompts, if there are others.
    """
    generator = torch.Generator().manual_seed(iteration_seed(seed, number))
    tree_plan = make_plan(plan, window, number, generator)
    chosen = prompts_of(prompts, min(count, len(prompts)), seed, number)
    share = ranks.share(len(chosen))
    own = chosen[share]
    watcher.begin(number, tree_plan, own, policy.sigmas(plan.steps))
    return grow(policy, chosen, tree_plan, kernel, generator, sizes, watcher.step, graphs, share)


def score_tree(tree: Tree, images: Tensor, rewards: Rewards) -> Tree:
    """The tree with the scores of its leaf images [P * leaves, H, W, 3] by every reward."""
    prompts = tree.prompts_at(tree.plan.steps)
    return tree.with_rewards({reward.name: score(reward, images, prompts) for reward, _ in rewards})


def iterate(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    rewards: Rewards,
    config: Config,
    prompts: Sequence[str],
    number: int,
    sizes: BatchSizes,
    watch: Stopwatch,
    watcher: Watcher = NOBODY,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Run iteration `number` of a run; see grow_trees. The watcher hears of all but the end.

    Books the parts grow, decode, score and update on `watch`. Raises RunError when a reward has no opinion at all.
    """
    graphs = Graphs(sizes.graphs) if config.train.reuse_graphs else None
    weights = {reward.name: weight for reward, weight in rewards}
    how = config.advantage
    with ranks.together():
        tree = grow_trees(
            policy,
            prompts,
            config.plan,
            config.window,
            config.make_kernel(),
            count=config.train.prompts_per_iteration,
            seed=config.train.seed,
            number=number,
            sizes=sizes,
            watcher=watcher,
            graphs=graphs,
            ranks=ranks,
        )
        watch.lap("grow")
        if config.train.overlap_scoring:
            judges = [reward for reward, _ in rewards]
            images, scores = decode_and_score(policy, tree.leaves, tree.prompts_at(tree.plan.steps), judges, sizes)
            watcher.leaves(tree.leaves, images)
            watch.lap("decode")
            tree = tree.with_rewards(scores)
        else:
            images = decode(policy, tree.leaves, sizes)
            watcher.leaves(tree.leaves, images)
            watch.lap("decode")
            tree = score_tree(tree, images, rewards)
        watch.lap("score")
        tree = with_advantages(tree, weights, how.backup, how.centring, how.clamp, how.mixing)
    everyone = ranks.gather(tree.rewards)
    scores = {name: torch.cat([each[name] for each in everyone]) for name in weights}
    if quiet := silent(rewards, scores):
        raise RunError(_nothing_to_learn_from(number, quiet, images, policy))
    statistics = update(policy, tree, optimizer, config.update.settings(), sizes.training, graphs, ranks)
    watch.lap("update")
    return Outcome(number, tree, images, statistics, scores)


def _nothing_to_learn_from(number: int, rewards: Sequence[str], images: Tensor, policy: Policy) -> str:
    if not bool(are_pictures(images).any()):
        return f"iteration {number + 1}: no picture is made of numbers, so nothing can be learned; {policy.decoder}."
    return (
        f"iteration {number + 1}: {' and '.join(rewards)} had no opinion on any picture, so nothing can be learned; "
        "look at what was said before, mend it, and continue the run."
    )


def make_optimizer(policy: Policy, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW without weight decay: the adapter starts at the base model and only rewards should move it."""
    return torch.optim.AdamW(policy.parameters(), lr=learning_rate, weight_decay=0.0)
