"""A quick look at latents, without the decoder."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ENOUGH = 8
"""Pictures to learn from; their thousands of pixels determine a handful of numbers."""


class LatentPreview:
    """The linear map from the channels of a latent pixel to red, green and blue that fits what the decoder drew.

    The idea of ComfyUI's latent_rgb_factors; learned on the way, it suits every autoencoder.
    """

    def __init__(self) -> None:
        self.factors: Tensor | None = None

    def learn(self, latents: Tensor, images: Tensor) -> None:
        """Fit the map to latents [N, C, (1,) h, w] and their decoded images [N, H, W, 3], by least squares.

        What is not made of numbers is left out; where nothing is left, what was learned before stays.
        """
        known = images.isfinite().flatten(1).all(1) & latents.isfinite().flatten(1).all(1).to(images.device)
        places = known.nonzero()[:ENOUGH, 0]
        if not len(places):
            return
        latents, images = latents[places.to(latents.device)], images[places]
        small = F.interpolate(images.movedim(3, 1), latents.shape[-2:], mode="area").movedim(1, 3)
        self.factors = torch.linalg.lstsq(_rows(latents), small.reshape(-1, 3).float()).solution

    def draw(self, latents: Tensor) -> Tensor:
        """Images float32 [N, h, w, 3] in 0..1 for latents [N, C, (1,) h, w]; plain grey before any was learned."""
        count, *_, height, width = latents.shape
        if self.factors is None:
            return torch.full((count, height, width, 3), 0.5)
        return (_rows(latents) @ self.factors).clamp(0, 1).view(count, height, width, 3)


def _rows(latents: Tensor) -> Tensor:
    """The channels of every pixel and a 1 for the offset, float32 [N * h * w, C + 1]."""
    channels = latents.detach().float().cpu().movedim(1, -1).reshape(-1, latents.shape[1])
    return F.pad(channels, (0, 1), value=1.0)
