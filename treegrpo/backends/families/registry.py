"""Which families there are."""

from __future__ import annotations

from . import (
    chroma,
    flux,
    flux2,
    flux2_klein,
    lumina2,
    pixart,
    qwen_image,
    qwen_image_21,
    qwen_image_edit,
    sana,
    sd3,
    sdxl,
    stable_diffusion,
    z_image,
)
from .family import Family

FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": stable_diffusion,
    "StableDiffusionXLPipeline": sdxl,
    "StableDiffusion3Pipeline": sd3,
    "FluxPipeline": flux,
    "QwenImagePipeline": qwen_image,
    "QwenImage21Pipeline": qwen_image_21,
    "QwenImageEditPlusPipeline": qwen_image_edit,
    "Lumina2Pipeline": lumina2,
    "SanaPipeline": sana,
    "PixArtAlphaPipeline": pixart,
    "PixArtSigmaPipeline": pixart,
    "ZImagePipeline": z_image,
    "Flux2Pipeline": flux2,
    "Flux2KleinPipeline": flux2_klein,
    "ChromaPipeline": chroma,
}
"""The names of diffusers' pipelines, as in their model_index.json -> what is done with them here."""
