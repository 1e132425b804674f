"""Stable Diffusion 3 and 3.5 (diffusers' StableDiffusion3Pipeline)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from torch import Tensor

from ...method.process import Path
from .family import Conditioning
from .flow import flow_sigmas
from .guidance import guide as guide
from .pixels import to_images
from .sides import check_sides

NAMES = "Stable Diffusion 3 and 3.5"
PATH = Path.FLOW
NETWORK = "transformer"
DISTILLED = False
BLOCKS: tuple[str, ...] = ("JointTransformerBlock",)
_ATTENTION = ["attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"]
_SECOND_ATTENTION = ["attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"]
"""In the first blocks of 3.5 medium only."""
_CONTEXT_ATTENTION = ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"]
_MLP = ["ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"]
TARGETS = {
    "attention": _ATTENTION + _SECOND_ATTENTION + _CONTEXT_ATTENTION,
    "attention+mlp": _ATTENTION + _SECOND_ATTENTION + _CONTEXT_ATTENTION + _MLP,
}


def sigmas(pipeline: StableDiffusion3Pipeline, steps: int, latent_shape: tuple[int, ...]) -> Tensor:
    """float32 [steps + 1]; on a copy of the scheduler, so that the pipeline itself stays as it is."""
    if pipeline.scheduler.config.get("use_dynamic_shifting"):
        return flow_sigmas(pipeline.scheduler, steps, latent_shape)
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(steps, device="cpu")
    return scheduler.sigmas.float()


def latent_shape(pipeline: StableDiffusion3Pipeline, height: int, width: int) -> tuple[int, ...]:
    """(C, H / 8, W / 8) for a VAE that scales by 8. Raises UsageError for a size that leaves half a patch."""
    scale = pipeline.vae_scale_factor
    check_sides(scale * pipeline.transformer.config.patch_size, height, width)
    return (pipeline.transformer.config.in_channels, height // scale, width // scale)


def native_size(pipeline: StableDiffusion3Pipeline) -> int:
    """The side in pixels that the pipeline draws by default."""
    return pipeline.default_sample_size * pipeline.vae_scale_factor


def encode(pipeline: StableDiffusion3Pipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(token embeddings [N, L, D], pooled embeddings [N, P])."""
    words, _, pooled, _ = pipeline.encode_prompt(
        prompt=list(texts),
        prompt_2=None,
        prompt_3=None,
        do_classifier_free_guidance=False,
        device=pipeline.text_encoder.device,
        max_sequence_length=max_sequence_length,
    )
    return words, pooled


def predict(
    pipeline: StableDiffusion3Pipeline, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float
) -> Tensor:
    """x0 = x - sigma v; the network itself runs in its own dtype, all else in float32."""
    words, pooled = conditioning
    network = pipeline.transformer
    timesteps = pipeline.scheduler.config.num_train_timesteps
    velocity = network(
        hidden_states=x.to(network.dtype),
        timestep=torch.full((len(x),), sigma * timesteps, device=x.device),
        encoder_hidden_states=words,
        pooled_projections=pooled,
        return_dict=False,
    )[0]
    return x - sigma * velocity.float()


def decode(pipeline: StableDiffusion3Pipeline, latents: Tensor) -> Tensor:
    """Images float32 [N, H, W, 3] in 0..1."""
    vae = pipeline.vae
    raw = latents / vae.config.scaling_factor + vae.config.shift_factor
    return to_images(vae.decode(raw.to(vae.dtype), return_dict=False)[0])


def file_name(weight: str) -> str:
    """diffusers' own name; ComfyUI knows it and adds each of q, k and v to its part of the fused weight."""
    return f"transformer.{weight}"
