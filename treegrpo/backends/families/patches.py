"""Latents as the rows of 2 x 2 patches that FLUX and Qwen-Image read."""

from __future__ import annotations

from torch import Tensor

from .flow import PATCH
from .sides import check_sides


def patched_shape(channels: int, scale: int, height: int, width: int) -> tuple[int, ...]:
    """(C, H, W) of latents whose patches have `channels` numbers. Raises UsageError for a size that leaves half one."""
    check_sides(scale * PATCH, height, width)
    return (channels // PATCH**2, height // scale, width // scale)


def to_patches(x: Tensor) -> Tensor:
    """[N, H W / 4, 4 C] from [N, C, H, W]; the four numbers of a channel lie beside each other."""
    count, channels, height, width = x.shape
    split = x.view(count, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * PATCH**2)


def from_patches(rows: Tensor, height: int, width: int) -> Tensor:
    """[N, C, height, width] from what to_patches makes."""
    count, _, numbers = rows.shape
    split = rows.view(count, height // PATCH, width // PATCH, numbers // PATCH**2, PATCH, PATCH)
    return split.permute(0, 3, 1, 4, 2, 5).reshape(count, -1, height, width)
