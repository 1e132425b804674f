"""Learned rewards under ComfyUI's memory management."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import comfy.model_management as management
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from torch import nn

from ...rewards.host import Host

FOLDER = "rewards"
"""The kind of model folder in which ComfyUI looks for rewards; extra_model_paths.yaml may add to it."""
folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


def reward_host() -> Host:
    """ComfyUI's device, its folders for rewards, and its way of finding room for a network."""
    folders = tuple(Path(folder) for folder in folder_paths.get_folder_paths(FOLDER))
    return Host(management.get_torch_device(), folders, placed)


@contextmanager
def placed(network: nn.Module) -> Iterator[torch.device]:
    """Have ComfyUI load the network, unloading others if need be; it stays until ComfyUI wants the memory back."""
    patcher = getattr(network, "patcher", None)
    if patcher is None:
        # A plain one: weights that are moved page by page need ComfyUI's own layers. It sets attributes of what it
        # holds, which networks of transformers do not let it.
        patcher = ModelPatcher(nn.ModuleList([network]), management.get_torch_device(), torch.device("cpu"))
        network.patcher = patcher  # so that both live equally long
    management.load_models_gpu([patcher], force_full_load=True)
    yield patcher.load_device
