"""Lumina-Image 2.0 (diffusers' Lumina2Pipeline)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import Lumina2Pipeline
from torch import Tensor

from ...method.process import Path
from . import guidance as classifier_free
from .family import Conditioning
from .flux import sigmas as sigmas
from .lumina2_names import universal
from .masked_words import encoded_words, masked_words, with_numbers
from .sana import encode_negative as encode_negative
from .sd3 import decode as decode
from .sd3 import file_name as file_name
from .sd3 import latent_shape as latent_shape
from .sd3 import native_size as native_size

NAMES = "Lumina-Image 2.0"
PATH = Path.FLOW
NETWORK = "transformer"
DISTILLED = False
BLOCKS: tuple[str, ...] = ("Lumina2TransformerBlock",)
_ATTENTION = ["attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"]
_MLP = ["feed_forward.linear_1", "feed_forward.linear_2", "feed_forward.linear_3"]
TARGETS = {"attention": _ATTENTION, "attention+mlp": _ATTENTION + _MLP}


@masked_words
def encode(pipeline: Lumina2Pipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(token embeddings [N, L, D], which of them are words: bool [N, L]); prompts stand behind the system prompt."""
    return encoded_words(pipeline, texts, max_sequence_length)


def predict(pipeline: Lumina2Pipeline, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float) -> Tensor:
    """x0 = x + sigma v: this network's time and velocity run from noise to pictures."""
    words, mask = conditioning
    network = pipeline.transformer
    velocity = network(
        hidden_states=x.to(network.dtype),
        timestep=torch.full((len(x),), 1 - sigma, device=x.device),
        encoder_hidden_states=words,
        encoder_attention_mask=with_numbers(mask),
        return_dict=False,
    )[0]
    return x + sigma * velocity.float()


def guide(x: Tensor, unconditional: Tensor, conditional: Tensor, guidance: float) -> Tensor:
    """Guidance at every step that keeps the length of the conditional velocity in every row of every channel.

    So by default in diffusers' pipeline_lumina2.py: cfg_trunc_ratio = 1 and cfg_normalization over the last dimension.
    """
    guided = classifier_free.guide(x, unconditional, conditional, guidance)
    return x - classifier_free.with_length_of(x - conditional, x - guided)


def for_comfyui(pipeline: Lumina2Pipeline, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """See universal."""
    return universal(pipeline.transformer.config, state)
