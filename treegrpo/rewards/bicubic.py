"""Bicubic resizing, of numbers as torch does it and of 8-bit pictures as Pillow does it."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

FIXED_POINT = 2**22
"""One, in the fixed-point numbers of Pillow's resampling."""


def resize(pixels: Tensor, target: tuple[int, int]) -> Tensor:
    """[N, C, H, W] -> [N, C, *target], antialiased; results may overshoot."""
    return torch.nn.functional.interpolate(pixels, target, mode="bicubic", antialias=True)


def resize_levels(picture: Tensor, rows: int, columns: int) -> Tensor:
    """[C, H, W] in 0..1 -> [C, rows, columns], in the 256 levels of 8-bit pictures.

    Equal to Pillow 13's to the last bit: one side after the other, rounded after either (its
    src/libImaging/Resample.c). Double precision holds the sums of Pillow's fixed-point arithmetic exactly; on a device
    that has none, a value between two levels may get the other.
    """
    exact = picture.float() if picture.device.type == "mps" else picture.double()
    levels = (exact * 255).round().clamp(0, 255)
    height, width = levels.shape[1:]
    if height - rows > max(0, 2 * (width - columns)):  # many rows to lose, so that the other side has less to do
        levels = _resize_lines(_resize_lines(levels, rows).mT, columns).mT
    else:
        levels = _resize_lines(_resize_lines(levels.mT, columns).mT, rows)
    return (levels / 255).float()


def _resize_lines(levels: Tensor, target: int) -> Tensor:
    """[C, H, W] -> [C, target, W]."""
    if levels.shape[1] == target:
        return levels
    sums = _weights(levels.shape[1], target).to(levels) @ levels
    return ((sums + FIXED_POINT / 2) / FIXED_POINT).floor().clamp(0, 255)


@functools.lru_cache(maxsize=16)
def _weights(size: int, target: int) -> Tensor:
    """What each of `size` pixels in a line weighs in each of `target`, in fixed point: float64 [target, size]."""
    unit = torch.eye(size, dtype=torch.float64)[None, None]
    weights = resize(unit, (target, size))[0, 0] * FIXED_POINT
    return (weights.abs() + 0.5).floor() * weights.sign()
