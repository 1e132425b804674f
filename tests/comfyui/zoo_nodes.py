"""A loader of the tests' server: tiny networks of the families that artists use most, with encoders and decoders.

Stock loaders tell families apart by sizes that are too large for tests. Tokenizers, and how nodes and networks are told
of text and pictures, are ComfyUI's own; text encoders are tables.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.sd import VAE
from comfy.sdxl_clip import SDXLTokenizer
from comfy.taesd.taesd import TAESD
from comfy.text_encoders.flux import KleinTokenizer
from comfy.text_encoders.krea2 import Krea2Tokenizer
from comfy.text_encoders.qwen_image import QwenImageTokenizer
from comfy.text_encoders.z_image import ZImageTokenizer
from torch import Tensor

from .zoo import ZOO, fill, model_of, vae_of_videos

TOKENIZERS = {
    "ZImage": ZImageTokenizer,
    "Krea2": Krea2Tokenizer,
    "QwenImage": QwenImageTokenizer,
    "Flux2": KleinTokenizer,
    "SDXL": SDXLTokenizer,
}
FRAMES = ("Krea2", "QwenImage")
"""Families with the VAE of videos."""


class TextEncoder:
    """A CLIP that looks tokens, and pictures among them, up in a table."""

    def __init__(self, family: str) -> None:
        self.family, self.tokenizer = family, TOKENIZERS[family]()

    def tokenize(self, text: str, **more: Any) -> dict[str, Any]:
        """See comfy.sd.CLIP."""
        return self.tokenizer.tokenize_with_weights(text, **more)

    def encode_from_tokens_scheduled(self, tokens: dict[str, Any]) -> list[list[Any]]:
        """See comfy.sd.CLIP."""
        animal, [first] = ZOO[self.family], next(iter(tokens.values()))[:1]
        rows = torch.stack([_vector(token[0], animal.width) for token in first])[None]
        more = dict(animal.more(torch.Generator().manual_seed(0), rows.shape[1]))
        if animal.pooled:
            more["pooled_output"] = rows.mean(1)[:, :1].expand(1, animal.pooled)
        return [[rows, more]]


def _vector(token: Any, width: int) -> Tensor:
    """What a token, or a picture in the place of one, stands for."""
    number = token if isinstance(token, int) else int(1e6 * float(token["data"].mean()))
    return torch.randn(width, generator=torch.Generator().manual_seed(number))


def vae_of(family: str) -> VAE:
    """A tiny VAE for the latents of a family, with random weights."""
    if family in FRAMES:
        return vae_of_videos()
    if family == "Flux2":
        return _vae_of_flux2()
    network = TAESD(latent_channels=model_of(family).model.latent_format.latent_channels)
    fill(network)
    return VAE(sd=network.state_dict() | {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)})


def _vae_of_flux2() -> VAE:
    """FLUX.2's normalises its latents and packs them; its encoder has one width in ComfyUI, and zeros here."""
    sizes: dict[str, Any] = {
        "double_z": True,
        "z_channels": 32,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 128,
        "ch_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
        "batch_norm_latent": True,
    }
    network = AutoencoderKL(ddconfig=sizes, embed_dim=32, decoder_ddconfig=sizes | {"ch": 32})
    fill(network.decoder)
    fill(network.post_quant_conv)
    for weight in (*network.encoder.parameters(), *network.quant_conv.parameters()):
        weight.data = torch.zeros(()).expand(weight.shape)
    return VAE(sd=network.state_dict())


class Zoo:
    """Loads a family."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "load", ("MODEL", "CLIP", "VAE")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """As ComfyUI asks for them."""
        return {"required": {"family": (list(TOKENIZERS),)}}

    def load(self, family: str) -> tuple[Any, TextEncoder, VAE]:
        """The three, as a checkpoint loader gives them."""
        return model_of(family), TextEncoder(family), vae_of(family)


NODE_CLASS_MAPPINGS = {"TestZoo": Zoo}
