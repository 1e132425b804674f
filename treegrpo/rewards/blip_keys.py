"""Weights of BLIP from the names in its authors' repository to transformers' names."""

from __future__ import annotations

from torch import Tensor

VISION = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding",
    "norm": "post_layernorm",
}
IN_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def vision_state(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What lies under `prefix`, by the names of transformers' BlipVisionModel; what is no part of it is left out."""
    renamed = {}
    for name, value in under(state, prefix).items():
        module, _, kind = name.rpartition(".")
        if name in VISION:
            renamed[VISION[name]] = value
        elif module in VISION:
            renamed[f"{VISION[module]}.{kind}"] = value
        elif module.startswith("blocks."):
            _, number, part = module.split(".", 2)
            if part in IN_BLOCK:
                renamed[f"encoder.layers.{number}.{IN_BLOCK[part]}.{kind}"] = value
    return renamed


def under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What lies under `prefix`, without it. BLIP's text encoder keeps BERT's names, as transformers does."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
