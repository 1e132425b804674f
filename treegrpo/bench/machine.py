"""The machine that a measurement ran on."""

from __future__ import annotations

import platform

import torch

from ..method.policy import Policy


def machine(policy: Policy) -> dict[str, str | int]:
    """What the times depend on."""
    on_gpu = policy.parameters()[0].device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
