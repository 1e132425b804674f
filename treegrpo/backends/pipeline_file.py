"""Opening diffusers pipelines: from a folder, a hub id, or one checkpoint file as artists have them."""

from __future__ import annotations

from pathlib import Path

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.loaders.single_file_utils import (
    DIFFUSERS_DEFAULT_PIPELINE_PATHS,
    infer_diffusers_model_type,
    load_single_file_checkpoint,
)
from huggingface_hub import try_to_load_from_cache

from ..errors import UsageError

CHECKPOINT_KINDS = {
    "v1": "StableDiffusionPipeline",
    "v2": "StableDiffusionPipeline",
    "xl_base": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "sd35_medium": "StableDiffusion3Pipeline",
    "sd35_large": "StableDiffusion3Pipeline",
    "flux-dev": "FluxPipeline",
    "flux-schnell": "FluxPipeline",
}
"""diffusers' names of checkpoint layouts -> the pipeline that they become."""


def load_pipeline(path: str, dtype: str, config: str | None = None) -> DiffusionPipeline:
    """The pipeline in a folder, in a .safetensors file, or under a hub id (which downloads it).

    config: for a file, the pipeline folder that has its configuration and tokenizers; the Hugging Face cache if None.
    Raises UsageError when there is no pipeline.
    """
    if Path(path).suffix == ".safetensors":
        return _from_file(Path(path), getattr(torch, dtype), config)
    if Path(path).is_dir() and not (Path(path) / "model_index.json").is_file():
        raise UsageError(f'model.path: "{path}" has no model_index.json, so it is not a diffusers pipeline folder.')
    try:
        return DiffusionPipeline.from_pretrained(path, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise UsageError(
            f'model.path: "{path}" could not be loaded as a diffusers pipeline ({_first_line(error)}).'
        ) from error


def _from_file(file: Path, dtype: torch.dtype, config: str | None) -> DiffusionPipeline:
    """The pipeline in a checkpoint file; nothing is downloaded for it."""
    if not file.is_file():
        raise UsageError(f'model.path: there is no file "{file}".')
    try:
        kind = infer_diffusers_model_type(load_single_file_checkpoint(str(file)))
    except (OSError, ValueError) as error:
        raise UsageError(f'model.path: "{file}" cannot be read as a checkpoint ({_first_line(error)}).') from error
    if kind not in CHECKPOINT_KINDS:
        known = ", ".join(CHECKPOINT_KINDS)
        raise UsageError(f'model.path: "{file}" looks like "{kind}", which is not supported; known are {known}.')
    source = config or _cached_config(file, kind)
    pipeline = getattr(diffusers, CHECKPOINT_KINDS[kind])
    try:
        return pipeline.from_single_file(str(file), config=source, local_files_only=True, torch_dtype=dtype)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f'model.path: "{file}" could not be loaded with the configuration of "{source}" ({_first_line(error)}).'
        ) from error


def _cached_config(file: Path, kind: str) -> str:
    """The hub id whose cached configuration fits a kind of checkpoint. Raises UsageError when it is not cached."""
    hub_id = DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"]
    if not isinstance(try_to_load_from_cache(hub_id, "model_index.json"), str):
        raise UsageError(
            f'model.path: "{file}" is a "{kind}" checkpoint and needs the configuration and tokenizers of {hub_id}, '
            f'which are not cached; run: hf download {hub_id} --include "*.json" "*.txt" "*.model", or set '
            "model.config to a pipeline folder that has them."
        )
    return hub_id


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
