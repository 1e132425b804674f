"""The bundled emoji model in ComfyUI's own classes, without a second copy of its weights on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
import comfy.sd1_clip
import comfy.utils
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...bundled import EMOJI_SD3

CHANNELS = 16
AUTOENCODER = {
    "embed_dim": CHANNELS,
    "ddconfig": {
        "double_z": True,
        "z_channels": CHANNELS,
        "resolution": 64,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 1, 2, 2],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    },
}
TOKENS = 12
END = 2047
ENCODER = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "projection_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": TOKENS,
    "hidden_act": "quick_gelu",
    "eos_token_id": END,
}


def load() -> tuple[Any, comfy.sd.CLIP, comfy.sd.VAE]:
    """(MODEL, CLIP, VAE) of the bundled SD3."""
    model = comfy.sd.load_diffusion_model_state_dict(_weights("transformer", "diffusion_pytorch_model.safetensors"))
    autoencoder = _weights("vae", "diffusion_pytorch_model.safetensors") | _identity("quant_conv", 2 * CHANNELS)
    autoencoder |= _identity("post_quant_conv", CHANNELS)
    vae = comfy.sd.VAE(sd=autoencoder, config={"params": AUTOENCODER}, dtype=torch.float32)
    vae.latent_channels = CHANNELS
    target = type("Target", (), {"params": {}, "clip": TwoClips, "tokenizer": TwoTokenizers})
    clip = comfy.sd.CLIP(target)
    for name, encoder in clip.cond_stage_model.encoders():
        encoder.load_sd(_with_all_words(_weights(name, "model.safetensors")))
    return model, clip, vae


def _weights(part: str, file: str) -> dict[str, Tensor]:
    return comfy.utils.load_torch_file(str(EMOJI_SD3 / part / file))


def _with_all_words(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with room for the 49408 words that ComfyUI's class always has; ours uses the first 2048."""
    words = weights["text_model.embeddings.token_embedding.weight"]
    return weights | {"text_model.embeddings.token_embedding.weight": F.pad(words, (0, 0, 0, 49408 - len(words)))}


def _identity(name: str, channels: int) -> dict[str, Tensor]:
    """A 1 x 1 convolution that changes nothing: this class has one where SD3's autoencoder has none."""
    return {f"{name}.weight": torch.eye(channels)[:, :, None, None], f"{name}.bias": torch.zeros(channels)}


class _Tokenizer(comfy.sd1_clip.SDTokenizer):
    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(str(folder), max_length=TOKENS, embedding_size=64, embedding_key="emoji", **options)


class TwoTokenizers:
    """The tokenizers of both encoders, as ComfyUI's CLIP asks for them."""

    def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
        self.clip_l = _Tokenizer(EMOJI_SD3 / "tokenizer", embedding_directory=embedding_directory)

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any) -> dict[str, list]:
        """Tokens with their weights, for both encoders."""
        tokens = self.clip_l.tokenize_with_weights(text, return_word_ids, **options)
        return {"l": tokens, "g": tokens}

    def untokenize(self, tokens: list) -> list:
        """The words of tokens."""
        return self.clip_l.untokenize(tokens)

    def state_dict(self) -> dict[str, Tensor]:
        """Tokenizers have no weights."""
        return {}


class TwoClips(nn.Module):
    """Two small CLIP text encoders whose outputs stand side by side, as in SD3 without T5."""

    def __init__(
        self, device: str = "cpu", dtype: torch.dtype | None = None, model_options: dict | None = None
    ) -> None:
        super().__init__()
        options = {
            "layer": "hidden",
            "layer_idx": 0,  # the last but one of two
            "max_length": TOKENS,
            "textmodel_json_config": ENCODER,
            "special_tokens": {"start": END - 1, "end": END, "pad": END},
            "layer_norm_hidden_state": False,
            "device": device,
            "dtype": dtype,
            "model_options": model_options or {},
        }
        self.clip_l = comfy.sd1_clip.SDClipModel(**options)
        self.clip_g = comfy.sd1_clip.SDClipModel(**options)
        self.dtypes = {dtype}

    def encoders(self) -> list[tuple[str, comfy.sd1_clip.SDClipModel]]:
        """Both encoders, with the names of their folders."""
        return [("text_encoder", self.clip_l), ("text_encoder_2", self.clip_g)]

    def set_clip_options(self, options: dict) -> None:
        """See comfy.sd1_clip.SDClipModel."""
        for _, encoder in self.encoders():
            encoder.set_clip_options(options)

    def reset_clip_options(self) -> None:
        """See comfy.sd1_clip.SDClipModel."""
        for _, encoder in self.encoders():
            encoder.reset_clip_options()

    def encode_token_weights(self, tokens: dict[str, list]) -> tuple[Tensor, Tensor]:
        """(context [1, 12, 128], pooled [1, 128]); a prompt too long is cut, as everywhere this model is used."""
        context_l, pooled_l = self.clip_l.encode_token_weights(tokens["l"][:1])
        context_g, pooled_g = self.clip_g.encode_token_weights(tokens["g"][:1])
        return torch.cat([context_l, context_g], -1), torch.cat([pooled_l, pooled_g], -1)
