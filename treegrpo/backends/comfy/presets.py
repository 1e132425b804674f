"""Settings that suit a model, from its family and the name of its file.

They lean on ComfyUI's official templates (steps of few-step models, cfg, schedulers) and on published runs of such
methods (rank, learning rate, fewer steps than for drawing); docs/configuration.md says which were measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management as management

from ...memory.batch_sizes import DEFAULT_GB

FEW_STEPS = re.compile(r"turbo|lightning|lcm|dmd|hyper|schnell|distill|klein(?!.*base)", re.IGNORECASE)
"""In the names of files whose models draw in a few steps, without a negative prompt."""
SHARE, APART = 0.7, 1.0
"""Of a card's memory beside the model, what activations may take, after so many GiB for all else."""


@dataclass(frozen=True)
class Preset:
    """name: the family's. guidance: ComfyUI's cfg. side: of the pictures, in pixels. few: steps of few-step models."""

    name: str
    steps: int = 12
    guidance: float = 4.0
    scheduler: str = "simple"
    side: int = 512
    rank: int = 32
    learning_rate: float = 3e-4
    few: int = 4


_of_a_unet = partial(Preset, guidance=5.0, scheduler="normal", rank=16)
FAMILIES = {
    "SD15": _of_a_unet("Stable Diffusion 1"),
    "SD20": _of_a_unet("Stable Diffusion 2"),
    "SDXL": _of_a_unet("SDXL", side=768, learning_rate=1e-4),
    "SD3": Preset("Stable Diffusion 3", steps=10, guidance=4.5),
    "Flux": Preset("FLUX.1", steps=8, guidance=1.0),
    "Flux2": Preset("FLUX.2", guidance=5.0),
    "QwenImage": Preset("Qwen-Image"),
    "ZImage": Preset("Z-Image", few=8),
    "Krea2": Preset("Krea 2", few=8),
    "Anima": Preset("Anima", few=8),
    "Lumina2": Preset("Lumina 2"),
    "Chroma": Preset("Chroma", guidance=3.5),
    "HiDream": Preset("HiDream", guidance=5.0, few=16),
    "Omnigen2": Preset("OmniGen 2", guidance=5.0),
    "ErnieImage": Preset("ERNIE-Image", few=8),
    "HunyuanImage21": Preset("Hunyuan-Image 2.1", guidance=3.5, few=8),
}
"""By ComfyUI's classes of families; a class without an entry has that of the class it is made from."""


def preset_of(model: Any) -> Preset:
    """The settings that suit a ComfyUI MODEL."""
    config = model.model.model_config
    kinds = [kind.__name__ for kind in type(config).__mro__]
    found = next((FAMILIES[kind] for kind in kinds if kind in FAMILIES), Preset(kinds[0]))
    settings = config.unet_config
    if settings.get("guidance_embed"):  # the network itself is told the guidance, by FluxGuidance
        found = replace(found, guidance=1.0)
    if kinds[0] == "FluxSchnell" or settings.get("meanflow") or FEW_STEPS.search(file_name(model)):
        found = replace(found, name=f"{found.name}, few steps", steps=found.few, guidance=1.0)
    return found


def file_name(model: Any) -> str:
    """The name of the file that a MODEL was loaded from, or "" where ComfyUI does not say."""
    _, given, *_ = model.cached_patcher_init or (None, ())
    return next((Path(each).name for each in given if isinstance(each, str)), "")


def memory_gb(model: Any) -> float:
    """GiB that activations may take beside this model."""
    if management.is_device_cpu(model.load_device):
        return DEFAULT_GB
    free = (management.get_total_memory(model.load_device) - model.model_size()) / 2**30
    return max(SHARE * (free - APART), DEFAULT_GB / 4)
