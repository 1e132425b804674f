"""An adapter of Lumina 2 under the names of ComfyUI's layers, of which none is one of diffusers'."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .unet import KOHYA

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
RENAMED = {
    "attn.to_out.0": "attention.out",
    "feed_forward.linear_": "feed_forward.w",
    "norm1.linear": "adaLN_modulation.1",
    "norm_out.linear_1": "final_layer.adaLN_modulation.1",
    "norm_out.linear_2": "final_layer.linear",
    "time_caption_embed.caption_embedder": "cap_embedder",
    "time_caption_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_caption_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
}
"""Parts of the names of layers in diffusers -> in ComfyUI."""


def universal(config: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same adapter under the universal names of ComfyUI, with one pair of factors for q, k and v together.

    config: of the network. state: under diffusers' names. ComfyUI's names for each of q, k and v suppose that all three
    are of one size, which they are not in Lumina 2. The factors of the three lie in the blocks of larger ones.
    """
    modules = [name.removesuffix(DOWN) for name in state if name.endswith(DOWN)]
    factors = {module: (state[module + DOWN], state[module + UP]) for module in modules}
    head = config.hidden_size // config.num_attention_heads
    rows = {"q": config.hidden_size, "k": head * config.num_kv_heads, "v": head * config.num_kv_heads}
    named = {}
    for module, (down, up) in factors.items():
        block, _, part = module.partition(".attn.to_")
        if part in rows:
            missing = {name: (down[:0], up.new_zeros(size, 0)) for name, size in rows.items()}
            downs, ups = zip(*(factors.get(f"{block}.attn.to_{name}", missing[name]) for name in rows), strict=True)
            named[f"{block}.attention.qkv"] = (torch.cat(downs), torch.block_diag(*ups))
        else:
            for ours, theirs in RENAMED.items():
                module = module.replace(ours, theirs)
            named[module] = (down.clone(), up.clone())
    found: dict[str, Tensor] = {}
    for module, (down, up) in named.items():
        name = f"lora_unet_{module.removeprefix('transformer.').replace('.', '_')}"
        found |= {f"{name}.{KOHYA['A.weight']}": down, f"{name}.{KOHYA['B.weight']}": up}
    return found
