"""Z-Image and Z-Image-Turbo (diffusers' ZImagePipeline)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ZImagePipeline
from torch import Tensor

from ...method.process import Path
from .family import Conditioning
from .flow import PATCH
from .flux import sigmas as sigmas
from .guidance import guide as guide
from .masked_words import masked_words, with_numbers
from .patches import patched_shape
from .qwen_image_21 import native_size as native_size
from .sd3 import decode as decode
from .sd3 import file_name as file_name

# The pipeline's guidance_scale is one less than guidance is here and in ComfyUI: it adds to the conditional prediction,
# and has none at 0. By default it neither normalises nor ends guidance early.
NAMES = "Z-Image, Z-Image-Turbo"
PATH = Path.FLOW
NETWORK = "transformer"
DISTILLED = False
BLOCKS: tuple[str, ...] = ("ZImageTransformerBlock",)
_ATTENTION = ["attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0"]
_MLP = ["feed_forward.w1", "feed_forward.w2", "feed_forward.w3"]
TARGETS = {"attention": _ATTENTION, "attention+mlp": _ATTENTION + _MLP}


def latent_shape(pipeline: ZImagePipeline, height: int, width: int) -> tuple[int, ...]:
    """(16, H / 8, W / 8); both sides multiples of 16 pixels."""
    return patched_shape(pipeline.transformer.config.in_channels * PATCH**2, pipeline.vae_scale_factor, height, width)


@masked_words
def encode(pipeline: ZImagePipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(token embeddings [N, L, D], which of them are words: bool [N, L]), padded to L = max_sequence_length."""
    found, _ = pipeline.encode_prompt(
        list(texts),
        do_classifier_free_guidance=False,
        device=pipeline.text_encoder.device,
        max_sequence_length=max_sequence_length,
    )
    padded = [torch.nn.functional.pad(words, (0, 0, 0, max_sequence_length - len(words))) for words in found]
    lengths = torch.tensor([len(words) for words in found])
    return torch.stack(padded), torch.arange(max_sequence_length) < lengths[:, None]


def predict(pipeline: ZImagePipeline, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float) -> Tensor:
    """x0 = x + sigma v: this network's time and velocity run from noise to pictures.

    It takes the words of each prompt alone, and masks what it pads itself.
    """
    words, mask = conditioning
    network = pipeline.transformer
    lengths = with_numbers(mask).sum(1).tolist()
    velocities = network(
        list(x.to(network.dtype).unsqueeze(2)),
        torch.full((len(x),), 1 - sigma, device=x.device),
        [row[:length] for row, length in zip(words, lengths, strict=True)],
        return_dict=False,
    )[0]
    return x + sigma * torch.stack(velocities).squeeze(2).float()
