"""A tiny network of every image family that ComfyUI knows, in its own classes, with random weights.

ComfyUI tells families apart by the sizes of their weights, and most of these are too small for that; so the sizes are
told to it here. All else is its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import comfy.supported_models as supported
import torch
from comfy.ldm.wan.vae import WanVAE
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from torch import nn

if TYPE_CHECKING:  # only: a server that loads the pack by its path makes these networks too
    from treegrpo.backends.comfy.conditioning import Conditioning

TOKENS = 5
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Animal:
    """A family: the sizes that its network is given, and what its prompts are made of.

    width: of a token's embedding; pooled: of the vector beside it, if there is one. more: tensors that a prompt of so
    many tokens has besides, by their names in ComfyUI's conditioning. side: of a picture, in latent pixels.
    """

    sizes: Mapping[str, Any]
    width: int = 32
    pooled: int | None = None
    more: Callable[[torch.Generator, int], Mapping[str, Any]] = field(default=lambda generator, tokens: {})
    side: int = 4


def masked(generator: torch.Generator, tokens: int) -> Mapping[str, Any]:
    """A mask of ones, one for each token, as encoders with padding give it."""
    return {"attention_mask": torch.ones(1, tokens, dtype=torch.long)}


TWO_STREAMS = {
    "context_in_dim": 32,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "qkv_bias": True,
}
FLUX = {
    **TWO_STREAMS,
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 32,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
HUNYUAN = {
    **TWO_STREAMS,
    "in_channels": 64,
    "out_channels": 64,
    "vec_in_dim": None,
    "axes_dim": [16, 16],
    "theta": 256,
    "patch_size": [1, 1],
    "guidance_embed": False,
    "byt5": False,
    "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
    "meanflow_sum": False,
}
LUMINA = {
    "patch_size": 2,
    "in_channels": 16,
    "dim": 64,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "multiple_of": 16,
    "ffn_dim_multiplier": 1.0,
    "qk_norm": True,
    "cap_feat_dim": 32,
    "axes_dims": [8, 12, 12],
    "axes_lens": [64, 64, 64],
}
COSMOS = {
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "concat_padding_mask": True,
    "model_channels": 64,
    "num_blocks": 2,
    "num_heads": 2,
    "crossattn_emb_channels": 32,
    "pos_emb_cls": "rope3d",
    "use_adaln_lora": True,
    "adaln_lora_dim": 16,
    "rope_enable_fps_modulation": False,
}
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 1, 1],
    "transformer_depth_output": [0, 0, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "num_heads": 2,
    "context_dim": 32,
    "adm_in_channels": None,
    "num_classes": None,
    "legacy": False,
}
ZOO: dict[str, Animal] = {
    "SD15": Animal(UNET, side=8),
    "Stable_Cascade_B": Animal(
        {
            "stable_cascade_stage": "b",
            "c_cond": 32,
            "c_hidden": [16, 32],
            "nhead": [-1, 2],
            "blocks": [[1, 1], [1, 1]],
            "block_repeat": [[1, 2], [2, 1]],
            "level_config": ["CT", "CTA"],
            "c_clip": 32,
            "c_clip_seq": 2,
        },
        pooled=32,
        side=12,  # or more, or its prior has no pixels
    ),
    "PixelDiTT2I": Animal(
        {
            "image_model": "pixeldit_t2i",
            "hidden_size": 64,
            "num_groups": 2,
            "pixel_attn_hidden_size": 32,
            "pixel_num_groups": 2,
            "patch_depth": 2,
            "pixel_depth": 1,
            "txt_embed_dim": 32,
        },
        side=32,
    ),
    "Flux": Animal({"image_model": "flux", **FLUX}, pooled=32),
    "Flux2": Animal(
        {
            "image_model": "flux2",
            **FLUX,
            "in_channels": 128,
            "out_channels": 128,
            "vec_in_dim": None,
            "axes_dim": [8, 8, 8, 8],
            "theta": 2000,
            "patch_size": 1,
            "qkv_bias": False,
            "guidance_embed": False,
            "txt_ids_dims": [3],
            "global_modulation": True,
            "mlp_silu_act": True,
            "ops_bias": False,
            "default_ref_method": "index",
            "ref_index_scale": 10.0,
        }
    ),
    "QwenImage": Animal(
        {
            "image_model": "qwen_image",
            "in_channels": 64,
            "num_layers": 2,
            "attention_head_dim": 32,
            "num_attention_heads": 2,
            "joint_attention_dim": 32,
            "axes_dims_rope": (8, 12, 12),
        },
        more=masked,
    ),
    "Krea2": Animal(
        {
            "image_model": "krea2",
            "features": 64,
            "tdim": 32,
            "txtdim": 32,
            "heads": 2,
            "kvheads": 1,
            "layers": 2,
            "txtlayers": 2,
            "txtheads": 2,
            "txtkvheads": 2,
        },
        width=64,
    ),
    "JoyImage": Animal(
        {
            "image_model": "joyimage",
            "hidden_size": 128,
            "num_attention_heads": 1,  # of 128, which ComfyUI fixes
            "text_dim": 32,
            "num_layers": 2,
        }
    ),
    "CosmosT2IPredict2": Animal({"image_model": "cosmos_predict2", **COSMOS}),
    "Anima": Animal({"image_model": "anima", **COSMOS, "crossattn_emb_channels": 1024}, width=1024),
    "Lumina2": Animal({"image_model": "lumina2", **LUMINA}, more=masked),
    "ZImage": Animal(
        {
            "image_model": "lumina2",
            **LUMINA,
            "dim": 256,  # or more, for what modulates it
            "n_heads": 8,
            "n_kv_heads": 8,
            "z_image_modulation": True,
            "time_scale": 1000.0,
            "pad_tokens_multiple": 32,
            "rope_theta": 256.0,
        }
    ),
    "HunyuanImage21": Animal({"image_model": "hunyuan_video", **HUNYUAN}),
    "HunyuanImage21 distilled": Animal({"image_model": "hunyuan_video", **HUNYUAN, "meanflow": True}),
    "Omnigen2": Animal(
        {
            "image_model": "omnigen2",
            "hidden_size": 64,
            "num_layers": 2,
            "num_refiner_layers": 1,
            "num_attention_heads": 2,
            "num_kv_heads": 1,
            "multiple_of": 16,
            "axes_dim_rope": (8, 12, 12),
            "axes_lens": (64, 64, 64),
            "text_feat_dim": 32,
            "timestep_scale": 1000.0,
        },
        more=masked,
    ),
    "ErnieImage": Animal(
        {
            "image_model": "ernie",
            "hidden_size": 64,
            "num_attention_heads": 2,
            "num_layers": 2,
            "ffn_hidden_size": 96,
            "text_in_dim": 32,
            "rope_axes_dim": (8, 12, 12),
        }
    ),
    "Chroma": Animal(
        {
            "image_model": "chroma",
            **{name: size for name, size in FLUX.items() if name != "guidance_embed"},
            "in_channels": 64,
            "out_channels": 64,
            "in_dim": 64,
            "out_dim": 64,
            "hidden_dim": 64,
            "n_layers": 1,
        }
    ),
}


REFUSED = {
    "CosmosT2IPredict2": "predicts in a way that cannot be trained yet",
    "PixelDiTT2I": "it or a patch on it overwrites what gradients are made of",
}
"""Families that cannot be trained, and what is said of them."""


def model_of(name: str, dtype: torch.dtype = torch.float32, operations: Any = None) -> ModelPatcher:
    """The MODEL of a family, that computes in `dtype`; random weights, the same at every call.

    operations: what its layers are made of, if not of ComfyUI's own.
    """
    settings = getattr(supported, name.split()[0])(dict(ZOO[name].sizes))
    settings.set_inference_dtype(dtype, None)
    settings.custom_operations = operations
    model = settings.get_model({})
    _fill(model.diffusion_model)
    return ModelPatcher(model.eval().requires_grad_(False).to(dtype), CPU, CPU)


def _fill(network: nn.Module) -> None:
    """Random weights, which keep the size of what goes through them; ComfyUI leaves them empty."""
    generator = torch.Generator().manual_seed(0)
    for path, weight in [*network.named_parameters(), *network.named_buffers()]:
        if weight.is_floating_point():
            scale = 1 / math.sqrt(weight[0].numel()) if weight.ndim > 1 else 0.1
            middle = 1.0 if "norm" in path and path.endswith(("weight", "scale")) and weight.ndim == 1 else 0.0
            weight.data = middle + scale * torch.randn(weight.shape, generator=generator)


def vae_of_videos() -> VAE:
    """The VAE of Qwen-Image, Krea 2 and Wan, which decodes frames; thin, with random weights."""
    network = WanVAE(dim=16, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True])
    _fill(network)
    return VAE(sd=network.state_dict())


def prompt(name: str, seed: int, tokens: int = TOKENS) -> Conditioning:
    """What the family's text encoder would say of a prompt of so many tokens."""
    animal, generator = ZOO[name], torch.Generator().manual_seed(100 + seed)
    embedding = torch.randn(1, tokens, animal.width, generator=generator)
    more = dict(animal.more(generator, tokens))
    if animal.pooled:
        more["pooled_output"] = torch.randn(1, animal.pooled, generator=generator)
    return [[embedding, more]]
