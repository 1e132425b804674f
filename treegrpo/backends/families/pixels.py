"""From what a VAE decodes to ComfyUI's pictures."""

from __future__ import annotations

from torch import Tensor


def to_images(decoded: Tensor) -> Tensor:
    """float32 [N, H, W, 3] in 0..1, from [N, 3, H, W] in -1..1."""
    return (decoded.float() / 2 + 0.5).clamp(0, 1).movedim(1, -1)
