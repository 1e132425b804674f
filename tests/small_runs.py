"""The bundled model, loaded for real, and small settings that keep a run short."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from treegrpo.backends.diffusers import DiffusersPolicy, LoraSettings
from treegrpo.backends.pipeline_file import load_pipeline
from treegrpo.bundled import EMOJI_SD3
from treegrpo.method.grow import BatchSizes
from treegrpo.training.config import Config
from treegrpo.training.config_file import parse_config

SIZES = BatchSizes(rollout=64, training=8, decode=8)
SIDE = 32
"""Pixels of pictures in short runs, half of what the bundled model was made for: its VAE takes most of the time."""


@cache
def _bundled() -> DiffusionPipeline:
    return load_pipeline(str(EMOJI_SD3), "float32")


def open_policy(**settings: Any) -> DiffusersPolicy:
    """A policy on the bundled model, read once; rank and alpha go to the adapter, all else to the policy."""
    lora = LoraSettings(rank=settings.pop("rank", 4), alpha=settings.pop("alpha", 4.0))
    pipeline = copy.deepcopy(_bundled())
    pipeline.set_progress_bar_config(disable=True)
    return DiffusersPolicy(pipeline, lora, max_sequence_length=2, **settings)


def scramble(policy: DiffusersPolicy, scale: float = 0.05, seed: int = 0) -> None:
    """Give the adapter weights that change the pictures (a fresh adapter changes nothing)."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.parameters():
        parameter.data = scale * torch.randn(parameter.shape, generator=generator)


def small_config(folder: Path, **train: Any) -> Config:
    """A run of seconds: two prompts, four leaves each, four denoising steps."""
    prompts = folder / "prompts.txt"
    prompts.write_text("bear\nfrog\nbell\n")
    return parse_config(
        {
            "model": {"path": str(EMOJI_SD3), "max_sequence_length": 2, "height": SIDE, "width": SIDE},
            "lora": {"rank": 2, "alpha": 4},
            "plan": {"steps": 4, "branch": 2, "depth": 2},
            "rewards": [{"name": "jpeg_compressibility"}],
            "update": {"learning_rate": 1e-3, "ema": 0.5},
            "train": {
                "prompts": str(prompts),
                "iterations": 4,
                "prompts_per_iteration": 2,
                "trees_every": 2,
                **train,
            },
        },
        "test",
    )
