"""Sana 1.0 and 1.5 (diffusers' SanaPipeline)."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature

import torch
from diffusers import SanaPipeline
from torch import Tensor

from ...method.process import Path
from .family import Conditioning
from .guidance import guide as guide
from .masked_words import encoded_words, masked_words
from .pixart import native_size as native_size
from .schedule import own_sigmas
from .sd3 import file_name as file_name
from .sd3 import latent_shape as latent_shape
from .unet import decode as decode

NAMES = "Sana 1.0 and 1.5"
PATH = Path.FLOW
NETWORK = "transformer"
DISTILLED = False
BLOCKS: tuple[str, ...] = ("SanaTransformerBlock",)
_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TARGETS = {"attention": _ATTENTION, "attention+mlp": [*_ATTENTION, "ff.conv_inverted", "ff.conv_point"]}


def sigmas(pipeline: SanaPipeline, steps: int, latent_shape: tuple[int, ...]) -> Tensor:
    """See own_sigmas; they come from DPM-Solver's flow sigmas, and begin a little below 1."""
    return own_sigmas(pipeline.scheduler, steps)


@masked_words
def encode(pipeline: SanaPipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(token embeddings [N, L, D], which of them are words: bool [N, L]).

    The encoder reads prompts behind an instruction to make them richer, of which the first and last token are kept.
    """
    instruction = signature(pipeline.__call__).parameters["complex_human_instruction"].default
    return encoded_words(pipeline, texts, max_sequence_length, complex_human_instruction=instruction)


@masked_words
def encode_negative(pipeline: SanaPipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """As encode, of texts as they are, without an instruction."""
    _, _, words, mask = pipeline.encode_prompt(
        list(texts),
        negative_prompt=list(texts),
        device=pipeline.text_encoder.device,
        max_sequence_length=max_sequence_length,
    )
    return words, mask.bool()


def predict(pipeline: SanaPipeline, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float) -> Tensor:
    """x0 = x - sigma v; of networks that predict a variance as well, v is the first half."""
    words, mask = conditioning
    network = pipeline.transformer
    time = sigma * pipeline.scheduler.config.num_train_timesteps * network.config.timestep_scale
    output = network(
        x.to(network.dtype),
        encoder_hidden_states=words.to(network.dtype),
        encoder_attention_mask=mask,
        timestep=torch.full((len(x),), time, device=x.device),
        return_dict=False,
    )[0]
    return x - sigma * output[:, : x.shape[1]].float()
