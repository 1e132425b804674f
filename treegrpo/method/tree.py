"""The grown tree. Stages are immutable: growing, scoring and backing up each return a new value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from .plan import TreePlan
from .process import Step


@dataclass(frozen=True)
class Tree:
    """The trees of one rollout: every prompt of a batch, all grown by one plan.

    Levels are regular, so nodes need no pointers. Level t holds the P * plan.nodes(t) states before step t, ordered
    by prompt, root and then birth: node i of level t + 1 is a child of node i // branch[t] of level t.

    sigmas: float32 [T + 1]. transitions: the Step taken at each t. prompts: P strings.
    states[t]: float32 [P * nodes(t), C, H, W], kept for both ends of the trained steps, and for the leaves (t = T).
    denoised[t]: the network's x0 for every node of a trained step, for previews.
    log_probs[t]: float32 [P * nodes(t + 1)], of the edges of trained step t.
    rewards[name]: float32 [P, leaves], set by scoring; NaN where the reward left a prompt out.
    leaf_advantages: float32 [P, leaves], edge_advantages[t] and edge_shares[t] (advantage.edge_shares): float32
    [P * nodes(t + 1)], set by backup.
    """

    plan: TreePlan
    sigmas: Tensor
    transitions: tuple[Step, ...]
    prompts: tuple[str, ...]
    states: dict[int, Tensor]
    denoised: dict[int, Tensor]
    log_probs: dict[int, Tensor]
    rewards: dict[str, Tensor] = field(default_factory=dict)
    leaf_advantages: Tensor | None = None
    edge_advantages: dict[int, Tensor] = field(default_factory=dict)
    edge_shares: dict[int, Tensor] = field(default_factory=dict)

    @property
    def trained_steps(self) -> tuple[int, ...]:
        """The steps whose edges have a log-probability, in order."""
        return tuple(self.log_probs)

    @property
    def leaves(self) -> Tensor:
        """The final latents, float32 [P * leaves, C, H, W]."""
        return self.states[self.plan.steps]

    def prompts_at(self, level: int) -> list[str]:
        """The prompt of every node of a level."""
        return [prompt for prompt in self.prompts for _ in range(self.plan.nodes(level))]

    def with_rewards(self, rewards: dict[str, Tensor]) -> Tree:
        """This tree with leaf rewards, each float32 [P * leaves] in leaf order or [P, leaves]."""
        shape = (len(self.prompts), self.plan.leaves)
        return replace(self, rewards={name: score.reshape(shape) for name, score in rewards.items()})

    def with_advantages(self, leaf: Tensor, edges: dict[int, Tensor], shares: dict[int, Tensor]) -> Tree:
        """This tree with leaf advantages [P, leaves], and advantages and shares of the edges of every trained step."""
        return replace(self, leaf_advantages=leaf, edge_advantages=edges, edge_shares=shares)
