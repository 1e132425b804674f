"""What CLIP-like models do to a picture before they look at it, batched on the pictures' device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .bicubic import resize, resize_levels

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of the pixels that OpenAI's CLIP was trained on; its descendants keep them."""


def crop_centre(images: Tensor, size: int, half: Callable[[int], int] = lambda border: border // 2) -> Tensor:
    """The shorter side becomes `size`, the middle is kept: [N, H, W, 3] in 0..1 -> [N, 3, size, size].

    Resized as Pillow does it; a picture of the right size stays as it is. half: how much of the border is cut off above
    and left; half of an odd one is rounded down, as in transformers' CLIPImageProcessor.
    """
    height, width = images.shape[1:3]
    pixels = images.movedim(-1, 1).float()
    if (height, width) != (size, size):
        short = min(height, width)
        rows, columns = size * height // short, size * width // short
        pixels = torch.stack([resize_levels(picture, rows, columns) for picture in pixels])
        top, left = half(rows - size), half(columns - size)
        pixels = pixels[..., top : top + size, left : left + size]
    return pixels


def crop_centre_rounding(images: Tensor, size: int) -> Tensor:
    """crop_centre, where half of an odd border is rounded to the even number, as torchvision's CenterCrop does."""
    return crop_centre(images, size, lambda border: round(border / 2))


def pad_to_square(images: Tensor, size: int) -> Tensor:
    """The longer side becomes `size`, the rest is black: [N, H, W, 3] in 0..1 -> [N, 3, size, size].

    As the hpsv2 package does it (its open_clip/transform.py, ResizeMaxSize): on floating-point pixels, neither
    rounded nor clipped, so that bicubic overshoot goes beyond 0..1; half an odd border more goes right and below.
    A side of a very long picture is at least one pixel.
    """
    pixels = images.movedim(-1, 1).float()
    height, width = pixels.shape[-2:]
    scale = size / max(height, width)
    if scale != 1.0:
        target = (max(1, round(height * scale)), max(1, round(width * scale)))
        pixels = resize(pixels, target)
    below, right = size - pixels.shape[-2], size - pixels.shape[-1]
    border = (right // 2, right - right // 2, below // 2, below - below // 2)
    return torch.nn.functional.pad(pixels, border)


def normalise(pixels: Tensor, mean: Sequence[float] = OPENAI_MEAN, std: Sequence[float] = OPENAI_STD) -> Tensor:
    """(pixels - mean) / std for every channel of [N, 3, H, W]."""
    return (pixels - pixels.new_tensor(mean)[:, None, None]) / pixels.new_tensor(std)[:, None, None]
