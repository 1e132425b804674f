"""Prompts as a model understands them: words, and pictures that they change."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import comfy.utils
import torch
from node_helpers import conditioning_set_values
from torch import Tensor

from ..treegrpo.backends.comfy.conditioning import Conditioning
from ..treegrpo.backends.comfy.needed import found

STOCK: dict[str, tuple[str, Callable[[Tensor], dict[str, Any]]]] = {
    "qwen_image": ("nodes_qwen.TextEncodeQwenImageEditPlus", lambda picture: {"image1": picture}),
    "z_image": ("nodes_zimage.TextEncodeZImageOmni", lambda picture: {"image1": picture}),
    "joyimage": ("nodes_joyimage.TextEncodeJoyImageEdit", lambda picture: {"images": {"image": picture}}),
}
"""ComfyUI's own nodes for text encoders that are told of pictures in words of their own, by the encoders' modules, and
their inputs for a picture."""
SEEN, CHANGED = 384**2, 1024**2
"""The most pixels that a text encoder and a model are shown, as in ComfyUI's nodes."""
MULTIPLE = 16
"""Of the sides of a picture: what a VAE makes one latent of, times the two that a model makes a token of."""


class EncodedOnce:
    """A VAE that remembers: one picture comes with several instructions, and with the negative prompt."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        self.known: dict[tuple[torch.Size, bytes], Tensor] = {}

    def encode(self, images: Tensor) -> Tensor:
        """See comfy.sd.VAE."""
        key = images.shape, sha256(images.contiguous().numpy().tobytes()).digest()
        if key not in self.known:
            self.known[key] = self.vae.encode(images)
        return self.known[key]


def encoded(clip: Any, prompt: str, picture: Tensor | None, vae: Any) -> Conditioning:
    """The conditioning of a prompt, and of the picture float32 [H, W, 3] that it changes, if there is one.

    Raises UsageError if ComfyUI lacks the node that it takes.
    """
    if picture is None:
        return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    rows = picture[None]
    encoder = type(clip.tokenizer).__module__.rpartition(".")[2]
    if encoder in STOCK:
        node, inputs = STOCK[encoder]
        return found(f"comfy_extras.{node}").execute(clip, prompt, vae=vae, **inputs(rows)).args[0]
    looks = "images" in inspect.signature(clip.tokenizer.tokenize_with_weights).parameters
    tokens = clip.tokenize(prompt, images=[_at_most(rows, SEEN)]) if looks else clip.tokenize(prompt)
    latents = {"reference_latents": [vae.encode(_at_most(rows, CHANGED))]}
    return conditioning_set_values(clip.encode_from_tokens_scheduled(tokens), latents, append=True)


def _at_most(images: Tensor, pixels: int) -> Tensor:
    """Pictures [N, H, W, 3] of so many pixels or fewer, with sides that models can take."""
    height, width = images.shape[1:3]
    scale = min(1.0, math.sqrt(pixels / (height * width)))
    height, width = (max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in (height, width))
    return comfy.utils.common_upscale(images.movedim(-1, 1), width, height, "area", "disabled").movedim(1, -1)
