"""What a configured run will take of a device, before any weight is loaded."""

from __future__ import annotations

import torch

from ..errors import UsageError
from ..memory.batch_sizes import batch_sizes
from ..memory.prediction import META, MemoryPlan, Modules, predict
from ..method.grow import BatchSizes
from ..pictures.instruction import Instruction
from .assemble import lora_settings, policy_options
from .config import Config

PROMPT = "a prompt"


def run_memory(config: Config, sizes: BatchSizes | None = None) -> MemoryPlan:
    """The memory of a headless run on one device with the rewards elsewhere.

    sizes: the batches, if they are not to be those that fit train.memory_gb; so plans can be compared in equal ones.
    Raises UsageError where the model's configuration is not at hand, and when one picture does not fit the budget.
    """
    from ..backends.diffusers import DiffusersPolicy
    from ..backends.families.family import ChangesPictures
    from ..backends.skeleton import skeleton

    dtype = getattr(torch, config.model.dtype or "bfloat16")
    if config.model.path.endswith(".safetensors") and not config.model.config:
        raise UsageError(
            f'model.path: the memory of "{config.model.path}" follows from the configuration of its pipeline; set '
            "model.config to the folder or hub id that has it."
        )
    if config.model.config:
        pipeline = skeleton(config.model.config, dtype, "model.config")
    else:
        pipeline = skeleton(config.model.path, dtype)
    policy = DiffusersPolicy(pipeline, lora_settings(config.lora), device=META, **policy_options(config.model))
    prompt = Instruction(PROMPT, torch.zeros(1, 1, 3)) if isinstance(policy.family, ChangesPictures) else PROMPT
    modules = Modules(policy.network, policy.placement.encoders, pipeline.vae, config.model.offload)
    return predict(
        policy,
        modules,
        config.make_plan(0, torch.Generator().manual_seed(0)),  # all windows keep the same nodes, so any will do
        prompt,
        config.train.prompts_per_iteration,
        sizes or batch_sizes(policy, [prompt], config.plan.steps, config.train.memory_gb),
        reuse_graphs=config.train.reuse_graphs,
    )
