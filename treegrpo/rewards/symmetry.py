"""Symmetry as a reward, without a model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

FAINTEST = (1 / 255) ** 2
"""The least variance that counts: a standard deviation of one level of 8-bit pictures."""


class Symmetry:
    """Correlation of a picture with its mirror image, left and right: -1 to 1 (the same). Raises nothing.

    It is the share of the picture's variance that is symmetric minus the share that is antisymmetric; noise has 0.
    Unlike a distance to the mirror image, it is not won by blank pictures: one that varies by less than a level of 8
    bits has next to 0. Each channel varies around its own mean.
    """

    name = "symmetry"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; the prompts do not matter."""
        varying = images - images.mean((1, 2), keepdim=True)
        variance = varying.square().mean((1, 2, 3))
        covariance = (varying * varying.flip(2)).mean((1, 2, 3))
        return (covariance / variance.clamp(min=FAINTEST)).cpu()
