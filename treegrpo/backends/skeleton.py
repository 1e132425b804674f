"""Pipelines without weights, on the `meta` device: shapes are all that predicting memory needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from ..errors import UsageError
from .architectures import HUB_IDS, build

META = torch.device("meta")


def skeleton(path: str, dtype: torch.dtype) -> DiffusionPipeline:
    """The pipeline at a folder or hub id, with nothing but shapes; nothing is downloaded.

    Raises UsageError when its configuration is not at hand.
    """
    if not Path(path).exists() and path in HUB_IDS:
        return build(HUB_IDS[path], META, dtype)
    folder = Path(path)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(path, local_files_only=True, allow_patterns=["*.json", "*.txt", "*.model"]))
        except (LocalEntryNotFoundError, ValueError) as error:
            raise UsageError(
                f'model.path: the configuration of "{path}" is neither a folder nor cached; run: hf download {path} '
                '--include "*.json" "*.txt" "*.model", or name a pipeline folder.'
            ) from error
    try:
        index = json.loads((folder / "model_index.json").read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f'model.path: "{folder}" has no model_index.json that can be read.') from error
    parts = {name: _part(folder / name, *value) for name, value in index.items() if isinstance(value, list)}
    pipeline = getattr(diffusers, index["_class_name"])(**parts)
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.eval().to(device=META, dtype=dtype)
    return pipeline


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
