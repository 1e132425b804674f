"""Human Preference Score v2 and v2.1 (arXiv 2306.09341): CLIP ViT-H/14, tuned on what people chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .clip import load_open_clip
from .host import Host
from .preprocess import pad_to_square
from .weights import CLIP_WORDS, HPSV2, HPSV21, folder_of

VIT_H_14: dict[str, Any] = {
    "projection_dim": 1024,
    "text_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
        "projection_dim": 1024,
    },
    "vision_config": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
        "hidden_act": "gelu",
        "projection_dim": 1024,
    },
}
"""hpsv2's open_clip/model_configs/ViT-H-14.json in the words of transformers' CLIPConfig."""


class HpsV2:
    """Cosine similarity of picture and prompt, in practice 0.15..0.35; as hpsv2.score(..., hps_version="v2.0").

    Raises UsageError when weights are missing, broken or of another architecture.
    """

    name = "hpsv2"
    source = HPSV2
    config = VIT_H_14

    def __init__(self, host: Host | None = None) -> None:
        from transformers import CLIPConfig

        host = host or Host()
        [file] = self.source.files
        self.clip = load_open_clip(
            folder_of(self.name, self.source, host) / file,
            CLIPConfig(**self.config),
            "CLIP ViT-H/14",
            host,
            folder_of(self.name, CLIP_WORDS, host),
        )

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1 and their prompts."""
        return self.clip.cosines(images, prompts, pad_to_square)


class HpsV21(HpsV2):
    """The same with the weights of version 2.1, trained on more and cleaner choices."""

    name = "hpsv2.1"
    source = HPSV21
