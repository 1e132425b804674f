"""FLUX.2-dev (diffusers' Flux2Pipeline); guidance is an input of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from torch import Tensor

from ...method.process import Path
from .family import Conditioning
from .flow import PATCH, shifted_sigmas
from .guidance import guide as guide
from .pixels import to_images
from .sd3 import file_name as file_name
from .sd3 import native_size as native_size
from .sides import check_sides

NAMES = "FLUX.2-dev"
PATH = Path.FLOW
NETWORK = "transformer"
DISTILLED = True
BLOCKS: tuple[str, ...] = ("Flux2TransformerBlock", "Flux2SingleTransformerBlock")
_ATTENTION = ["attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.to_qkv_mlp_proj"]
"""Single blocks read q, k, v and the MLP from one layer. What they write is not trained, as in FLUX.1: the name of that
layer ends as that of a list in the other blocks.
"""
_CONTEXT_ATTENTION = ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"]
_MLP = ["ff.linear_in", "ff.linear_out", "ff_context.linear_in", "ff_context.linear_out"]
TARGETS = {
    "attention": _ATTENTION + _CONTEXT_ATTENTION,
    "attention+mlp": _ATTENTION + _CONTEXT_ATTENTION + _MLP,
}


def sigmas(pipeline: Any, steps: int, latent_shape: tuple[int, ...]) -> Tensor:
    """float32 [steps + 1]; the shift is fitted to tokens and steps (diffusers, compute_empirical_mu)."""
    mu = compute_empirical_mu(latent_shape[1] * latent_shape[2], steps)
    return shifted_sigmas(pipeline.scheduler, steps, mu)


def latent_shape(pipeline: Any, height: int, width: int) -> tuple[int, ...]:
    """(128, H / 16, W / 16): patches of 2 x 2 of the VAE's latents lie in the channels."""
    scale = pipeline.vae_scale_factor * PATCH
    check_sides(scale, height, width)
    return (pipeline.transformer.config.in_channels, height // scale, width // scale)


def encode(pipeline: Any, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(token embeddings [N, L, D],), of three layers of the text encoder beside each other.

    The network reads padding as well. On `meta` text encoders cannot run with a mask, since they look at its numbers.
    """
    encoder = pipeline.text_encoder
    if encoder.device.type == "meta":
        shape = (len(texts), max_sequence_length, pipeline.transformer.config.joint_attention_dim)
        return (torch.empty(shape, dtype=encoder.dtype, device="meta"),)
    words, _ = pipeline.encode_prompt(list(texts), device=encoder.device, max_sequence_length=max_sequence_length)
    return (words,)


def predict(pipeline: Any, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float) -> Tensor:
    """x0 = x - sigma v; guidance goes into networks that were distilled for it, others do without."""
    (words,) = conditioning
    network = pipeline.transformer
    velocity = network(
        hidden_states=x.flatten(2).transpose(1, 2).to(network.dtype),
        timestep=torch.full((len(x),), sigma, device=x.device),
        guidance=torch.full((len(x),), guidance, device=x.device) if network.config.guidance_embeds else None,
        encoder_hidden_states=words,
        txt_ids=pipeline._prepare_text_ids(words[:1]).to(x.device),
        img_ids=pipeline._prepare_latent_ids(x[:1]).to(x.device),
        return_dict=False,
    )[0]
    return x - sigma * velocity.float().transpose(1, 2).reshape(x.shape)


def decode(pipeline: Any, latents: Tensor) -> Tensor:
    """Images float32 [N, H, W, 3] in 0..1; the VAE's batch norm has the mean and variance of every channel."""
    vae = pipeline.vae
    mean, variance = (numbers.to(latents).view(1, -1, 1, 1) for numbers in (vae.bn.running_mean, vae.bn.running_var))
    raw = pipeline._unpatchify_latents(latents * (variance + vae.config.batch_norm_eps).sqrt() + mean)
    return to_images(vae.decode(raw.to(vae.dtype), return_dict=False)[0])
