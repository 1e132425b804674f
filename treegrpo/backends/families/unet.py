"""What the U-Nets of Stable Diffusion 1, 2 and XL have in common: eps- and v-prediction in k-diffusion's terms."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from ...errors import UsageError
from .pixels import to_images
from .sides import check_sides

BLOCKS: tuple[str, ...] = ("BasicTransformerBlock",)
_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TARGETS = {"attention": _ATTENTION, "attention+mlp": [*_ATTENTION, "ff.net.0.proj", "ff.net.2"]}
KOHYA = {"A.weight": "lora_down.weight", "B.weight": "lora_up.weight"}
"""What peft calls the two factors of a LoRA, after its "lora_" -> their names in the files of kohya's trainer."""


def sigmas(pipeline: Any, steps: int, latent_shape: tuple[int, ...]) -> Tensor:
    """float32 [steps + 1]: the levels of diffusers' EulerDiscreteScheduler with the model's own settings."""
    scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(steps, device="cpu")
    return scheduler.sigmas.float()


def latent_shape(pipeline: Any, height: int, width: int) -> tuple[int, ...]:
    """(C, H / 8, W / 8) for a VAE that scales by 8. Raises UsageError for a size that leaves part of a latent."""
    factor = pipeline.vae_scale_factor
    check_sides(factor, height, width)
    return (pipeline.unet.config.in_channels, height // factor, width // factor)


def native_size(pipeline: Any) -> int:
    """The side in pixels that the U-Net was trained for."""
    return pipeline.unet.config.sample_size * pipeline.vae_scale_factor


def timestep(pipeline: Any, sigma: float) -> float:
    """The training step, a fraction, whose noise level is sigma; between steps log sigma is taken as linear."""
    kept = pipeline.scheduler.alphas_cumprod.double().cpu().numpy()
    levels = np.log((1 - kept) / kept) / 2
    return float(np.interp(log(sigma), levels, np.arange(len(levels))))


def predict(pipeline: Any, x: Tensor, sigma: float, words: Tensor, **added: Any) -> Tensor:
    """x0 from states x = x0 + sigma eps, see denoised."""
    network = pipeline.unet
    output = network(
        (x / scale(sigma)).to(network.dtype),
        torch.full((len(x),), timestep(pipeline, sigma), device=x.device),
        encoder_hidden_states=words,
        return_dict=False,
        **added,
    )[0]
    return denoised(pipeline, x, sigma, output.float())


def scale(sigma: float) -> float:
    """What networks read is x over this, which has the variance that they were trained with."""
    return (1 + sigma**2) ** 0.5


def denoised(pipeline: Any, x: Tensor, sigma: float, output: Tensor) -> Tensor:
    """x0 from what a network says of states x = x0 + sigma eps.

    Karras et al., arXiv 2206.00364, table 1; of v: arXiv 2202.00512, appendix D.
    """
    kind = pipeline.scheduler.config.prediction_type
    if kind == "epsilon":
        return x - sigma * output
    if kind == "v_prediction":
        return x / scale(sigma) ** 2 - sigma / scale(sigma) * output
    raise UsageError(f'model.path: prediction_type "{kind}" is not supported; choose epsilon or v_prediction.')


def decode(pipeline: Any, latents: Tensor) -> Tensor:
    """Images float32 [N, H, W, 3] in 0..1; with the mean and spread of the latents where the VAE has any."""
    vae = pipeline.vae
    raw = latents / vae.config.scaling_factor
    mean, std = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if mean is not None and std is not None:
        raw = raw * raw.new_tensor(std).view(1, -1, 1, 1) + raw.new_tensor(mean).view(1, -1, 1, 1)
    return to_images(vae.decode(raw.to(vae.dtype), return_dict=False)[0])


def file_name(weight: str) -> str:
    """kohya's name, lora_unet_<module with _>.lora_down.weight: of diffusers' own ComfyUI would drop the attention."""
    module, part = weight.split(".lora_")
    return f"lora_unet_{module.replace('.', '_')}.{KOHYA[part]}"
