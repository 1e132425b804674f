"""PickScore (arXiv 2305.01569): CLIP ViT-H/14, tuned on what users of Pick-a-Pic chose."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .clip import load_folder
from .host import Host
from .weights import CLIP_WORDS, PICKSCORE, folder_of


class PickScore:
    """Scale x cosine similarity of picture and prompt (equation 1), in practice 16..26; the scale is the model's own.

    Raises UsageError when weights are missing or of another architecture.
    """

    name = "pickscore"

    def __init__(self, host: Host | None = None) -> None:
        host = host or Host()
        words = folder_of(self.name, CLIP_WORDS, host)
        self.clip = load_folder(folder_of(self.name, PICKSCORE, host), host, words)
        self.scale = float(self.clip.network.logit_scale.float().exp())

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1 and their prompts."""
        return self.scale * self.clip.cosines(images, prompts)
