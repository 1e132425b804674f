"""Stable Diffusion 1 and 2 (diffusers' StableDiffusionPipeline), eps- and v-prediction."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import StableDiffusionPipeline
from torch import Tensor

from ...method.process import Path
from . import unet
from .family import Conditioning
from .guidance import guide as guide
from .unet import BLOCKS as BLOCKS
from .unet import TARGETS as TARGETS
from .unet import decode as decode
from .unet import file_name as file_name
from .unet import latent_shape as latent_shape
from .unet import native_size as native_size
from .unet import sigmas as sigmas

NAMES = "Stable Diffusion 1.x and 2.x"
PATH = Path.VE
NETWORK = "unet"
DISTILLED = False


def encode(pipeline: StableDiffusionPipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(token embeddings [N, 77, D],); CLIP always reads 77 tokens."""
    words, _ = pipeline.encode_prompt(
        list(texts), device=pipeline.text_encoder.device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return (words,)


def predict(
    pipeline: StableDiffusionPipeline, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float
) -> Tensor:
    """See unet.predict."""
    return unet.predict(pipeline, x, sigma, *conditioning)
