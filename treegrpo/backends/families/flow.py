"""The noise levels of flow models in diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

PATCH = 2
"""Flow transformers read latents in patches of 2 x 2."""


def flow_sigmas(
    scheduler: Any,
    steps: int,
    latent_shape: tuple[int, ...],
    patch: int = PATCH,
    levels: Sequence[float] | None = None,
) -> Tensor:
    """float32 [steps + 1], evenly spaced from 1 to 1 / steps and then shifted for the number of image tokens.

    patch: latents along each side of a token. levels: before the shift, if they are not to be evenly spaced.

    The shift's exponent is linear in the tokens (diffusers, calculate_shift of pipeline_flux.py). Made on a copy of the
    scheduler, so that the pipeline itself stays as it is.
    """
    config = scheduler.config
    tokens = latent_shape[1] * latent_shape[2] // patch**2
    first, last = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    mu = low + (tokens - first) * (high - low) / (last - first)
    return shifted_sigmas(scheduler, steps, mu, levels)


def shifted_sigmas(scheduler: Any, steps: int, mu: float, levels: Sequence[float] | None = None) -> Tensor:
    """float32 [steps + 1], as flow_sigmas, for an exponent `mu` of the shift."""
    own = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)
    levels = levels or torch.linspace(1, 1 / steps, steps, dtype=torch.float64).tolist()
    own.set_timesteps(sigmas=levels, mu=mu, device="cpu")
    return own.sigmas.float()
