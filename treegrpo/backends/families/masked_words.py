"""Prompts as token embeddings with a mask of those that are words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .family import Conditioning

Encode = Callable[[Any, Sequence[str], int], Conditioning]


def masked_words(encode: Encode) -> Encode:
    """An `encode` that gives (token embeddings [N, L, D], mask bool [N, L]), for pipelines without weights, too.

    On `meta` text encoders cannot run with a mask, since they look at its numbers.
    """

    @wraps(encode)
    def encode_or_outline(pipeline: Any, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
        encoder = pipeline.text_encoder
        if encoder.device.type != "meta":
            return encode(pipeline, texts, max_sequence_length)
        shape, width = (len(texts), max_sequence_length), encoder.config.get_text_config().hidden_size
        words = torch.empty(*shape, width, dtype=encoder.dtype, device="meta")
        return words, torch.ones(shape, dtype=torch.bool, device="meta")

    return encode_or_outline


def encoded_words(pipeline: Any, texts: Sequence[str], max_sequence_length: int, **more: Any) -> Conditioning:
    """(token embeddings [N, L, D], which of them are words: bool [N, L]), by a pipeline's encode_prompt."""
    words, mask, _, _ = pipeline.encode_prompt(
        list(texts),
        do_classifier_free_guidance=False,
        device=pipeline.text_encoder.device,
        max_sequence_length=max_sequence_length,
        **more,
    )
    return words, mask.bool()


def with_numbers(mask: Tensor) -> Tensor:
    """The mask itself, or a full one on the CPU for one on `meta`, for networks that look at its numbers."""
    return torch.ones(mask.shape, dtype=mask.dtype) if mask.is_meta else mask


class MasksFollow(TorchFunctionMode):
    """Where a mask on the CPU chooses between tensors on `meta`, it goes there first."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.where and isinstance(args[1], Tensor) and args[1].is_meta:
            args = (args[0].to("meta"), *args[1:])
        return func(*args, **(kwargs or {}))
