"""ImageReward (arXiv 2304.05977): BLIP reads picture and prompt together, tuned on experts' rankings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .blip_keys import under, vision_state
from .host import Host
from .linear_head import linear_head
from .preprocess import crop_centre_rounding, normalise
from .weights import BERT_WORDS, IMAGEREWARD, check_keys, folder_of, read_checkpoint

ROWS = 32
"""Images per pass, as for CLIP."""
TOKENS = 35
"""Prompts are padded or cut to as many (image-reward's ImageReward.py)."""
MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the head's output on the authors' validation set; the score is standardised by them (the same file)."""


class ImageReward:
    """A standardised score, in practice -2.3..2; as image-reward's ImageReward-v1.0.

    Raises UsageError when weights are missing, broken or of another architecture.
    """

    name = "imagereward"
    vision: dict[str, Any] = {  # noqa: RUF012  BLIP's ViT-L/16 at 224 pixels
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 16,
        "image_size": 224,
        "layer_norm_eps": 1e-6,
    }
    text: dict[str, Any] = {  # noqa: RUF012  its med_config.json
        "vocab_size": 30524,
        "hidden_size": 768,
        "encoder_hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    }

    def __init__(self, host: Host | None = None) -> None:
        from transformers import BertTokenizer, BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

        self.host = host or Host()
        [name] = IMAGEREWARD.files
        file = folder_of(self.name, IMAGEREWARD, self.host) / name
        words = folder_of(self.name, BERT_WORDS, self.host)
        state = read_checkpoint(file)
        parts = {
            "vision": (BlipVisionModel, BlipVisionConfig(**self.vision), vision_state(state, "blip.visual_encoder.")),
            "text": (BlipTextModel, BlipTextConfig(**self.text), under(state, "blip.text_encoder.")),
        }
        self.network = nn.ModuleDict()
        for part, (model, config, weights) in parts.items():
            options = {"add_pooling_layer": False} if part == "text" else {}
            with torch.device("meta"):
                expected = model(config, **options).state_dict()
            check_keys(file, weights, expected, "ImageReward")
            self.network[part] = model.from_pretrained(None, config=config, state_dict=weights, **options)
        head, weights = linear_head(self.text["hidden_size"]), under(state, "mlp.layers.")
        check_keys(file, weights, head.state_dict(), "ImageReward")
        head.load_state_dict(weights)
        self.network.to(self.host.dtype).eval().requires_grad_(False)
        self.head = head.float()
        self.tokenizer = BertTokenizer.from_pretrained(words, local_files_only=True)

    @torch.no_grad()
    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1 and their prompts."""
        tokens = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        parts = zip(
            *(part.split(ROWS) for part in (images, tokens.input_ids, tokens.attention_mask)),
            strict=True,
        )
        with self.host.placed(self.network) as device:
            read = torch.cat([self._read(*(tensor.to(device) for tensor in part)) for part in parts])
        return (self.head(read.float().cpu()).squeeze(1) - MEAN) / STD

    def _read(self, images: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """What BLIP makes of pictures [N, H, W, 3] and their prompts' tokens [N, L]: [N, D]."""
        pixels = normalise(crop_centre_rounding(images, self.vision["image_size"])).to(self.host.dtype)
        seen = self.network["vision"](pixel_values=pixels).last_hidden_state
        hidden = self.network["text"](input_ids=tokens, attention_mask=mask, encoder_hidden_states=seen)
        return hidden.last_hidden_state[:, 0]
