"""Plain sampling along the ODE: how a finished LoRA is used and judged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
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
    for s, s_next in pairwise(sigmas):
        x0 = batched(partial(_predict, policy, s, s_next), batch.rollout, x, prompts)
        x = ode(policy.path, s, s_next).mean(x, x0)
    return x


def _predict(policy: Policy, sigma: float, until: float, x: Tensor, prompts: Sequence[str]) -> Tensor:
    return policy.denoise(x, sigma, prompts, until)


def decode(policy: Policy, latents: Tensor, batch: BatchSizes) -> Tensor:
    """Images float32 [N, H, W, 3] in 0..1 on the CPU, decoded in batches."""
    return batched(policy.decode, batch.decode, latents)
