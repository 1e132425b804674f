"""Checkpoint files in the layouts that artists have, against the pipelines whose weights they carry.

diffusers tells Stable Diffusion 3 by the width of its medium models or the 38 blocks of its large one, and converts
FLUX at the width of 3072 alone, Lumina 2 at that of 2304. So those files have few blocks of that width, or many that
are narrow.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from comfy.diffusers_convert import convert_text_enc_state_dict_v20, convert_vae_state_dict
from comfy.model_detection import convert_diffusers_mmdit
from comfy.utils import swap_scale_shift
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.backends.pipelines import tiny_pipeline
from tests.backends.test_families import STEPS, open_tiny, stock_images
from tests.comfyui.checkpoints import MODEL
from tests.comfyui.native import native
from treegrpo.backends.families.registry import FAMILIES
from treegrpo.backends.pipeline_file import load_pipeline
from treegrpo.errors import UsageError

pytestmark = pytest.mark.kernels

Weights = dict[str, Tensor]
SD3_MEDIUM = {"num_layers": 2, "num_attention_heads": 24, "attention_head_dim": 64, "caption_projection_dim": 1536}
LUMINA = {"hidden_size": 2304, "num_attention_heads": 24, "num_kv_heads": 8, "axes_dim_rope": (32, 32, 32)}
FLUX = {"num_attention_heads": 24, "attention_head_dim": 128, "axes_dims_rope": (16, 56, 56)}
TRANSFORMERS = {
    "sd3": ("sd3", {**SD3_MEDIUM, "pos_embed_max_size": 192}),
    "sd35_medium": (
        "sd35",
        {**SD3_MEDIUM, "pos_embed_max_size": 384, "dual_attention_layers": (0,), "qk_norm": "rms_norm"},
    ),
    "sd35_large": ("sd3", {"num_layers": 38, "num_attention_heads": 1, "caption_projection_dim": 64}),
    "flux": ("flux", FLUX),
    "flux_comfyui": ("flux", FLUX),
    "lumina2": ("lumina2", {**LUMINA, "ffn_dim_multiplier": 0.01}),
}
"""Layouts that need other transformers than the tiny ones: whose pipeline, and what differs."""


def made(name: str, dtype: torch.dtype = torch.float32) -> DiffusionPipeline:
    """The tiny pipeline whose weights a file of that layout can carry."""
    if name not in TRANSFORMERS:
        return tiny_pipeline(name)
    family, shape = TRANSFORMERS[name]
    pipeline = tiny_pipeline(family)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # for want of memory
    try:
        pipeline.transformer = pipeline.transformer.from_config(pipeline.transformer.config, **shape).eval()
    finally:
        torch.set_default_dtype(before)
    return pipeline.to(dtype)


def autoencoder(vae: nn.Module) -> Weights:
    """The weights of an AutoencoderKL. ComfyUI's table is for four levels, and the decoder counts them backwards."""
    missing = 4 - len(vae.config.block_out_channels)
    weights = convert_vae_state_dict(vae.state_dict())
    return {re.sub(r"(?<=decoder\.up\.)\d", lambda n: str(int(n[0]) - missing), name): w for name, w in weights.items()}


def clip(encoder: nn.Module) -> Weights:
    """The weights of a CLIP text encoder under the names of old transformers."""
    return {f"text_model.{name.removeprefix('text_model.')}": weight for name, weight in encoder.state_dict().items()}


def open_clip(encoder: nn.Module) -> Weights:
    """The weights of a CLIP text encoder under the names of OpenCLIP."""
    projection = encoder.state_dict().get("text_projection.weight")
    weights = {f"transformer.{name}": weight for name, weight in clip(encoder).items() if "projection" not in name}
    weights = convert_text_enc_state_dict_v20(weights)
    return weights if projection is None else weights | {"text_projection": projection.T.contiguous()}


def mmdit(network: nn.Module) -> Weights:
    """The weights of a Stable Diffusion 3 under the names of its inventors.

    ComfyUI's table expects a block for every 64 of width, and that the last of them has the two halves of one layer
    the other way round; here the last one is another, and that one may not be there.
    """
    weights = convert_diffusers_mmdit({name: weight.clone() for name, weight in network.state_dict().items()})
    for block in (network.config.num_attention_heads - 1, network.config.num_layers - 1):
        for end in ("weight", "bias"):
            name = f"joint_blocks.{block}.context_block.adaLN_modulation.1.{end}"
            if name in weights:
                weights[name] = swap_scale_shift(weights[name])
    return weights


def flux(network: nn.Module, saved_by_comfyui: bool) -> Weights:
    """The weights of a FLUX.1 under the names of its inventors, who call what a norm multiplies by its scale."""
    weights = convert_diffusers_mmdit({name: weight.clone() for name, weight in network.state_dict().items()})
    if saved_by_comfyui:
        return {f"{MODEL}{name}": weight for name, weight in weights.items()}
    return {re.sub(r"(?<=_norm)\.weight$", ".scale", name): weight for name, weight in weights.items()}


