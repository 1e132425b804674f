"""Which families there are."""

from __future__ import annotations

from . import flux, qwen_image, sd3, sdxl, stable_diffusion
from .family import Family

FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": stable_diffusion,
    "StableDiffusionXLPipeline": sdxl,
    "StableDiffusion3Pipeline": sd3,
    "FluxPipeline": flux,
    "QwenImagePipeline": qwen_image,
}
"""The names of diffusers' pipelines, as in their model_index.json -> what is done with them here."""
