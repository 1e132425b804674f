"""Opening diffusers pipelines: from a folder, a hub id, or one checkpoint file as artists have them.

Such a file holds everything (Stable Diffusion 1, 2 and XL), lacks text encoders (3, 3.5) or is the denoiser alone
(FLUX.1, Qwen-Image, Lumina 2). What it lacks is taken from the pipeline that gives its configuration; so are all text
encoders where it lacks the largest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.loaders.single_file_utils import (
    DIFFUSERS_DEFAULT_PIPELINE_PATHS,
    SingleFileComponentError,
    infer_diffusers_model_type,
    load_single_file_checkpoint,
)
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from torch import Tensor

from ..errors import UsageError, first_line
from .families.registry import FAMILIES

INDEX = "model_index.json"
CHECKPOINT_KINDS = {
    "v1": ("StableDiffusionPipeline",),
    "v2": ("StableDiffusionPipeline",),
    "xl_base": ("StableDiffusionXLPipeline",),
    "sd3": ("StableDiffusion3Pipeline",),
    "sd35_medium": ("StableDiffusion3Pipeline",),
    "sd35_large": ("StableDiffusion3Pipeline",),
    "flux-dev": ("FluxPipeline",),
    "flux-schnell": ("FluxPipeline",),
    "qwen-image": ("QwenImagePipeline", "QwenImageEditPlusPipeline"),
    "qwen-image-2.1": ("QwenImage21Pipeline",),
    "lumina2": ("Lumina2Pipeline",),
    "z-image-turbo": ("ZImagePipeline",),
    "chroma": ("ChromaPipeline",),
}
"""diffusers' names of checkpoint layouts, and one that it has no name for -> what they may become."""
DENOISER = "model.diffusion_model."
WITHOUT_PREFIX = ("txt_norm.weight", "layers.0.adaLN_modulation.1.weight")
"""Weights of Qwen-Image and Lumina 2, whose denoisers diffusers converts under names without that prefix alone."""
VAE = ("first_stage_model.", "vae.")
TEXT_ENCODERS = ("cond_stage_model.", "conditioner.", "text_encoders.t5xxl.")
QUANTISED = (".scale_weight", ".weight_scale", ".comfy_quant", "scaled_fp8")
"""How names end that ComfyUI's quantised files have beside the weights."""


def load_pipeline(path: str, dtype: str, config: str | None = None) -> DiffusionPipeline:
    """The pipeline in a folder, in a .safetensors file, or under a hub id (which downloads it).

    config: for a file, the pipeline folder that has its configuration, its tokenizers and the weights that it lacks;
    the Hugging Face cache if None.
    Raises UsageError when there is no pipeline, and for one of a kind that is not supported before it is downloaded.
    """
    if Path(path).suffix == ".safetensors":
        return _from_file(Path(path), getattr(torch, dtype), config)
    read_index(Path(path) if Path(path).is_dir() else _index_from_hub(path).parent, path)
    try:
        return DiffusionPipeline.from_pretrained(path, dtype=getattr(torch, dtype))
    except (OSError, ValueError, AttributeError, ImportError) as error:  # when diffusers lacks a class, or it a package
        raise UsageError(
            f'model.path: "{path}" could not be loaded as a diffusers pipeline ({first_line(error)}).'
        ) from error


