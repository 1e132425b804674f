"""Qwen-Image-Edit since its second edition (diffusers' QwenImageEditPlusPipeline)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import QwenImageEditPlusPipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as stock
from torch import Tensor

from ...errors import UsageError
from ...pictures.image_file import to_pil
from ...pictures.instruction import reference_of
from .family import Conditioning
from .masked_words import masked_words
from .qwen_image import BLOCKS as BLOCKS
from .qwen_image import DISTILLED as DISTILLED
from .qwen_image import NETWORK as NETWORK
from .qwen_image import PATH as PATH
from .qwen_image import TARGETS as TARGETS
from .qwen_image import decode as decode
from .qwen_image import file_name as file_name
from .qwen_image import guide as guide
from .qwen_image import latent_shape as latent_shape
from .qwen_image import native_size as native_size
from .qwen_image import padded, statistics
from .qwen_image import predict as predict
from .qwen_image import sigmas as sigmas

NAMES = "Qwen-Image-Edit-2509, -2511"
CALLS_VARY = "for every shape of the pictures that prompts change"


@masked_words
def encode(pipeline: QwenImageEditPlusPipeline, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
    """(token embeddings [N, L, D], which of them are words: bool [N, L]), all padded to L = max_sequence_length.

    A small copy of the picture that a text changes is read with it, and takes some 190 tokens. Raises UsageError for
    texts that take more than L with it.
    """
    columns = zip(*(_encoded(pipeline, text, max_sequence_length) for text in texts), strict=True)
    return tuple(torch.cat(column) for column in columns)


def _encoded(pipeline: QwenImageEditPlusPipeline, text: str, length: int) -> Conditioning:
    reference = reference_of(text)
    assert reference is not None, "the policy has asked for pictures"
    picture = to_pil(reference)
    width, height = stock.calculate_dimensions(stock.CONDITION_IMAGE_SIZE, picture.width / picture.height)
    small = pipeline.image_processor.resize(picture, height, width)
    words, mask = pipeline.encode_prompt([str(text)], [small], device=pipeline.text_encoder.device)
    if words.shape[1] > length:
        raise UsageError(
            f'model.max_sequence_length: "{text}" and its picture take {words.shape[1]} tokens and {length} are kept; '
            "raise it, or write less."
        )
    return padded(words, mask, length)


def encode_picture(pipeline: QwenImageEditPlusPipeline, picture: Tensor) -> Tensor:
    """Latents float32 [1, C, h, w] of a picture that a prompt changes, of about a megapixel in its own shape."""
    vae, image = pipeline.vae, to_pil(picture)
    width, height = stock.calculate_dimensions(stock.VAE_IMAGE_SIZE, image.width / image.height)
    pixels = pipeline.image_processor.preprocess(image, height, width).unsqueeze(2)
    raw = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()[:, :, 0].float()
    mean, std = statistics(vae, raw)
    return (raw - mean) / std
