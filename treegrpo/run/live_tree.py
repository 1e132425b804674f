"""The tree of the iteration that runs now, kept in the run folder as trees/live.json and trees/live.jpg."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..method.plan import TreePlan
from .atomic import FileHeld
from .latent_preview import LatentPreview
from .outcome import Outcome
from .tree_record import Record, generation, generations, outline, record, save_tree
from .watcher import Watcher

LIVE = "live"
PAUSE = 0.2
"""Seconds between two looks at a growing tree, at least."""
CALIBRATION = 4
"""Pictures that are decoded to calibrate the preview, once."""


class LiveTree(Watcher):
    """Keeps trees/live up to date while a tree grows. Its inner nodes are drawn by LatentPreview.

    folder: the run's trees/. decode: images [N, H, W, 3] from latents. tell: hears every record that was written.
    """

    def __init__(
        self, folder: Path, decode: Callable[[Tensor], Tensor], tell: Callable[[Record], None] = lambda _: None
    ) -> None:
        self.folder, self.decode, self.tell = folder, decode, tell
        self.preview = LatentPreview()
        self.shown = 0.0

    def begin(self, number: int, plan: TreePlan, prompts: Sequence[str], sigmas: Tensor) -> None:
        """See Watcher."""
        self.plan = plan
        self.record = outline(plan, prompts, sigmas, number)
        self.inner: list[Tensor] = []
        self._show()

    def step(self, t: int, denoised: Tensor) -> None:
        """See Watcher."""
        self.record = self.record | {"step": t}
        if t in generations(self.plan):
            if self.preview.factors is None:
                self.preview.learn(denoised[:CALIBRATION], self.decode(denoised[:CALIBRATION]))
            self.inner.append(denoised)
            self._add(t)
        if time.monotonic() - self.shown > PAUSE:
            self._show()

    def leaves(self, latents: Tensor, images: Tensor) -> None:
        """See Watcher."""
        self.preview.learn(latents, images)
        self.record = self.record | {"step": self.plan.steps}
        self._add(self.plan.steps)
        self._show(images)

    def end(self, outcome: Outcome) -> None:
        """See Watcher."""
        sheet = self.record["sheet"]
        self.record = record(outcome.tree, outcome.number) | {"sheet": sheet}
        self._write()

    def _add(self, level: int) -> None:
        self.record = self.record | {"generations": [*self.record["generations"], generation(self.plan, level)]}

    def _show(self, leaves: Tensor | None = None) -> None:
        pictures = [self.preview.draw(latents) for latents in self.inner]
        if leaves is not None:
            pictures.append(leaves)
        self._write(_of_one_shape(pictures) if pictures else None)
        self.shown = time.monotonic()

    def _write(self, images: Tensor | None = None) -> None:
        """Windows keeps a file as it is while a browser reads it: then nobody is told of this look."""
        try:
            self.record = save_tree(self.folder, LIVE, self.record, images)
        except FileHeld:
            return
        self.tell(self.record)


def _of_one_shape(pictures: list[Tensor]) -> Tensor:
    """All images [N, h, w, 3] together, in the height and width of the last ones."""
    shape = pictures[-1].shape[1:3]
    return torch.cat([F.interpolate(part.movedim(3, 1), shape, mode="bilinear").movedim(1, 3) for part in pictures])
