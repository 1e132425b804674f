"""What travels along the wires of this pack. Every value is immutable, so that ComfyUI may cache it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..treegrpo.backends.comfy.adapters import AdapterSettings
from ..treegrpo.backends.comfy.policy import Prompts
from ..treegrpo.method.grow import BatchSizes
from ..treegrpo.method.tree import Tree
from ..treegrpo.rewards.reward import Reward
from ..treegrpo.run.state import RunState
from ..treegrpo.training.config import KernelTable, PlanTable, RewardTable, WindowTable

CATEGORY = "TreeGRPO"

PromptsSocket = io.Custom("TREEGRPO_PROMPTS")
PlanSocket = io.Custom("TREEGRPO_PLAN")
PolicySocket = io.Custom("TREEGRPO_POLICY")
RewardSocket = io.Custom("TREEGRPO_REWARD")
TreeSocket = io.Custom("TREEGRPO_TREE")


@dataclass(frozen=True)
class PlanValue:
    """How rollouts are drawn: the tree, its noise, and ComfyUI's own sampling settings."""

    plan: PlanTable
    window: WindowTable
    kernel: KernelTable
    scheduler: str
    guidance: float
    height: int
    width: int


@dataclass(frozen=True)
class PolicyValue:
    """A MODEL, the shape of its adapter, and the adapter's weights and optimiser moments so far."""

    model: Any
    adapter: AdapterSettings
    recompute: bool
    state: RunState = field(default_factory=RunState)


@dataclass(frozen=True)
class RewardValue:
    """A reward's name and options, with its weight in the mix.

    reward: the reward itself, or None for human votes, which every run keeps in a folder of its own.
    """

    table: RewardTable
    reward: Reward | None


@dataclass(frozen=True)
class Drawing:
    """All that turns a policy into pictures: what ComfyPolicy is made from, beside model and adapter."""

    vae: Any
    prompts: Prompts
    plan: PlanValue
    schedule: Tensor | None = None


@dataclass(frozen=True)
class TreeValue:
    """A grown tree with its leaf images float32 [P * leaves, H, W, 3]; drawing and sizes are what the update repeats.

    weights: of the rewards by name, once it is scored.
    """

    tree: Tree
    images: Tensor
    model: Any
    drawing: Drawing
    sizes: BatchSizes
    weights: dict[str, float] = field(default_factory=dict)
