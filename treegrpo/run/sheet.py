"""Many small pictures in one file."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from math import ceil, sqrt
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .atomic import write_bytes

LARGEST = 256
PIXELS = 2**24
"""What a browser decodes without trouble; tiles shrink so that all of them stay below."""


@dataclass(frozen=True)
class Layout:
    """How `tiles` pictures of one shape are laid out: `columns` in a row, each width x height pixels."""

    tiles: int
    columns: int
    width: int
    height: int

    @classmethod
    def fitting(cls, count: int, width: int, height: int) -> Layout:
        """The largest tiles for pictures of width x height that stay within LARGEST and, all together, PIXELS."""
        scale = min(1.0, LARGEST / max(width, height), sqrt(PIXELS / (max(count, 1) * width * height)))
        tile = max(1, int(width * scale)), max(1, int(height * scale))
        columns = max(1, min(count, ceil(sqrt(count * tile[1] / tile[0]))))
        return cls(count, columns, *tile)

    def corner(self, i: int) -> tuple[int, int]:
        """Left and top of tile i, in pixels."""
        row, column = divmod(i, self.columns)
        return column * self.width, row * self.height


def save_sheet(path: Path, images: Tensor) -> Layout:
    """Write all images [N, H, W, 3] in 0..1 as one JPEG, tile by tile; returns their layout."""
    layout = Layout.fitting(len(images), width=images.shape[2], height=images.shape[1])
    sheet = Image.new("RGB", (layout.columns * layout.width, ceil(layout.tiles / layout.columns) * layout.height))
    for i, pixels in enumerate((images * 255).round().to(torch.uint8).cpu().numpy()):
        tile = Image.fromarray(pixels).resize((layout.width, layout.height), Image.Resampling.LANCZOS)
        sheet.paste(tile, layout.corner(i))
    file = BytesIO()
    sheet.save(file, format="JPEG", quality=90)
    write_bytes(path, file.getvalue())
    return layout
