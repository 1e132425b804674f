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
from comfy.model_base import BaseModel, ModelType
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


def of_hunyuan_dit(generator: torch.Generator, tokens: int) -> Mapping[str, Any]:
    """What its second encoder says beside the first, with a mask for each; some tokens are padding."""
    mask = torch.ones(1, tokens, dtype=torch.long)
    mask[:, -1] = 0
    embedding = torch.randn(1, 4, 64, generator=generator)
    return {
        "attention_mask": mask,
        "conditioning_mt5xl": embedding,
        "attention_mask_mt5xl": torch.tensor([[1, 1, 1, 0]]),
    }


def of_hidream(generator: torch.Generator, tokens: int) -> Mapping[str, Any]:
    """What two layers of its second encoder say of every token."""
    return {"conditioning_llama3": torch.randn(1, 2, tokens, 24, generator=generator)}


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
CHROMA = {
    **{name: size for name, size in FLUX.items() if name != "guidance_embed"},
    "in_channels": 64,
    "out_channels": 64,
    "in_dim": 64,
    "out_dim": 64,
    "hidden_dim": 64,
    "n_layers": 1,
}
OMNIGEN = {
    "hidden_size": 64,
    "num_layers": 2,
    "num_refiner_layers": 1,
    "num_attention_heads": 2,
    "num_kv_heads": 1,
    "multiple_of": 16,
    "axes_dim_rope": (8, 12, 12),
    "axes_lens": (64, 64, 64),
    "timestep_scale": 1000.0,
}
Z_IMAGE = {
    **LUMINA,
    "dim": 256,  # or more, for what modulates it
    "n_heads": 8,
    "n_kv_heads": 8,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
    "rope_theta": 256.0,
}
HUNYUAN_DIT = {
    "depth": 4,  # or more, or nothing skips a block
    "hidden_size": 64,
    "num_heads": 2,
    "text_states_dim": 32,
    "text_states_dim_t5": 64,
    "text_len": TOKENS,
    "text_len_t5": 4,
}
PIXART = {
    "hidden_size": 48,
    "depth": 2,
    "num_heads": 2,
    "caption_channels": 32,
    "pe_interpolation": 1.0,
}
"""For pictures of more than 32 latent pixels, or its positions divide by 0."""
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [0, 1],
    "transformer_depth_output": [0, 0, 1, 1],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "num_heads": 2,
    "context_dim": 32,
    "adm_in_channels": None,
    "num_classes": None,
    "legacy": False,
}
SD2 = {**UNET, "use_linear_in_transformer": True}
SDXL = {**SD2, "adm_in_channels": 32 + 6 * 256, "num_classes": "sequential"}  # a vector, and six numbers embedded
ZOO: dict[str, Animal] = {
    "SD15": Animal(UNET, side=8),
    "SD15_instructpix2pix": Animal({**UNET, "in_channels": 8}, side=8),
    "SD20": Animal(SD2, side=8),
    "LotusD": Animal({**SD2, "adm_in_channels": 4, "num_classes": "sequential"}, side=8),
    "SD21UnclipL": Animal({**SD2, "adm_in_channels": 48, "num_classes": "sequential"}, side=8),
    "SD21UnclipH": Animal({**SD2, "adm_in_channels": 64, "num_classes": "sequential"}, side=8),
    "SDXL": Animal(SDXL, pooled=32, side=8),
    "SDXL_instructpix2pix": Animal({**SDXL, "in_channels": 8}, pooled=32, side=8),
    "SDXLRefiner": Animal({**SDXL, "adm_in_channels": 32 + 5 * 256}, pooled=32, side=8),
    "SSD1B": Animal({**SDXL, "transformer_depth_output": [0, 0, 2, 1]}, pooled=32, side=8),
    "Segmind_Vega": Animal({**SDXL, "transformer_depth_middle": -1}, pooled=32, side=8),
    "KOALA_700M": Animal({**SDXL, "transformer_depth_middle": -2}, pooled=32, side=8),
    "KOALA_1B": Animal({**SDXL, "transformer_depth": [0, 2]}, pooled=32, side=8),
    "Stable_Cascade_C": Animal(
        {
            "stable_cascade_stage": "c",
            "c_cond": 32,
            "c_hidden": [32, 32],
            "nhead": [2, 2],
            "blocks": [[1, 1], [1, 1]],
            "c_clip_text": 32,
            "c_clip_text_pooled": 32,
            "c_clip_seq": 2,
        },
        pooled=32,
    ),
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
    "SD3": Animal(
        {
            "in_channels": 16,
            "depth": 1,  # of 64 channels each
            "num_blocks": 2,
            "adm_in_channels": 32,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 32, "out_features": 64},
            },
            "num_patches": 64,
            "pos_embed_max_size": 8,
            "pos_embed_scaling_factor": None,
            "qk_norm": "rms",
            "x_block_self_attn_layers": [0],
        },
        pooled=32,
    ),
    "AuraFlow": Animal(
        {
            "max_seq": 64,
            "cond_seq_dim": 32,
            "dim": 64,
            "global_conddim": 64,
            "n_heads": 2,
            "n_double_layers": 1,
            "n_layers": 2,
        }
    ),
    "PixArtAlpha": Animal({"image_model": "pixart_alpha", **PIXART, "micro_condition": True}, side=34),
    "PixArtSigma": Animal({"image_model": "pixart_sigma", **PIXART, "micro_condition": False}, side=34),
    "HunyuanDiT": Animal({"image_model": "hydit", **HUNYUAN_DIT}, more=of_hunyuan_dit),
    "HunyuanDiT1": Animal(
        {"image_model": "hydit1", **HUNYUAN_DIT, "size_cond": True, "use_style_cond": True}, more=of_hunyuan_dit
    ),
    "HiDream": Animal(
        {
            "image_model": "hidream",
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 1,
            "num_single_layers": 1,
            "attention_head_dim": 32,
            "num_attention_heads": 2,
            "caption_channels": [32, 24],
            "text_emb_dim": 32,
            "num_routed_experts": 2,
            "num_activated_experts": 1,
            "axes_dims_rope": (16, 8, 8),
            "max_resolution": (16, 16),
            "llama_layers": [0, 1],
        },
        pooled=32,
        more=of_hidream,
    ),
    "HiDreamO1": Animal(
        {
            "image_model": "hidream_o1",
            "text_config_overrides": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 16,
                "rope_dims": [4, 2, 2],
            },
            "vision_config_overrides": {
                "hidden_size": 32,
                "num_heads": 2,
                "intermediate_size": 32,
                "depth": 1,
                "num_position_embeddings": 16,
            },
        },
        side=32,
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
    "FluxInpaint": Animal({"image_model": "flux", **FLUX, "in_channels": 96}, pooled=32),
    "FluxSchnell": Animal({"image_model": "flux", **FLUX, "guidance_embed": False}, pooled=32),
    "LongCatImage": Animal(
        {"image_model": "flux", **FLUX, "guidance_embed": False, "vec_in_dim": None, "txt_ids_dims": [1, 2]}
    ),
    "Lens": Animal(
        {
            "image_model": "lens",
            "num_layers": 2,
            "attention_head_dim": 32,
            "num_attention_heads": 2,
            "enc_hidden_dim": 16,
            "axes_dims_rope": (8, 12, 12),
            "selected_layer_index": (0, 1),
        },
        more=masked,
    ),
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
    "ZImage": Animal({"image_model": "lumina2", **Z_IMAGE}),
    "ZImagePixelSpace": Animal(
        {
            "image_model": "zimage_pixel",
            **Z_IMAGE,
            "patch_size": 4,
            "in_channels": 3,
            "decoder_in_channels": 48,
            "decoder_hidden_size": 32,
            "decoder_num_res_blocks": 1,
            "decoder_max_freqs": 2,
        },
        side=16,
    ),
    "HunyuanImage21": Animal({"image_model": "hunyuan_video", **HUNYUAN}),
    "HunyuanImage21 distilled": Animal({"image_model": "hunyuan_video", **HUNYUAN, "meanflow": True}),
    "Omnigen2": Animal({"image_model": "omnigen2", **OMNIGEN, "text_feat_dim": 32}, more=masked),
    "Boogu": Animal(
        {
            "image_model": "boogu",
            **OMNIGEN,
            "num_layers": 1,
            "num_double_stream_layers": 1,
            "instruction_feat_dim": 32,
        },
        more=masked,
    ),
    "MageFlow": Animal(
        {
            "image_model": "mage_flow",
            "num_layers": 2,
            "attention_head_dim": 32,
            "num_attention_heads": 2,
            "joint_attention_dim": 32,
            "axes_dims_rope": (8, 12, 12),
        },
        more=masked,
    ),
    "Ideogram4": Animal(
        {
            "image_model": "ideogram4",
            "num_layers": 2,
            "num_attention_heads": 2,
            "attention_head_dim": 32,
            "intermediate_size": 96,
            "adaln_dim": 32,
            "llm_features_dim": 32,
            "mrope_section": (8, 4, 4),
        }
    ),
    "Kandinsky5Image": Animal(
        {
            "image_model": "kandinsky5",
            "in_text_dim": 32,
            "in_text_dim2": 32,
            "time_dim": 32,
            "model_dim": 64,
            "ff_dim": 96,
            "visual_embed_dim": 64,
            "num_text_blocks": 1,
            "num_visual_blocks": 2,
            "axes_dims": (8, 12, 12),
            "rope_scale_factor": (1.0, 1.0, 1.0),
        },
        pooled=32,
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
    "Chroma": Animal({"image_model": "chroma", **CHROMA}),
    "ChromaRadiance": Animal(
        {
            "image_model": "chroma_radiance",
            **CHROMA,
            "in_channels": 3,
            "out_channels": 3,
            "patch_size": 4,
            "nerf_hidden_size": 16,
            "nerf_mlp_ratio": 2,
            "nerf_depth": 1,
            "nerf_max_freqs": 2,
            "nerf_tile_size": 512,
            "nerf_final_head_type": "conv",
            "nerf_embedder_dtype": None,
            "use_x0": True,
            "use_sequential_txt_ids": False,
        },
        side=16,
    ),
}


