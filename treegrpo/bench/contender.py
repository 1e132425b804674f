"""One way of training beside others: an adapter, an optimiser and a clock of its own on a network that all share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ..method.grow import BatchSizes
from ..method.policy import Policy
from ..rewards.reward import Rewards
from ..run.outcome import Outcome
from ..run.state import State
from ..training.config import Config
from ..training.iteration import Stopwatch, iterate

TRAINING_COST = 3
"""A training step counts as three evaluations: one forward, and a backward of about twice its work."""


@dataclass
class Contender:
    """What is trained, and what it has used so far.

    evaluations: of the network, by rollouts and by the reference of the KL. trained_nodes: forward and backward passes,
    once per node and pass over the edges. seconds: by part of the iteration.
    """

    name: str
    config: Config
    optimizer: torch.optim.Optimizer
    adapter: State
    iterations: int = 0
    evaluations: int = 0
    trained_nodes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds of training so far."""
        return sum(self.seconds.values())

    @property
    def work(self) -> int:
        """All that the network has done so far, in evaluations."""
        return self.evaluations + TRAINING_COST * self.trained_nodes


def advance(
    contender: Contender, policy: Policy, rewards: Rewards, prompts: Sequence[str], sizes: BatchSizes
) -> Outcome:
    """One iteration of a contender; its adapter is in the policy afterwards."""
    policy.load_adapter_state(contender.adapter)
    watch = Stopwatch()
    outcome = iterate(
        policy, contender.optimizer, rewards, contender.config, prompts, contender.iterations, sizes, watch
    )
    contender.adapter = policy.adapter_state()
    tree, how = outcome.tree, contender.config.update
    nodes = how.updates_per_rollout * sum(len(tree.denoised[t]) for t in tree.trained_steps)
    contender.iterations += 1
    contender.evaluations += tree.plan.cost().evaluations * len(tree.prompts) + (nodes if how.kl else 0)
    contender.trained_nodes += nodes
    for part, spent in watch.seconds.items():
        contender.seconds[part] = contender.seconds.get(part, 0.0) + spent
    return outcome
