"""Stable Diffusion XL (diffusers' StableDiffusionXLPipeline)."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import StableDiffusionXLPipeline
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

NAMES = "Stable Diffusion XL"
PATH = Path.VE
NETWORK = "unet"
DISTILLED = False


def encode(pipeline: StableDiffusionXLPipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(token embeddings [N, 77, D], pooled embeddings [N, P])."""
    words, _, pooled, _ = pipeline.encode_prompt(
        list(texts), device=pipeline.text_encoder.device, do_classifier_free_guidance=False
    )
    return words, pooled


def predict(
    pipeline: StableDiffusionXLPipeline, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float
) -> Tensor:
    """See unet.predict. The network is told the size of the picture, and that nothing was cropped away."""
    words, pooled = conditioning
    height, width = (side * pipeline.vae_scale_factor for side in x.shape[2:])
    sizes = pooled.new_tensor([height, width, 0, 0, height, width]).expand(len(x), -1)
    return unet.predict(pipeline, x, sigma, words, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes})
