"""The models that `bench train` measures: the bundled one, and well-known ones in true size with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..backends.architectures import HUB_IDS, build
from ..backends.diffusers import DiffusersPolicy
from ..errors import check_known
from ..rewards.host import accelerator
from ..training.assemble import build_policy, lora_settings, policy_options
from ..training.config import Config, make_table
from ..training.demo_config import demo_config

BUNDLED = "emoji"
HUB_ID = {name: hub_id for hub_id, name in HUB_IDS.items()}
SETTINGS: dict[str, dict[str, Any]] = {
    "sd15": {"guidance": 5.0, "height": 512, "width": 512},
    "sdxl": {"guidance": 5.0, "height": 1024, "width": 1024},
    "sd35_medium": {"guidance": 4.5, "height": 512, "width": 512},
    "flux_dev": {"guidance": 3.5, "height": 512, "width": 512, "max_sequence_length": 512},
    "z_image_turbo": {"height": 512, "width": 512, "max_sequence_length": 512},
}
"""As the models are trained and used; SD3.5-medium as in the paper."""
PROMPTS = ["a bear", "a frog in the rain", "a lighthouse", "two bells", "a pineapple", "a red bicycle", "a bee", "rain"]


def bench_config(
    model: str, prompts_per_iteration: int, memory_gb: float | None, options: Mapping[str, Any] | None = None
) -> Config:
    """The configuration of a model's run; `options` go into its [model] table. Raises UsageError for unknown ones.

    memory_gb: for activations; by default what the bundled model's demo takes, and 8 for the others.
    """
    check_known("--model", model, (BUNDLED, *SETTINGS))
    base = demo_config("ink")
    memory_gb = memory_gb or (base.train.memory_gb if model == BUNDLED else 8.0)
    train: dict[str, Any] = {"prompts_per_iteration": prompts_per_iteration, "memory_gb": memory_gb}
    tables = base.model_dump()
    if model != BUNDLED:
        tables["model"] = {"path": HUB_ID[model], "dtype": "bfloat16", **SETTINGS[model]}
        tables["rewards"] = [{"name": "jpeg_compressibility"}]  # its time is the same with noise as with pictures
        train["prompts"] = PROMPTS
    tables["model"] |= options or {}
    tables["train"] |= train
    return make_table(Config, **tables)


def open_bench_policy(model: str, config: Config) -> DiffusersPolicy:
    """The policy of a configuration made by bench_config; random weights but for the bundled model."""
    if model == BUNDLED:
        return build_policy(config)
    device = accelerator()
    pipeline = build(model, device, getattr(torch, config.model.dtype or "bfloat16"))
    return DiffusersPolicy(pipeline, lora_settings(config.lora), device=device, **policy_options(config.model))
