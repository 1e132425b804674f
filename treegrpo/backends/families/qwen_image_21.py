"""Qwen-Image 2.1 (diffusers' QwenImage21Pipeline)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from diffusers import QwenImage21Pipeline
from torch import Tensor

from ...method.process import Path
from . import qwen_image
from .family import Conditioning
from .flow import flow_sigmas
from .guidance import guide as guide
from .masked_words import MasksFollow, masked_words, with_numbers
from .sd3 import file_name as file_name
from .sides import check_sides

NAMES = "Qwen-Image 2.1"
PATH = Path.FLOW
NETWORK = "transformer"
DISTILLED = False
BLOCKS: tuple[str, ...] = ("QwenImage21TransformerBlock",)
_ATTENTION = ["attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"]
_MLP = ["img_mlp.proj", "img_mlp.gate_layer", "img_mlp.out"]
TARGETS = {"attention": _ATTENTION, "attention+mlp": _ATTENTION + _MLP}
CALLS_VARY = "for every length of prompts"
SLOT = 2
"""The text encoder's place for an image token stands for 2 x 2 latents."""


def sigmas(pipeline: QwenImage21Pipeline, steps: int, latent_shape: tuple[int, ...]) -> Tensor:
    """See flow_sigmas; of the author's own levels, where the pipeline has as many as there are steps."""
    given = pipeline.config.sample_sigmas
    levels = given if given and len(given) == steps else None
    return flow_sigmas(pipeline.scheduler, steps, latent_shape, patch=1, levels=levels)


def latent_shape(pipeline: QwenImage21Pipeline, height: int, width: int) -> tuple[int, ...]:
    """(64, H / 16, W / 16); both sides multiples of 32 pixels."""
    scale = pipeline.vae_scale_factor
    check_sides(scale * SLOT, height, width)
    return (pipeline.transformer.config.in_channels, height // scale, width // scale)


def native_size(pipeline: QwenImage21Pipeline) -> int:
    """The side in pixels that the pipeline draws by default."""
    return 1024


@masked_words
def encode(pipeline: QwenImage21Pipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(token embeddings [N, L, D], a mask of as many), cut at L = max_sequence_length; of texts of one length."""
    words, _, _ = pipeline.encode_prompt(list(texts), device=pipeline.text_encoder.device)
    words = words[:, :max_sequence_length]
    return words, torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)


def predict(
    pipeline: QwenImage21Pipeline, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float
) -> Tensor:
    """x0 = x - sigma v, for texts without padding.

    The place of the picture in the rotary embedding is behind the last token, whether that is a word or padding: so
    what is predicted for a prompt would depend on the longest of its company.
    """
    words, _ = conditioning
    network = pipeline.transformer
    height, width = x.shape[2:]
    length = words.shape[1] + height * width // SLOT**2
    slots = with_numbers(torch.ones(len(x), length, dtype=torch.bool, device=x.device))
    slots[:, : words.shape[1]] = False
    with MasksFollow() if x.is_meta else nullcontext():
        output = network(
            hidden_states=x.flatten(2).transpose(1, 2).to(network.dtype),
            timestep=torch.full((len(x),), sigma, device=x.device),
            encoder_hidden_states=words,
            img_shapes=[[(1, height, width)]] * len(x),
            img_mask=slots,
            return_dict=False,
        )[0]
    return x - sigma * output[:, -height * width :].transpose(1, 2).reshape(x.shape).float()


def decode(pipeline: QwenImage21Pipeline, latents: Tensor) -> Tensor:
    """Images float32 [N, H, W, 3] in 0..1; transparent ones over white, as the pipeline shows them to its encoder."""
    images = qwen_image.decode(pipeline, latents)
    colours, alpha = images[..., :3], images[..., 3:]
    return colours * alpha + (1 - alpha) if alpha.numel() else colours
