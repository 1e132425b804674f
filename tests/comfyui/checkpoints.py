"""Tiny checkpoints with random weights in the formats of real ones, and what the tests need to use them in-process.

ComfyUI reads a model's sizes off its weights, so real architectures can be had with few layers. Every file holds an
autoencoder too (TAESD). What such a model paints means nothing, but it depends on the latent, on sigma, on the
conditioning and on the weights. A file that is there already, made by another test, is taken as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.ops
import comfy.sd
import comfy.sd1_clip
import torch
from comfy.cldm.cldm import ControlNet
from comfy.clip_model import CLIPTextModel
from comfy.ldm.flux.model import Flux
from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_patcher import ModelPatcher
from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor
from comfy.taesd.taesd import TAESD
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

OPERATIONS = comfy.ops.disable_weight_init
MODEL = "model.diffusion_model."
CLIP_L = "text_encoders.clip_l.transformer."
UNET: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1],
    "transformer_depth_middle": -2,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "context_dim": 768,
    "legacy": False,
    "operations": OPERATIONS,
}
ROTATED = {"convrot": True, "convrot_groupsize": 64}
QUANTISED: dict[str, dict[str, Any]] = {
    "float8_e4m3fn": {"scale": "recalculate"},
    "float8_e5m2": {"scale": "recalculate"},
    "mxfp8": {},
    "nvfp4": {},
    "int8_tensorwise": {"per_channel": True, **ROTATED},
    "convrot_w4a4": {"convrot_groupsize": 64},
}
"""ComfyUI's formats of quantised weights, with what quantising them takes."""


def sd3(folder: Path, depth: int = 1, dtype: torch.dtype = torch.float16, seed: int = 0) -> Path:
    """A Stable Diffusion 3 without text encoder: latents of 16 channels, conditioning of width 64, pooled 64."""
    path = folder / f"sd3_depth{depth}_{_short(dtype)}_{seed}.safetensors"
    return _save(path, lambda: _sd3(depth, context=64, pooled=64), dtype, seed)


def sd3_with_clip(folder: Path, depth: int = 1, dtype: torch.dtype = torch.float16, seed: int = 0) -> Path:
    """A Stable Diffusion 3 with a text encoder, so that stock CheckpointLoaderSimple and CLIPTextEncode suffice."""
    path = folder / f"sd3_depth{depth}_clip_{_short(dtype)}_{seed}.ckpt"
    if not path.exists():
        model = _sd3(depth, context=4096, pooled=2048)
        parts = _weights(model, TAESD(latent_channels=16), "first_stage_model.", dtype, seed)
        torch.save({"state_dict": {**parts, **_clip_l(seed)}}, path)
    return path


def flux(folder: Path, dtype: torch.dtype = torch.float16, seed: int = 0) -> Path:
    """A Flux (dev, so with a guidance embedding): latents of 16 channels, conditioning of width 64, pooled 64."""
    path = folder / f"flux_{_short(dtype)}_{seed}.safetensors"
    return _save(path, _flux, dtype, seed, autoencoder="vae.")


def sd15(folder: Path, dtype: torch.dtype = torch.float16, seed: int = 0) -> Path:
    """A Stable Diffusion 1.5, which predicts noise: latents of 4 channels, conditioning of width 768, no pooled."""
    path = folder / f"sd15_{_short(dtype)}_{seed}.safetensors"
    return _save(path, lambda: UNetModel(out_channels=4, transformer_depth_output=[1, 1], **UNET), dtype, seed, 4)


def controlnet(folder: Path, seed: int = 0) -> Path:
    """A ControlNet for the Stable Diffusion 1.5, which sees pictures of 3 channels."""
    path = folder / f"controlnet_{seed}.safetensors"
    if not path.exists():
        save_file(_random(ControlNet(hint_channels=3, **UNET), torch.Generator().manual_seed(seed)), path)
    return path


def quantised(path: Path, form: str, smoothed: bool = False) -> tuple[Path, Path]:
    """The checkpoint with the matrices of its blocks quantised, as ComfyUI stores them, and one of the same weights
    unpacked.

    smoothed: the layers scale their inputs, as activation-aware quantisation has them do.
    """
    stem = f"{path.stem}_{form}{'_smoothed' if smoothed else ''}"
    files = path.with_stem(stem), path.with_stem(f"{stem}_unpacked")
    if all(file.exists() for file in files):
        return files
    how = QUANTISED[form]
    about = {"format": form, **{key: value for key, value in how.items() if key in ROTATED}}
    packed, plain = load_file(path), load_file(path)
    for name in [name for name, weight in plain.items() if "blocks" in name and weight.ndim == 2]:
        layer = name.removesuffix("weight")
        weight = QuantizedTensor.from_float(packed.pop(name).float(), QUANT_ALGOS[form]["comfy_tensor_layout"], **how)
        packed |= weight.state_dict(name)
        packed[f"{layer}comfy_quant"] = torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)
        plain[name] = weight.dequantize().clone()
        if smoothed:
            scale = torch.linspace(0.5, 1.5, weight.shape[1])
            packed[f"{layer}pre_quant_scale"] = scale
            plain[name] *= scale
    for file, weights in zip(files, (packed, plain), strict=True):
        save_file(weights, file)
    return files


