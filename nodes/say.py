"""Words and pictures under a node while it works."""

from __future__ import annotations

import torch
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..treegrpo.pictures.image_file import to_pil


def say(text: str, node_id: str | None) -> None:
    """Show a line of text under the node, if anybody is looking."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def sheet(images: Tensor, columns: int = 4) -> Image.Image:
    """Up to 16 images float32 [N, H, W, 3] side by side, as one picture for a preview."""
    shown = images[:16]
    rows = -(-len(shown) // columns)
    height, width = shown.shape[1:3]
    canvas = torch.ones(rows * columns, height, width, 3)
    canvas[: len(shown)] = shown
    grid = canvas.unflatten(0, (rows, columns)).transpose(1, 2).flatten(0, 1).flatten(1, 2)
    return to_pil(grid)
