"""How many rows fit a memory budget, measured on one row before the run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import UsageError
from ..method.grow import BatchSizes
from ..method.policy import Policy
from .live_bytes import peak_bytes

DEFAULT_GB = 2.0
DECODE_ROWS = 8
"""Most pictures per decode: convolutions at image size fill a device (on a CPU its cache) sooner."""


def batch_sizes(policy: Policy, prompts: Sequence[str], steps: int, budget_gb: float) -> BatchSizes:
    """The batch sizes that keep activations within budget_gb (GiB). Raises UsageError when one row does not fit.

    Kept graphs get half of the budget: the rest of the rollout runs beside them, without gradients, in far less.
    """
    x, sigma = _noise(policy, steps)
    row = policy.training_bytes(x, sigma, prompts[:1])
    rows = int(budget_gb * 2**30 / max(row, 1))
    if rows < 1:
        raise UsageError(
            f"train.memory_gb: one picture needs {row / 2**30:.2f} GiB of activations and the budget is "
            f"{budget_gb:g} GiB; raise it, lower the resolution or set model.gradient_checkpointing = true."
        )
    return BatchSizes(rollout=rows, training=rows, decode=_decoded(policy, x, budget_gb), graphs=rows // 2)


def drawing_sizes(policy: Policy, prompts: Sequence[str], steps: int, budget_gb: float = DEFAULT_GB) -> BatchSizes:
    """The batch sizes of drawing alone, where nothing is trained; single pictures where not even one fits."""
    x, sigma = _noise(policy, steps)
    policy.prepare(prompts[:1])
    with torch.no_grad(), policy.drawing():
        row = peak_bytes(lambda: policy.denoise(x, sigma, prompts[:1]))
    rows = max(1, int(budget_gb * 2**30 / max(row, 1)))
    return BatchSizes(rollout=rows, training=rows, decode=_decoded(policy, x, budget_gb))


def _noise(policy: Policy, steps: int) -> tuple[Tensor, float]:
    """The state of one picture before the first step, and its sigma."""
    sigma = float(policy.sigmas(steps)[0])
    return policy.initial_noise(1, sigma, torch.Generator().manual_seed(0)), sigma


def _decoded(policy: Policy, x: Tensor, budget_gb: float) -> int:
    """Pictures per decode, from the latents of one."""
    return max(1, min(DECODE_ROWS, int(budget_gb * 2**30 / max(policy.decoding_bytes(x), 1))))
