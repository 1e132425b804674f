"""What one iteration has made."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..method.tree import Tree
from ..method.update import UpdateStatistics


@dataclass(frozen=True)
class Outcome:
    """An iteration's backed-up tree, its leaf images float32 [P * leaves, H, W, 3], and what the update did.

    rewards[name]: [P, leaves], of all prompts of the iteration; tree and images are those of one rank.
    """

    number: int
    tree: Tree
    images: Tensor
    statistics: UpdateStatistics
    rewards: dict[str, Tensor]
