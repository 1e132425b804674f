"""The tiny networks of tests/backends/pipelines.py with the same weights in ComfyUI's own classes.

ComfyUI knows a model by its sizes, and most of these are too small for that; so they are told to it here. All else is
its own: the classes, the tables by which it reads diffusers' weights, and those by which it reads LoRAs.
"""

from __future__ import annotations

from typing import Any

import comfy.model_management as management
import comfy.supported_models as supported
import torch
from comfy.ldm.modules.diffusionmodules.mmdit import TimestepEmbedder
from comfy.model_detection import convert_diffusers_mmdit, model_config_from_unet
from comfy.model_patcher import ModelPatcher
from comfy.ops import disable_weight_init
from comfy.supported_models_base import BASE
from comfy.utils import flux_to_diffusers, pixart_to_diffusers, unet_to_diffusers
from torch import Tensor, nn

from tests.comfyui.checkpoints import as_v_prediction
from treegrpo.backends.families.lumina2_names import RENAMED

Conditioning = tuple[Tensor, ...]
APART = ("lumina2", "pixart_alpha", "pixart_sigma", "z_image")


def native(family: str, network: nn.Module) -> ModelPatcher:
    """The MODEL of a family's diffusers network, which stays as it is (ComfyUI converts some weights in place)."""
    settings, weights = {
        "sd15": _unet,
        "sd2_v": _unet,
        "sdxl": _unet,
        "sd3": _sd3,
        "sd35": _sd3,
        "flux": _flux,
        "qwen_image": _qwen_image,
        "qwen_image_edit": _qwen_image,
        "lumina2": _lumina2,
        "pixart_alpha": _pixart,
        "pixart_sigma": _pixart,
        "z_image": _z_image,
        "flux2": _flux2,
        "flux2_klein": _flux2,
        "chroma": _chroma,
    }[family](family, network.config, {name: weight.clone() for name, weight in network.state_dict().items()})
    settings.set_inference_dtype(torch.float32, None)
    model = settings.get_model(weights)
    if family == "z_image":  # whose inner width diffusers fixes at 1024, and ComfyUI at that of the network
        inner, width = len(weights["t_embedder.mlp.0.bias"]), settings.unet_config["dim"]
        model.diffusion_model.t_embedder = TimestepEmbedder(inner, output_size=width, operations=disable_weight_init)
    if family == "chroma":  # ComfyUI reckons with 38 and 19 blocks where it looks for the modulation of the last layer
        count, find = network.time_text_embed.mod_proj.shape[0], model.diffusion_model.get_modulations
        model.diffusion_model.get_modulations = lambda vectors, *which, **at: find(vectors[:, :count], *which, **at)
    missing, unexpected = model.diffusion_model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"__index_timestep_zero__"}
    patcher = ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))
    return as_v_prediction(patcher) if family == "sd2_v" else patcher


