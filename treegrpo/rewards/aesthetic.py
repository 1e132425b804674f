"""LAION's aesthetic predictor (sac+logos+ava1): how people rate the look of a picture, whatever it shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .clip import load_folder
from .host import Host
from .linear_head import linear_head
from .weights import AESTHETIC, CLIP_L, check_keys, folder_of, read_checkpoint


class Aesthetic:
    """A rating from 1 to 10, in practice 3..8: linear layers on the unit vector of CLIP ViT-L/14.

    Raises UsageError when weights are missing, broken or of another architecture.
    """

    name = "aesthetic"

    def __init__(self, host: Host | None = None) -> None:
        host = host or Host()
        self.clip = load_folder(folder_of(self.name, CLIP_L, host), host)
        [name] = AESTHETIC.files
        file = folder_of(self.name, AESTHETIC, host) / name
        state = {key.removeprefix("layers."): value.float() for key, value in read_checkpoint(file).items()}
        self.head = linear_head(self.clip.network.config.projection_dim)
        check_keys(file, state, self.head.state_dict(), "the aesthetic predictor on CLIP ViT-L/14")
        self.head.load_state_dict(state)

    @torch.no_grad()
    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; the prompts do not matter."""
        return self.head(self.clip.embed_images(images).cpu()).squeeze(1)
