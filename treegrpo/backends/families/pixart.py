"""PixArt-alpha and PixArt-Sigma (diffusers' PixArtAlphaPipeline and PixArtSigmaPipeline)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.utils import is_bs4_available, is_ftfy_available
from torch import Tensor

from ...method.process import Path
from . import unet
from .family import Conditioning
from .guidance import guide as guide
from .masked_words import encoded_words, masked_words
from .schedule import own_sigmas
from .sd3 import file_name as file_name
from .sd3 import latent_shape as latent_shape
from .unet import BLOCKS as BLOCKS
from .unet import TARGETS as TARGETS
from .unet import decode as decode

NAMES = "PixArt-alpha, PixArt-Sigma"
PATH = Path.VE
NETWORK = "transformer"
DISTILLED = False


def sigmas(pipeline: Any, steps: int, latent_shape: tuple[int, ...]) -> Tensor:
    """float32 [steps + 1]: the levels of DPM-Solver++, which these models come with, or else of Euler's method."""
    if isinstance(pipeline.scheduler, DPMSolverMultistepScheduler):
        return own_sigmas(pipeline.scheduler, steps)
    return unet.sigmas(pipeline, steps, latent_shape)


def native_size(pipeline: Any) -> int:
    """The side in pixels that the network was trained for."""
    return pipeline.transformer.config.sample_size * pipeline.vae_scale_factor


@masked_words
def encode(pipeline: Any, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(T5 token embeddings [N, L, D], which of them are words: bool [N, L]).

    diffusers cleans captions by default; without the two packages for that it goes on after a warning each time.
    """
    cleaned = is_bs4_available() and is_ftfy_available()
    return encoded_words(pipeline, texts, max_sequence_length, clean_caption=cleaned)


def predict(pipeline: Any, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float) -> Tensor:
    """See unet.denoised; of the channels that are predicted, the second half is a variance, which nothing here uses.

    Networks of 1024 pixels of PixArt-alpha are told the size of the picture, too.
    """
    words, mask = conditioning
    network = pipeline.transformer
    height, width = (side * pipeline.vae_scale_factor for side in x.shape[2:])
    sizes = {"resolution": words.new_tensor([height, width]), "aspect_ratio": words.new_tensor([height / width])}
    output = network(
        (x / unet.scale(sigma)).to(network.dtype),
        encoder_hidden_states=words,
        encoder_attention_mask=mask,
        timestep=torch.full((len(x),), unet.timestep(pipeline, sigma), device=x.device),
        added_cond_kwargs={name: numbers.expand(len(x), -1) for name, numbers in sizes.items()},
        return_dict=False,
    )[0]
    return unet.denoised(pipeline, x, sigma, output[:, : x.shape[1]].float())
