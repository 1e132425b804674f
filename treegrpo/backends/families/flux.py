"""FLUX.1-dev and -schnell (diffusers' FluxPipeline); guidance is an input of the network, or none (schnell)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import FluxPipeline
from torch import Tensor

from ...method.process import Path
from .family import Conditioning
from .flow import PATCH, flow_sigmas
from .guidance import guide as guide
from .patches import from_patches, patched_shape, to_patches
from .sd3 import decode as decode
from .sd3 import file_name as file_name
from .sd3 import native_size as native_size

NAMES = "FLUX.1-dev, FLUX.1-schnell"
PATH = Path.FLOW
NETWORK = "transformer"
DISTILLED = True
BLOCKS: tuple[str, ...] = ("FluxTransformerBlock", "FluxSingleTransformerBlock")
_ATTENTION = ["attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"]
_CONTEXT_ATTENTION = ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"]
_MLP = ["ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp"]
TARGETS = {
    "attention": _ATTENTION + _CONTEXT_ATTENTION,
    "attention+mlp": _ATTENTION + _CONTEXT_ATTENTION + _MLP,
}


def sigmas(pipeline: FluxPipeline, steps: int, latent_shape: tuple[int, ...]) -> Tensor:
    """See flow_sigmas."""
    return flow_sigmas(pipeline.scheduler, steps, latent_shape)


def latent_shape(pipeline: FluxPipeline, height: int, width: int) -> tuple[int, ...]:
    """(16, H / 8, W / 8); both sides multiples of 16 pixels."""
    return patched_shape(pipeline.transformer.config.in_channels, pipeline.vae_scale_factor, height, width)


def encode(pipeline: FluxPipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(T5 token embeddings [N, L, D], pooled CLIP embeddings [N, P])."""
    words, pooled, _ = pipeline.encode_prompt(
        list(texts), device=pipeline.text_encoder.device, max_sequence_length=max_sequence_length
    )
    return words, pooled


def predict(pipeline: FluxPipeline, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float) -> Tensor:
    """x0 = x - sigma v; guidance goes into networks that were distilled for it, others do without."""
    words, pooled = conditioning
    network = pipeline.transformer
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height // PATCH), torch.arange(width // PATCH), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], -1).flatten(0, 1)
    velocity = network(
        hidden_states=to_patches(x).to(network.dtype),
        timestep=torch.full((len(x),), sigma, device=x.device),
        guidance=torch.full((len(x),), guidance, device=x.device) if network.config.guidance_embeds else None,
        encoder_hidden_states=words,
        pooled_projections=pooled,
        txt_ids=words.new_zeros(words.shape[1], 3),
        img_ids=places.to(words),
        return_dict=False,
    )[0]
    return x - sigma * from_patches(velocity.float(), height, width)
