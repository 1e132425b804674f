"""Pipelines without weights, on the `meta` device: shapes are all that predicting memory needs."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from ..errors import UsageError, first_line
from .architectures import HUB_IDS, build
from .pipeline_file import INDEX, download_command, read_index

META = torch.device("meta")


def skeleton(path: str, dtype: torch.dtype, key: str = "model.path") -> DiffusionPipeline:
    """The pipeline at a folder or hub id, with nothing but shapes; nothing is downloaded.

    Raises UsageError, which names the `key` that the path comes from, when its configuration is not at hand.
    """
    if not Path(path).exists() and path in HUB_IDS:
        return build(HUB_IDS[path], META, dtype)
    folder = Path(path) if Path(path).is_dir() else _cached(path, key)
    index = read_index(folder, path, key)
    try:
        parts = {name: _part(folder / name, *value) for name, value in index.items() if _names_a_class(value)}
    except (OSError, ValueError, AttributeError, ImportError) as error:  # when diffusers lacks a class, or it a package
        remedy = "choose a whole pipeline" if Path(path).is_dir() else f"run: {download_command(path, whole=True)}"
        raise UsageError(
            f'{key}: the configuration of "{path}" cannot be read ({first_line(error).rstrip(".")}); {remedy}.'
        ) from error
    kind = getattr(diffusers, index["_class_name"])
    taken = signature(kind.__init__).parameters
    pipeline = kind(**parts, **{name: value for name, value in index.items() if name in taken and name not in parts})
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.eval().to(device=META, dtype=dtype)
    return pipeline


def _names_a_class(value: Any) -> bool:
    """Whether an entry of model_index.json is a part: its library and class, or null for both. Others are settings."""
    return isinstance(value, list) and len(value) == 2 and all(name is None or isinstance(name, str) for name in value)


def _cached(hub_id: str, key: str) -> Path:
    """The folder in the Hugging Face cache. Raises UsageError when the pipeline is not there."""
    try:
        return Path(hf_hub_download(hub_id, INDEX, local_files_only=True)).parent
    except (LocalEntryNotFoundError, ValueError) as error:
        raise UsageError(
            f'{key}: the configuration of "{hub_id}" is neither a folder nor cached; run: '
            f"{download_command(hub_id, whole=True)}, or name a pipeline folder."
        ) from error


def _part(folder: Path, library: str | None, kind: str | None) -> Any:
    """One component of a pipeline: networks without weights, all else as it is."""
    if library not in ("transformers", "diffusers") or kind is None:
        return None  # such as the safety checker of Stable Diffusion 1, which nothing here uses
    made = getattr(transformers if library == "transformers" else diffusers, kind)
    if library == "transformers" and issubclass(made, torch.nn.Module):
        with torch.device(META):
            return made(made.config_class.from_pretrained(folder))
    if issubclass(made, torch.nn.Module):
        with torch.device(META):
            return made.from_config(made.load_config(folder))
    return made.from_pretrained(folder)
