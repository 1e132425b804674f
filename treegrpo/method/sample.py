"""Plain sampling along the ODE: how a finished LoRA is used and judged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .grow import BatchSizes, batched
from .policy import Policy
from .process import ode


@torch.no_grad()
def sample(policy: Policy, prompts: Sequence[str], steps: int, generator: torch.Generator, batch: BatchSizes) -> Tensor:
    """Final latents float32 [N, C, H, W], one per prompt; the same seed gives the same noise for every adapter."""
    policy.prepare(prompts)
    sigmas = policy.sigmas(steps).tolist()
    x = policy.initial_noise(len(prompts), sigmas[0], generator)
    for s, end in pairwise(sigmas):
        x0 = batched(lambda rows, texts, s=s, end=end: policy.denoise(rows, s, texts, end), batch.rollout, x, prompts)
        x = ode(policy.path, s, end).mean(x, x0)
    return x


def decode(policy: Policy, latents: Tensor, batch: BatchSizes) -> Tensor:
    """Images float32 [N, H, W, 3] in 0..1 on the CPU, decoded in batches."""
    return batched(policy.decode, batch.decode, latents)
