"""CIELAB, the colour space in which equal distances look about equally large."""

from __future__ import annotations

import torch
from torch import Tensor

TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
"""Linear sRGB to CIE XYZ, by the primaries of ITU-R BT.709. The sums of its rows are the white D65."""

KNEE = 6 / 29
"""Where CIELAB's cube root goes over into a straight line (CIE 15)."""


def lab(images: Tensor) -> Tensor:
    """CIELAB (D65) of sRGB colours [..., 3] in 0..1: lightness L in 0..100, a (green to red), b (blue to yellow)."""
    linear = torch.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)
    to_xyz = images.new_tensor(TO_XYZ)
    relative = linear @ (to_xyz / to_xyz.sum(1, keepdim=True)).T  # to the white, so that greys have a = b = 0
    root = torch.where(relative > KNEE**3, relative ** (1 / 3), relative / (3 * KNEE**2) + 4 / 29)
    x, y, z = root.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)
