"""Picture files in and out."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import UsageError, first_line
from ..run.atomic import write_bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Of files that are taken for pictures."""


def save_image(path: Path, pixels: Tensor) -> None:
    """Write one picture float32 [H, W, 3] in 0..1 as PNG."""
    file = BytesIO()
    to_pil(pixels).save(file, format="PNG")
    write_bytes(path, file.getvalue())


def digest(pixels: Tensor) -> str:
    """What tells pictures float32 in 0..1 from others, by what a file would hold of them."""
    return sha256(_bytes(pixels).tobytes()).hexdigest()


def to_pil(pixels: Tensor) -> Image.Image:
    """One picture float32 [H, W, 3] in 0..1, with 256 levels of each colour."""
    return Image.fromarray(_bytes(pixels))


def _bytes(pixels: Tensor) -> np.ndarray:
    return (pixels * 255).round().to(torch.uint8).cpu().numpy()


def pictures_in(folder: Path) -> list[Path]:
    """The picture files in a folder, in the order of their names; none if there is no such folder.

    Hidden ones do not count: macOS puts a `._bear.png` that is no picture beside every bear.png on foreign disks.
    """
    return sorted(
        file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


def read_image(path: Path) -> Tensor:
    """The picture in a file, float32 [H, W, 3] in 0..1, upright as its camera says. Raises UsageError if it is none."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # grey with 16 bits, which Pillow would cut off at 255
                grey = torch.from_numpy(np.asarray(upright, dtype=np.float32) / 65535)
                return grey[..., None].repeat(1, 1, 3)
            return torch.from_numpy(np.asarray(upright.convert("RGB"), dtype=np.float32) / 255)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f'images: "{path}" cannot be read as a picture ({first_line(error)}).') from error
