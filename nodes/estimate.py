"""Time and memory of a plan on this machine, measured on one picture."""

from __future__ import annotations

import time

import torch

from ..treegrpo.backends.comfy.policy import Prompts
from ..treegrpo.method.plan import Cost
from .opened import opened
from .sockets import Drawing, PlanValue, PolicyValue

TRAINING_COST = 3
"""A training step costs about three evaluations: one forward, and twice that backward."""


def estimate(policy: PolicyValue, prompts: Prompts, plan: PlanValue, cost: Cost) -> str:
    """One line: seconds per prompt and iteration, at most, and memory per picture while training.

    A node shows two lines of about 45 characters.
    """
    with opened(policy, Drawing(None, prompts, plan)) as live:
        text = next(iter(prompts.positive))
        sigma = float(live.sigmas(plan.plan.steps)[0])
        x = live.initial_noise(1, sigma, torch.Generator().manual_seed(0))
        start = time.perf_counter()
        with torch.no_grad():
            live.denoise(x, sigma, [text])
        seconds = time.perf_counter() - start
        row = live.training_bytes(x, sigma, [text])
    total = (cost.evaluations + TRAINING_COST * cost.trained_nodes) * seconds
    return f"up to {total:.1f} s a prompt, {row / 2**20:.0f} MiB a picture"
