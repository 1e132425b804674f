"""One tiny model of every family that the policy must train, with prompts that it understands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.comfyui import checkpoints
from treegrpo.backends.comfy.adapters import AdapterSettings
from treegrpo.backends.comfy.policy import ComfyPolicy, Prompts

WIDTHS = {"sd3": 64, "flux": 64, "sd15": 768, "sd15_v": 768}
FAMILIES = tuple(WIDTHS)
SIDE = 64
SIDES = dict.fromkeys(FAMILIES, SIDE) | {"sd15": 32, "sd15_v": 32}
"""Of pictures; U-Nets have 320 channels or ComfyUI does not know them, and are slow."""


def open_model(family: str, folder: Path, dtype: torch.dtype | None = None) -> tuple[Any, Any]:
    """(MODEL, VAE) of a family."""
    make: Callable[..., Path] = getattr(checkpoints, family.removesuffix("_v"))
    model, _, vae = checkpoints.load(make(folder), dtype)
    return (checkpoints.as_v_prediction(model) if family.endswith("_v") else model), vae


def prompts(family: str, count: int = 2) -> Prompts:
    """`count` prompts, and a negative one."""
    made = [checkpoints.conditioning(seed, width=WIDTHS[family]) for seed in range(count + 1)]
    return Prompts({f"prompt {i}": made[i] for i in range(count)}, made[-1])


def open_policy(model: Any, vae: Any, family: str, **settings: Any) -> ComfyPolicy:
    """A policy with an adapter of rank 2 that is not zero, so that it changes what the model predicts."""
    adapter = AdapterSettings(rank=2, alpha=4.0, **settings.pop("adapter", {}))
    given = settings.pop("prompts", None) or prompts(family)
    policy = ComfyPolicy(
        model, vae, given, adapter, height=SIDES[family], width=SIDES[family], scheduler="simple", **settings
    )
    generator = torch.Generator().manual_seed(1)
    for weight in policy.parameters():
        weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    return policy