def load(path: Path, dtype: torch.dtype | None = None) -> tuple[ModelPatcher, comfy.sd.CLIP | None, comfy.sd.VAE]:
    """The checkpoint, as the stock loader nodes give it.

    dtype: what the model's weights are held in, as UNETLoader's weight_dtype; None leaves it to ComfyUI, which takes
    float32 on a CPU, whatever the file holds.
    """
    options = {} if dtype is None else {"dtype": dtype}
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(path), model_options=options)
    return model, clip, vae


def as_v_prediction(model: ModelPatcher) -> ModelPatcher:
    """The model with its output taken for v, as artists do it for Stable Diffusion 1.5, whose files do not tell."""
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    return ModelSamplingDiscrete().patch(model, "v_prediction", zsnr=False)[0]


def conditioning(seed: int, tokens: int = 4, width: int = 64, pooled: int = 64) -> list:
    """A CONDITIONING of random numbers, in place of an encoded prompt."""
    generator = torch.Generator().manual_seed(seed)
    context = torch.randn(1, tokens, width, generator=generator)
    return [[context, {"pooled_output": torch.randn(1, pooled, generator=generator)}]]


def _sd3(depth: int, context: int, pooled: int) -> MMDiT:
    size = 64 * depth
    embedder = {"target": "torch.nn.Linear", "params": {"in_features": context, "out_features": size}}
    return MMDiT(
        input_size=None,
        in_channels=16,
        depth=depth,
        adm_in_channels=pooled,
        context_embedder_config=embedder,
        operations=OPERATIONS,
    )


def _flux() -> Flux:
    return Flux(
        in_channels=16,
        out_channels=16,
        vec_in_dim=64,
        context_in_dim=64,
        hidden_size=128,
        mlp_ratio=4.0,
        num_heads=1,
        depth=1,
        depth_single_blocks=1,
        axes_dim=[16, 56, 56],
        theta=10000,
        patch_size=2,
        qkv_bias=True,
        guidance_embed=True,
        txt_ids_dims=[],
        operations=OPERATIONS,
    )


def clip_vision(folder: Path) -> Path:
    """A CLIP ViT-L/14 image encoder with random weights, the smallest that Load CLIP Vision knows."""
    config = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
        projection_dim=768,
    )
    path = folder / "vit_l.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with torch.device("meta"):
            names = CLIPVisionModelWithProjection(config).state_dict()
        noise = torch.randn(2**20, generator=torch.Generator().manual_seed(0)).mul(0.02).half()
        state = {
            key: noise.repeat(-(-value.numel() // len(noise)))[: value.numel()].view(value.shape)
            for key, value in names.items()
        }
        save_file(state, path)
    return path


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _save(
    path: Path,
    build: Callable[[], nn.Module],
    dtype: torch.dtype,
    seed: int,
    channels: int = 16,
    autoencoder: str = "first_stage_model.",
) -> Path:
    if not path.exists():
        save_file(_weights(build(), TAESD(latent_channels=channels), autoencoder, dtype, seed), path)
    return path


def _weights(model: nn.Module, vae: TAESD, vae_prefix: str, dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    """The random weights of both. Only the diffusion model's are of `dtype`, as in files of fp8 models."""
    generator = torch.Generator().manual_seed(seed)
    weights = {MODEL + name: tensor.to(dtype) for name, tensor in _random(model, generator).items()}
    vae.load_state_dict(_random(vae, generator) | {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)})
    _centre(vae.taesd_decoder, generator)
    return weights | {vae_prefix + name: tensor.half() for name, tensor in vae.state_dict().items()}


@torch.no_grad()
def _centre(decoder: nn.Sequential, generator: torch.Generator) -> None:
    """Let the pictures be a medium grey on average, with few pixels beyond black and white."""
    first, last = decoder[1], decoder[-1]
    pictures = decoder(torch.randn(8, first.in_channels, 8, 8, generator=generator))
    scale = 0.2 / pictures.std((0, 2, 3))
    last.weight *= scale[:, None, None, None]
    last.bias.copy_(0.5 + scale * (last.bias - pictures.mean((0, 2, 3))))


def _random(module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights that keep the size of what passes through them; norms scale by one."""
    weights = {}
    for name, empty in module.state_dict().items():
        drawn = torch.randn(empty.shape, generator=generator)
        if empty.ndim > 1:
            weights[name] = drawn / math.sqrt(empty[0].numel())
        else:
            weights[name] = 0.1 * drawn if name.endswith("bias") else torch.ones_like(drawn)
    return weights


def _clip_l(seed: int) -> dict[str, Tensor]:
    """A CLIP-L, the smallest text encoder that ComfyUI knows: 123 million weights, but half a megabyte on disk.

    The rows of a matrix are overlapping views of one random vector, vectors are views of one number.
    """
    config = json.loads((Path(comfy.sd1_clip.__file__).parent / "sd1_clip_config.json").read_text())
    model = CLIPTextModel(config, torch.float32, torch.device("meta"), OPERATIONS)
    generator = torch.Generator().manual_seed(seed)
    zero, one = torch.zeros(1), torch.ones(1)
    weights = {}
    for name, empty in model.state_dict().items():
        if empty.ndim == 2:
            rows, columns = empty.shape
            noise = torch.randn(rows + columns, generator=generator) / math.sqrt(columns)
            weights[CLIP_L + name] = noise.as_strided((rows, columns), (1, 1))
        else:
            weights[CLIP_L + name] = (zero if name.endswith("bias") else one).expand(empty.shape)
    return weights