REFUSED = {
    "LotusD": "predicts in a way that cannot be trained yet",
    "HiDreamO1": "predicts in a way that cannot be trained yet",
}
"""Families that cannot be trained, and what is said of them."""

OTHERS = {
    "Stable_Zero123": "views of a picture",
    "SD_X4Upscaler": "enlarges",
    "SV3D_u": "views of a picture",
    "SV3D_p": "views of a picture",
    "StableAudio3": "sound",
    "StableAudio": "sound",
    "ACEStep": "sound",
    "ACEStep15": "sound",
    "GenmoMochi": "video",
    "LTXV": "video",
    "LTXAV": "video",
    "MiniMaxH3": "video",
    "HunyuanVideo15_SR_Distilled": "enlarges",
    "HunyuanVideo15": "video",
    "HunyuanImage21Refiner": "enlarges",
    "HunyuanVideoSkyreelsI2V": "video",
    "HunyuanVideoI2V": "video",
    "HunyuanVideo": "video",
    "CosmosT2V": "video",
    "CosmosI2V": "video",
    "CosmosI2VPredict2": "video",
    "PiD": "enlarges",
    "WAN22_T2V": "video",
    "WAN21_CausalAR_T2V": "video",
    "WAN21_T2V": "video",
    "WAN21_I2V": "video",
    "WAN21_FunControl2V": "video",
    "WAN21_Vace": "video",
    "WAN21_Camera": "video",
    "WAN22_Camera": "video",
    "WAN22_S2V": "video",
    "WAN21_HuMo": "video",
    "WAN22_Animate": "video",
    "WAN21_FlowRVS": "video",
    "WAN21_SCAIL": "video",
    "WAN21_SCAIL2": "video",
    "WAN22_WanDancer": "video",
    "Hunyuan3Dv2mini": "shapes",
    "Hunyuan3Dv2": "shapes",
    "Hunyuan3Dv2_1": "shapes",
    "TripoSplat": "shapes",
    "SeedVR2": "enlarges",
    "Kandinsky5": "video",
    "RT_DETR_v4": "sees",
    "SAM3": "sees",
    "SAM31": "sees",
    "DepthAnything3": "sees",
    "CogVideoX_Inpaint": "video",
    "CogVideoX_I2V": "video",
    "CogVideoX_T2V": "video",
    "SVD_img2vid": "video",
}
"""Families that make no pictures of a text alone, and what they do. Those of videos make one frame, as of pictures."""
NO_PICTURES = ("sound", "shapes", "sees")
"""What those do that must not be taken for pictures, whatever their latents look like."""