def read_index(folder: Path, path: str, key: str = "model.path") -> dict[str, Any]:
    """The model_index.json in the folder of a pipeline that is called `path` at `key` of the configuration.

    Raises UsageError when there is none, and when the pipeline is of a kind that is not supported.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        kind = index["_class_name"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f'{key}: "{path}" has no {INDEX} that names a pipeline, so it is not a diffusers pipeline folder.'
        ) from error
    if str(kind) not in FAMILIES:
        raise UsageError(f'{key}: "{path}" is a {kind}, which is not supported; choose a {" or ".join(FAMILIES)}.')
    return index


def _index_from_hub(hub_id: str) -> Path:
    """The model_index.json of a hub id, alone. Raises UsageError when there is none."""
    try:
        return Path(hf_hub_download(hub_id, INDEX))
    except (OSError, ValueError) as error:
        raise UsageError(
            f'model.path: "{hub_id}" is neither a folder nor the hub id of a diffusers pipeline ({first_line(error)}).'
        ) from error


def _from_file(file: Path, dtype: torch.dtype, config: str | None) -> DiffusionPipeline:
    """The pipeline in a checkpoint file; nothing is downloaded for it."""
    weights = _read(file)
    kind, has_vae, whole = _recognise(file, weights)
    source = config or _cached_config(file, kind, whole)
    options = {"local_files_only": True, "dtype": dtype}
    try:
        index = DiffusionPipeline.load_config(source, local_files_only=True)
        if index["_class_name"] not in CHECKPOINT_KINDS[kind]:
            needed = " or ".join(CHECKPOINT_KINDS[kind])
            raise ValueError(f'it is a {index["_class_name"]}, and "{kind}" files need a {needed}')
        parts = {}
        for part in ["unet" if "unet" in index else "transformer"] + ["vae"] * has_vae:
            component = getattr(diffusers, index[part][1])
            # a copy, since what is converted is taken out of it
            parts[part] = component.from_single_file(dict(weights), config=source, subfolder=part, **options)
        if whole:
            made = getattr(diffusers, index["_class_name"])
            return made.from_single_file(str(file), config=source, **parts, **options)
        return DiffusionPipeline.from_pretrained(source, **parts, **options)
    except (OSError, ValueError, LookupError, RuntimeError, SingleFileComponentError) as error:
        remedy = "" if config else f"; run: {download_command(source, whole)}"
        raise UsageError(
            f'model.path: "{file}" could not be loaded with the rest of the pipeline in "{source}", which must have '
            f"what the file lacks ({first_line(error)}){remedy}."
        ) from error


def _read(file: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint file, under the names that diffusers converts from. Raises UsageError without any."""
    if not file.is_file():
        raise UsageError(f'model.path: there is no file "{file}".')
    try:
        weights = load_single_file_checkpoint(str(file))
    except (OSError, ValueError) as error:
        raise UsageError(f'model.path: "{file}" cannot be read as a checkpoint ({first_line(error)}).') from error
    if any(f"{DENOISER}{name}" in weights for name in WITHOUT_PREFIX):
        return {name.removeprefix(DENOISER): weight for name, weight in weights.items() if name.startswith(DENOISER)}
    # FLUX.1 as ComfyUI saves it
    return {re.sub(r"(\.norm\.(query|key)_norm)\.weight$", r"\1.scale", name): weights[name] for name in weights}


def _recognise(file: Path, checkpoint: Mapping[str, Tensor]) -> tuple[str, bool, bool]:
    """(kind, whether it has a VAE, whether it has all weights) of the weights in a checkpoint file.

    Raises UsageError for what cannot become a pipeline.
    """
    kind = _kind(checkpoint)
    if kind not in CHECKPOINT_KINDS:
        known = ", ".join(CHECKPOINT_KINDS)
        raise UsageError(f'model.path: "{file}" looks like "{kind}", which is not supported; known are {known}.')
    if any(name.endswith(QUANTISED) for name in checkpoint):
        raise UsageError(
            f'model.path: the weights in "{file}" are quantised in a way that only ComfyUI reads; choose a file in '
            "bfloat16 or float16, or train it in ComfyUI."
        )
    has_vae, has_text_encoders = (any(name.startswith(part) for name in checkpoint) for part in (VAE, TEXT_ENCODERS))
    return kind, has_vae, has_vae and has_text_encoders


def _kind(checkpoint: Mapping[str, Tensor]) -> str:
    """The name of a checkpoint's layout. diffusers knows none of Qwen-Image, and calls "v1" what it does not know."""
    if "txt_norm.weight" in checkpoint:
        return "qwen-image"
    try:
        kind = infer_diffusers_model_type(checkpoint)
    except (LookupError, NameError, ValueError):  # it goes by one weight, and expects others of certain shapes then
        return "unknown"
    return "unknown" if kind == "v1" and f"{DENOISER}input_blocks.0.0.weight" not in checkpoint else kind


def _cached_config(file: Path, kind: str, whole: bool) -> str:
    """The hub id whose cached pipeline fits a kind of checkpoint. Raises UsageError when it is not cached.

    whole: the file has all weights, so that configuration and tokenizers suffice.
    """
    known = {**DIFFUSERS_DEFAULT_PIPELINE_PATHS, "qwen-image": {"pretrained_model_name_or_path": "Qwen/Qwen-Image"}}
    hub_id = known[kind]["pretrained_model_name_or_path"]
    if not isinstance(try_to_load_from_cache(hub_id, "model_index.json"), str):
        needed = "configuration and tokenizers" if whole else "configuration, tokenizers, text encoders and VAE"
        raise UsageError(
            f'model.path: "{file}" is a "{kind}" checkpoint and needs the {needed} of {hub_id}, which are not cached; '
            f"run: {download_command(hub_id, whole)}, or set model.config to a pipeline folder that has them."
        )
    return hub_id


def download_command(hub_id: str, whole: bool) -> str:
    """The command that caches a pipeline's configuration and tokenizers, and other weights than the denoiser's.

    whole: without these weights.
    """
    weights = "" if whole else ' "text_encoder*" "vae/*"'
    return f'hf download {hub_id} --include "*.json" "*.txt" "*.model"{weights}'
