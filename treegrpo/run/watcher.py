"""What a run tells whoever watches it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..method.plan import TreePlan
from .outcome import Outcome


class Watcher:
    """Hears of every iteration while it goes on. This one does nothing; override what you want to hear of."""

    def begin(self, number: int, plan: TreePlan, prompts: Sequence[str], sigmas: Tensor) -> None:
        """Iteration `number` starts to grow the trees of these prompts. sigmas: float32 [T + 1]."""

    def step(self, t: int, denoised: Tensor) -> None:
        """The predictions of the nodes of level t are there, [P * plan.nodes(t), C, H, W]."""

    def leaves(self, latents: Tensor, images: Tensor) -> None:
        """The leaves are drawn: latents [P * leaves, C, h, w], images float32 [P * leaves, H, W, 3]."""

    def end(self, outcome: Outcome) -> None:
        """The iteration is over, and what it has taught is saved."""


NOBODY = Watcher()
