"""From the tables of a configuration to the objects of a headless run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..rewards.host import Host
from ..rewards.registry import create
from ..rewards.reward import Rewards
from ..run import lora_file
from .config import Config, LoraTable, ModelTable, RewardTable

if TYPE_CHECKING:
    from ..backends.diffusers import DiffusersPolicy, LoraSettings


def build_policy(config: Config, sharded: bool = False) -> DiffusersPolicy:
    """The policy of a run, with the adapter of lora.continue_from if there is one; sharded: see DiffusersPolicy."""
    policy = open_model(config.model, config.lora, config.train.seed, sharded)
    if config.lora.continue_from:
        state, _ = lora_file.read(Path(config.lora.continue_from), config.lora.alpha / config.lora.rank)
        policy.load_adapter_state(state)
    return policy


def open_with_lora(model: ModelTable, lora: Path | None) -> DiffusersPolicy:
    """A policy on a model with a finished LoRA, or with an adapter that does nothing when `lora` is None."""
    if lora is None:
        return open_model(model, LoraTable())
    state, facts = lora_file.read(lora)
    policy = open_model(model, LoraTable(rank=facts["rank"], alpha=facts["alpha"], targets=facts["targets"]))
    policy.load_adapter_state(state)
    return policy


def open_model(model: ModelTable, lora: LoraTable, seed: int = 0, sharded: bool = False) -> DiffusersPolicy:
    """A policy on a model with a fresh adapter. Raises UsageError for an adapter that only ComfyUI has."""
    from ..backends.diffusers import load

    return load(
        model.path,
        lora_settings(lora, seed),
        model.dtype,
        config=model.config,
        sharded=sharded,
        **policy_options(model),
    )


def lora_settings(lora: LoraTable, seed: int = 0) -> LoraSettings:
    """The adapter of a table. Raises UsageError for one that only ComfyUI has."""
    from ..backends.diffusers import LoraSettings

    if lora.kind != "LoRA":
        raise UsageError(f'lora.kind: "{lora.kind}" works in ComfyUI only; choose "LoRA".')
    return LoraSettings(lora.rank, lora.alpha, lora.targets, seed)


def policy_options(model: ModelTable) -> dict[str, Any]:
    """What DiffusersPolicy takes from the table, beside the pipeline, the adapter and the device."""
    from ..backends.diffusers import Economy

    economy = {each.name: getattr(model, each.name) for each in fields(Economy)}
    same = ("guidance", "training_guidance", "negative_prompt", "height", "width", "max_sequence_length")
    return {"economy": Economy(**economy), **{name: getattr(model, name) for name in same}}


def build_rewards(tables: Sequence[RewardTable]) -> Rewards:
    """The rewards with their weights, on the machine's accelerator. Raises UsageError for unknown names and options."""
    return [(create(table.name, Host(), **table.options), table.weight) for table in tables]