def without_network(name: str) -> ModelPatcher:
    """A MODEL of a family's latents, with nothing that could predict any."""
    settings = getattr(supported, name)({"disable_unet_model_creation": True})
    return ModelPatcher(BaseModel(settings, ModelType.FLOW), CPU, CPU)


def model_of(name: str, dtype: torch.dtype = torch.float32, operations: Any = None) -> ModelPatcher:
    """The MODEL of a family, that computes in `dtype`; random weights, the same at every call.

    operations: what its layers are made of, if not of ComfyUI's own.
    """
    settings = getattr(supported, name.split()[0])(dict(ZOO[name].sizes))
    settings.unet_config.update(ZOO[name].sizes)  # over those that a family always has
    settings.set_inference_dtype(dtype, None)
    settings.custom_operations = operations
    model = settings.get_model({})
    fill(model.diffusion_model)
    return ModelPatcher(model.eval().requires_grad_(False).to(dtype), CPU, CPU)


def fill(network: nn.Module) -> None:
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
    fill(network)
    return VAE(sd=network.state_dict())


def prompt(name: str, seed: int, tokens: int = TOKENS) -> Conditioning:
    """What the family's text encoder would say of a prompt of so many tokens."""
    animal, generator = ZOO[name], torch.Generator().manual_seed(100 + seed)
    embedding = torch.randn(1, tokens, animal.width, generator=generator)
    more = dict(animal.more(generator, tokens))
    if animal.pooled:
        more["pooled_output"] = torch.randn(1, animal.pooled, generator=generator)
    return [[embedding, more]]