@torch.no_grad()
def predict(family: str, model: ModelPatcher, x: Tensor, sigma: float, given: Conditioning, guidance: float) -> Tensor:
    """x0 for the conditioning of treegrpo's family of the same name, as ComfyUI computes it with all patches."""
    management.load_models_gpu([model])
    sigmas = torch.full((len(x),), sigma)
    if family in ("qwen_image", "qwen_image_edit"):
        words, mask, *pictures = given
        more = {"attention_mask": mask.long(), "ref_latents": [picture.unsqueeze(2) for picture in pictures]}
        return model.model.apply_model(x.unsqueeze(2), sigmas, c_crossattn=words, **more).squeeze(2)
    if family in APART:
        return torch.cat([_apart(family, model, *row, sigma) for row in zip(x.split(1), *given, strict=True)])
    if family == "chroma":
        words, mask = given
        seen = torch.cat([mask.float(), torch.ones(len(x), x[0, 0].numel() // 4)], 1)  # added, as diffusers does
        more = {"attention_mask": seen[:, None, None] * seen[:, None, :, None], "guidance": torch.zeros(len(x))}
        return model.model.apply_model(x, sigmas, c_crossattn=words, **more)
    words, *pooled = given
    more = {"y": pooled[0]} if pooled else {}
    if family == "sdxl":
        side = 2 * x.shape[-1]  # the tiny autoencoder scales by 2
        more["y"] = model.model.encode_adm(pooled_output=pooled[0], width=side, height=side)
    if family in ("flux", "flux2"):
        more["guidance"] = torch.full((len(x),), guidance)
    return model.model.apply_model(x, sigmas, c_crossattn=words, **more)


def _apart(family: str, model: ModelPatcher, x: Tensor, words: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """x0 of one state, for the words alone: ComfyUI has no padding, and passes over masks."""
    count = int(mask.sum())
    more: dict[str, Any] = {"num_tokens": count}
    if family.startswith("pixart"):
        side = 2 * x.shape[-1]  # the tiny autoencoder scales by 2
        more = {"c_size": torch.tensor([[side, side]]).float(), "c_ar": torch.ones(1, 1)}
    return model.model.apply_model(x, torch.full((1,), sigma), c_crossattn=words[None, :count], **more)


def _unet(family: str, config: Any, weights: dict[str, Tensor]) -> tuple[BASE, dict[str, Tensor]]:
    settings = {"sd15": supported.SD15, "sd2_v": supported.SD20, "sdxl": supported.SDXL}[family](
        {
            "image_size": 32,
            "in_channels": config.in_channels,
            "out_channels": config.out_channels,
            "model_channels": config.block_out_channels[0],
            "num_res_blocks": [1, 1],
            "channel_mult": [1, 2],
            "transformer_depth": [0, 1],
            "transformer_depth_output": [0, 0, 1, 1],
            "transformer_depth_middle": 1,
            "use_spatial_transformer": True,
            "use_linear_in_transformer": config.use_linear_projection,
            "context_dim": config.cross_attention_dim,
            "adm_in_channels": config.projection_class_embeddings_input_dim,
            "num_classes": "sequential" if config.addition_embed_type else None,
            "legacy": False,
        }
    )
    names = unet_to_diffusers(settings.unet_config)
    return settings, {names[name]: weight for name, weight in weights.items()}


def _sd3(family: str, config: Any, weights: dict[str, Tensor]) -> tuple[BASE, dict[str, Tensor]]:
    weights = convert_diffusers_mmdit(weights)
    return model_config_from_unet(weights, ""), weights


def _flux(family: str, config: Any, weights: dict[str, Tensor]) -> tuple[BASE, dict[str, Tensor]]:
    channels = config.in_channels // 4
    settings = supported.Flux(
        {
            **_two_streams(config),
            "image_model": "flux",
            "in_channels": channels,
            "out_channels": channels,
            "vec_in_dim": config.pooled_projection_dim,
            "mlp_ratio": 4.0,
            "theta": 10000,
            "patch_size": 2,
            "qkv_bias": True,
            "guidance_embed": config.guidance_embeds,
            "txt_ids_dims": [],
        }
    )
    return settings, convert_diffusers_mmdit(weights)


def _two_streams(config: Any) -> dict[str, Any]:
    """The sizes that FLUX and its relatives have in common."""
    return {
        "context_in_dim": config.joint_attention_dim,
        "hidden_size": config.attention_head_dim * config.num_attention_heads,
        "num_heads": config.num_attention_heads,
        "depth": config.num_layers,
        "depth_single_blocks": config.num_single_layers,
        "axes_dim": list(config.axes_dims_rope),
    }


def _qwen_image(family: str, config: Any, weights: dict[str, Tensor]) -> tuple[BASE, dict[str, Tensor]]:
    sizes = (
        "patch_size",
        "in_channels",
        "out_channels",
        "num_layers",
        "attention_head_dim",
        "num_attention_heads",
        "joint_attention_dim",
        "axes_dims_rope",
    )
    return supported.QwenImage({"image_model": "qwen_image", **{name: config[name] for name in sizes}}), weights


def _lumina2(family: str, config: Any, weights: dict[str, Tensor]) -> tuple[BASE, dict[str, Tensor]]:
    settings = supported.Lumina2(
        {
            "image_model": "lumina2",
            "patch_size": config.patch_size,
            "in_channels": config.in_channels,
            "dim": config.hidden_size,
            "cap_feat_dim": config.cap_feat_dim,
            "n_layers": config.num_layers,
            "n_refiner_layers": config.num_refiner_layers,
            "n_heads": config.num_attention_heads,
            "n_kv_heads": config.num_kv_heads,
            "multiple_of": config.multiple_of,
            "ffn_dim_multiplier": 4 * (config.ffn_dim_multiplier or 1),  # of the width there, of four times that here
            "axes_dims": config.axes_dim_rope,
            "axes_lens": config.axes_lens,
            "qk_norm": True,
        }
    )
    names = {
        **RENAMED,
        ".norm1.norm": ".attention_norm1",
        ".norm1.": ".attention_norm1.",
        ".norm2": ".attention_norm2",
        "attn.norm_q": "attention.q_norm",
        "attn.norm_k": "attention.k_norm",
    }
    joined: dict[str, Any] = {}
    for name, weight in weights.items():
        block, _, part = name.partition(".attn.to_")
        if part in ("q.weight", "k.weight", "v.weight"):  # in this order
            joined.setdefault(f"{block}.attention.qkv.weight", []).append(weight)
        else:
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            joined[name] = [weight]
    return settings, {name: torch.cat(parts) for name, parts in joined.items()}


def _pixart(family: str, config: Any, weights: dict[str, Tensor]) -> tuple[BASE, dict[str, Tensor]]:
    kind = {"pixart_alpha": supported.PixArtAlpha, "pixart_sigma": supported.PixArtSigma}[family]
    settings = kind(
        {
            "image_model": family,
            "num_heads": config.num_attention_heads,
            "patch_size": config.patch_size,
            "hidden_size": config.cross_attention_dim,
            "in_channels": config.in_channels,
            "depth": config.num_layers,
            "caption_channels": config.caption_channels,
            "pe_interpolation": 1,  # for latents of 64 x 64; ComfyUI reckons it, and diffusers does, in other sizes
            "micro_condition": family == "pixart_alpha",
            "model_max_length": 1,
        }
    )
    found = _joined(pixart_to_diffusers(settings.unet_config), weights)
    return settings, {**found, "y_embedder.y_embedding": torch.zeros(1, config.caption_channels)}  # dropped captions


def _joined(names: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' weights under ComfyUI's names, by a table of its own: name, part of it, and what is done with it."""
    joined: dict[str, dict[int, Tensor]] = {}
    for name, weight in weights.items():
        theirs, part, *changes = (names[name], None) if isinstance(names[name], str) else names[name]
        joined.setdefault(theirs, {})[part[1] if part else 0] = changes[0](weight) if changes else weight
    return {name: torch.cat([parts[start] for start in sorted(parts)]) for name, parts in joined.items()}


def _z_image(family: str, config: Any, weights: dict[str, Tensor]) -> tuple[BASE, dict[str, Tensor]]:
    settings = supported.ZImage(
        {
            "image_model": "lumina2",
            "patch_size": 2,
            "in_channels": config.in_channels,
            "dim": config.dim,
            "cap_feat_dim": config.cap_feat_dim,
            "n_layers": config.n_layers,
            "n_refiner_layers": config.n_refiner_layers,
            "n_heads": config.n_heads,
            "n_kv_heads": config.n_kv_heads,
            "multiple_of": 1,
            "ffn_dim_multiplier": 8 / 3,
            "axes_dims": config.axes_dims,
            "axes_lens": config.axes_lens,
            "rope_theta": config.rope_theta,
            "qk_norm": True,
            "z_image_modulation": True,
            "time_scale": config.t_scale,
            "pad_tokens_multiple": 32,
        }
    )
    return settings, convert_diffusers_mmdit(weights)


def _flux2(family: str, config: Any, weights: dict[str, Tensor]) -> tuple[BASE, dict[str, Tensor]]:
    settings = supported.Flux2(
        {
            **_two_streams(config),
            "image_model": "flux2",
            "in_channels": config.in_channels,
            "out_channels": config.in_channels,
            "vec_in_dim": None,
            "mlp_ratio": config.mlp_ratio,
            "theta": config.rope_theta,
            "patch_size": 1,
            "qkv_bias": False,
            "ops_bias": False,
            "guidance_embed": config.guidance_embeds,
            "global_modulation": True,
            "mlp_silu_act": True,
            "txt_ids_dims": [3],
        }
    )
    shared = {name: name.replace(".linear.", ".lin.") for name in weights if "_stream_modulation" in name}
    renamed = {name.replace("time_guidance_embed", "time_text_embed"): weight for name, weight in weights.items()}
    return settings, _joined({**flux_to_diffusers(settings.unet_config), **shared}, renamed)


def _chroma(family: str, config: Any, weights: dict[str, Tensor]) -> tuple[BASE, dict[str, Tensor]]:
    settings = supported.Chroma(
        {
            **_two_streams(config),
            "image_model": "chroma",
            "in_channels": config.in_channels,
            "out_channels": config.in_channels,
            "vec_in_dim": None,
            "mlp_ratio": 4.0,
            "theta": 10000,
            "patch_size": 2,
            "qkv_bias": True,
            "txt_ids_dims": [],
            "in_dim": config.approximator_num_channels,
            "hidden_dim": config.approximator_hidden_dim,
            "out_dim": config.attention_head_dim * config.num_attention_heads,
            "n_layers": config.approximator_layers,
        }
    )
    distilled = {
        name: name.replace("linear_1", "in_layer").replace("linear_2", "out_layer")
        for name in weights
        if name.startswith("distilled_guidance_layer")
    }
    return settings, _joined({**flux_to_diffusers(settings.unet_config), **distilled}, weights)
