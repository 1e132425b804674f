"""Qwen-Image (diffusers' QwenImagePipeline)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import QwenImagePipeline
from torch import Tensor

from ...method.process import Path
from . import guidance as classifier_free
from .family import Conditioning
from .flow import PATCH, flow_sigmas
from .masked_words import masked_words
from .patches import from_patches, patched_shape, to_patches
from .pixels import to_images
from .sd3 import file_name as file_name
from .sd3 import native_size as native_size

NAMES = "Qwen-Image, Qwen-Image-2512"
PATH = Path.FLOW
NETWORK = "transformer"
DISTILLED = False
BLOCKS: tuple[str, ...] = ("QwenImageTransformerBlock",)
_ATTENTION = ["attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"]
_CONTEXT_ATTENTION = ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"]
_MLP = ["img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2"]
TARGETS = {
    "attention": _ATTENTION + _CONTEXT_ATTENTION,
    "attention+mlp": _ATTENTION + _CONTEXT_ATTENTION + _MLP,
}


def sigmas(pipeline: QwenImagePipeline, steps: int, latent_shape: tuple[int, ...]) -> Tensor:
    """See flow_sigmas."""
    return flow_sigmas(pipeline.scheduler, steps, latent_shape)


def latent_shape(pipeline: QwenImagePipeline, height: int, width: int) -> tuple[int, ...]:
    """(16, H / 8, W / 8); both sides multiples of 16 pixels."""
    return patched_shape(pipeline.transformer.config.in_channels, pipeline.vae_scale_factor, height, width)


@masked_words
def encode(pipeline: QwenImagePipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(token embeddings [N, L, D], which of them are words: bool [N, L]), all padded to L = max_sequence_length."""
    words, mask = pipeline.encode_prompt(
        list(texts), device=pipeline.text_encoder.device, max_sequence_length=max_sequence_length
    )
    return padded(words, mask, max_sequence_length)


def padded(words: Tensor, mask: Tensor | None, length: int) -> Conditioning:
    """(token embeddings [N, length, D], which of them are words: bool [N, length]), from fewer or more tokens."""
    if mask is None:
        mask = torch.ones(words.shape[:2], device=words.device)
    missing = length - words.shape[1]
    return torch.nn.functional.pad(words, (0, 0, 0, missing)), torch.nn.functional.pad(mask.bool(), (0, missing))


def predict(
    pipeline: QwenImagePipeline, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float
) -> Tensor:
    """x0 = x - sigma v; behind the state, the network reads the pictures that are changed, if there are any."""
    words, mask, *pictures = conditioning
    network = pipeline.transformer
    seen = [x, *pictures]
    rows = [to_patches(each) for each in seen]
    velocity = network(
        hidden_states=torch.cat(rows, 1).to(network.dtype),
        timestep=torch.full((len(x),), sigma, device=x.device),
        encoder_hidden_states=words,
        encoder_hidden_states_mask=mask,
        img_shapes=[[(1, each.shape[2] // PATCH, each.shape[3] // PATCH) for each in seen]] * len(x),
        return_dict=False,
    )[0]
    return x - sigma * from_patches(velocity[:, : rows[0].shape[1]].float(), *x.shape[2:])


def guide(x: Tensor, unconditional: Tensor, conditional: Tensor, guidance: float) -> Tensor:
    """Guidance that keeps the length of the conditional velocity in every patch (diffusers, pipeline_qwenimage.py)."""
    guided = classifier_free.guide(x, unconditional, conditional, guidance)
    change = classifier_free.with_length_of(to_patches(x - conditional), to_patches(x - guided))
    return x - from_patches(change, *x.shape[2:])


def decode(pipeline: QwenImagePipeline, latents: Tensor) -> Tensor:
    """Images float32 [N, H, W, 3] in 0..1; the VAE is one of videos and decodes a single frame."""
    vae = pipeline.vae
    mean, std = statistics(vae, latents)
    raw = (latents * std + mean).unsqueeze(2)
    return to_images(vae.decode(raw.to(vae.dtype), return_dict=False)[0][:, :, 0])


def statistics(vae: Any, latents: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation [1, C, 1, 1] of what the VAE encodes, where the latents are."""
    mean, std = (latents.new_tensor(numbers) for numbers in (vae.config.latents_mean, vae.config.latents_std))
    return mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)