def layout(name: str, pipeline: DiffusionPipeline) -> tuple[Weights, set[str]]:
    """What a file of that layout holds of a pipeline, and the components that it lacks."""
    if name == "qwen_image":
        return pipeline.transformer.state_dict(), {"text_encoder", "vae"}
    if name in ("flux", "flux_comfyui"):
        return flux(pipeline.transformer, name == "flux_comfyui"), {"text_encoder", "text_encoder_2", "vae"}
    if name == "lumina2":
        weights = native(name, pipeline.transformer).model.diffusion_model.state_dict()
        return {f"{MODEL}{key}": weight for key, weight in weights.items()}, {"text_encoder", "vae"}
    lacking = set()
    parts = {"first_stage_model.": autoencoder(pipeline.vae)}
    if name in ("sd3", "sd35_medium", "sd35_large"):
        parts[MODEL] = mmdit(pipeline.transformer)
        lacking = {"text_encoder", "text_encoder_2", "text_encoder_3"}
    else:
        parts[MODEL] = native(name, pipeline.unet).model.diffusion_model.state_dict()
    if name == "sd15":
        parts["cond_stage_model.transformer."] = clip(pipeline.text_encoder)
    elif name == "sd2_v":
        parts["cond_stage_model.model."] = open_clip(pipeline.text_encoder)
    elif name == "sdxl":
        parts["conditioner.embedders.0.transformer."] = clip(pipeline.text_encoder)
        parts["conditioner.embedders.1.model."] = open_clip(pipeline.text_encoder_2)
    return {f"{prefix}{key}": weight for prefix, part in parts.items() for key, weight in part.items()}, lacking


def save(name: str, pipeline: DiffusionPipeline, folder: Path) -> tuple[Path, Path]:
    """A file of that layout, and a pipeline folder in which only the components that it lacks have their weights."""
    weights, lacking = layout(name, pipeline)
    file, rest = folder / "mine.safetensors", folder / "rest"
    save_file({name: weight.clone() for name, weight in weights.items()}, file)
    pipeline.save_pretrained(rest)
    for stored in rest.glob("*/*.safetensors"):
        if stored.parent.name not in lacking:
            stored.unlink()
    return file, rest


@pytest.mark.parametrize(
    "name", ["sd15", "sd2_v", "sdxl", pytest.param("sd35_large", marks=pytest.mark.long), "qwen_image"]
)
def test_a_checkpoint_file_draws_what_its_pipeline_draws(name, tmp_path):
    pipeline = made(name)
    file, rest = save(name, pipeline, tmp_path)
    opened = load_pipeline(str(file), "float32", str(rest))
    opened.set_progress_bar_config(disable=True)
    assert type(opened) is type(pipeline)
    policy = open_tiny(name.replace("sd35_large", "sd3"))
    noise = policy.initial_noise(2, float(policy.sigmas(STEPS)[0]), torch.Generator().manual_seed(0))
    pictures = stock_images(opened, noise, 2.0)
    # The weights are the same; where they lie in memory decides how the last digit is rounded.
    np.testing.assert_allclose(pictures, stock_images(pipeline, noise, 2.0), rtol=0, atol=1e-5)
    assert pictures.std() > 0.01, "the pictures are blank, so equality would mean nothing"


@pytest.mark.parametrize(
    ("name", "part"), [pytest.param("sd35_large", "text_encoder_3", marks=pytest.mark.long), ("qwen_image", "vae")]
)
def test_a_file_that_lacks_weights_says_where_they_must_be(name, part, tmp_path):
    file, rest = save(name, made(name), tmp_path)
    for stored in rest.glob(f"{part}/*.safetensors"):
        stored.unlink()
    with pytest.raises(UsageError, match=r"mine\.safetensors.* with the rest of the pipeline in .*what the file lacks"):
        load_pipeline(str(file), "float32", str(rest))


@pytest.mark.long
@pytest.mark.parametrize("name", ["sd3", "sd35_medium", "flux", "flux_comfyui", "lumina2"])
def test_a_file_of_full_width_predicts_what_its_network_predicts(name, tmp_path):
    pipeline = made(name, torch.bfloat16)
    file, rest = save(name, pipeline, tmp_path)
    opened = load_pipeline(str(file), "bfloat16", str(rest))
    expected, found = (each.transformer.state_dict() for each in (pipeline, opened))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[weight], expected[weight]) for weight in expected)
    family = FAMILIES[type(pipeline).__name__]
    x = torch.randn((1, *family.latent_shape(pipeline, 64, 64)), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, stock = (
            family.predict(each, x, 0.5, family.encode(each, ["bear"], 24), 3.5) for each in (opened, pipeline)
        )
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-2)
    assert (stock - x).std() > 0.1, "the network does nothing, so equality would mean nothing"
    file.unlink()  # gigabytes, which pytest would keep
