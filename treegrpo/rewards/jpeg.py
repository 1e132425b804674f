"""JPEG size as a reward: the two classic tests of policy-gradient training for image models (DDPO)."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

QUALITY = 95


def jpeg_kilobytes(images: Tensor) -> Tensor:
    """Size of each image [N, H, W, 3] as a JPEG of quality 95, in kB (1000 bytes): float32 [N]."""
    sizes = []
    for pixels in (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy():
        file = BytesIO()
        Image.fromarray(pixels).save(file, format="JPEG", quality=QUALITY)
        sizes.append(file.tell() / 1000)
    return torch.tensor(sizes, dtype=torch.float32)


class JpegCompressibility:
    """Minus the JPEG size in kB: below 0, higher for plainer pictures."""

    name = "jpeg_compressibility"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N]; the prompts do not matter."""
        return -jpeg_kilobytes(images)


class JpegIncompressibility:
    """The JPEG size in kB: above 0, higher for busier pictures."""

    name = "jpeg_incompressibility"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N]; the prompts do not matter."""
        return jpeg_kilobytes(images)
