"""Chroma (diffusers' ChromaPipeline)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from diffusers import ChromaPipeline
from torch import Tensor

from ...method.process import Path
from ..temporarily import temporarily
from .family import Conditioning
from .flow import PATCH
from .flux import TARGETS as TARGETS
from .flux import latent_shape as latent_shape
from .flux import sigmas as sigmas
from .guidance import guide as guide
from .masked_words import masked_words
from .patches import from_patches, to_patches
from .sd3 import decode as decode
from .sd3 import file_name as file_name
from .sd3 import native_size as native_size

NAMES = "Chroma1"
PATH = Path.FLOW
NETWORK = "transformer"
DISTILLED = False
SINGLE = "ChromaSingleTransformerBlock"
BLOCKS: tuple[str, ...] = ("ChromaTransformerBlock", SINGLE)


@masked_words
def encode(pipeline: ChromaPipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(T5 token embeddings [N, L, D], which of them are words or the first padding: bool [N, L])."""
    words, _, mask, *_ = pipeline.encode_prompt(
        list(texts),
        do_classifier_free_guidance=False,
        device=pipeline.text_encoder.device,
        max_sequence_length=max_sequence_length,
    )
    return words, mask.bool()


def predict(pipeline: ChromaPipeline, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float) -> Tensor:
    """x0 = x - sigma v.

    The mask is one of numbers, as in the pipeline: attention adds them, so that padding weighs less by a factor of e.
    """
    words, mask = conditioning
    network = pipeline.transformer
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height // PATCH), torch.arange(width // PATCH), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], -1).flatten(0, 1)
    seen = torch.cat([mask.to(words), words.new_ones(len(x), len(places))], 1)
    again = network._gradient_checkpointing_func if network.gradient_checkpointing else None
    with temporarily(network, _gradient_checkpointing_func=partial(_again_with_mask, again, seen)):
        velocity = network(
            hidden_states=to_patches(x).to(network.dtype),
            timestep=torch.full((len(x),), sigma, device=x.device),
            encoder_hidden_states=words,
            txt_ids=words.new_zeros(words.shape[1], 3),
            img_ids=places.to(words),
            attention_mask=seen,
            return_dict=False,
        )[0]
    return x - sigma * from_patches(velocity.float(), height, width)


def _again_with_mask(again: Any, mask: Tensor, block: Any, *given: Any) -> Any:
    """A block that is computed again in the backward pass; diffusers forgets the mask of single blocks there."""
    return again(block, *given, mask) if type(block).__name__ == SINGLE else again(block, *given)
