"""How near a policy comes to what its device can compute."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..console import console
from .timing import Bench, Timed, medians


def roofline(bench: Bench, timed: Timed) -> dict[str, float]:
    """Floating-point operations a second of the reference's rollout and update, beside those of matrix products."""
    policy, config = bench.policy, bench.config
    rows = min(bench.sizes.training, 9 * config.train.prompts_per_iteration)
    sigma = float(policy.sigmas(config.plan.steps)[1])
    x = policy.initial_noise(rows, sigma, torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        policy.denoise(x, sigma, [bench.prompts[0]] * rows)
    with FlopCounterMode(display=False) as both:
        out = policy.denoise(x, sigma, [bench.prompts[0]] * rows)
        torch.autograd.grad(out, policy.parameters(), torch.ones_like(out))
    done = timed.contender
    evaluations, trained = done.evaluations // done.iterations, done.trained_nodes // done.iterations
    batches = bench.sizes.reused(config.make_plan(0, torch.Generator()), config.train.prompts_per_iteration)
    reused = sum(batches) if config.train.reuse_graphs else 0
    update = both.get_total_flops() * trained - forward.get_total_flops() * reused
    spent = medians(timed)
    figures = {
        "possible": _possible_flops(x.device, policy.dtype),
        "sampling": forward.get_total_flops() / rows * evaluations / spent["grow"],
        "training": update / rows / spent["update"],
    }
    console.print(
        f"Roofline: sampling {figures['sampling'] / 1e12:.2f} TFLOP/s ({figures['sampling'] / figures['possible']:.0%} "
        f"of what large matrix products reach here, {figures['possible'] / 1e12:.2f}), training "
        f"{figures['training'] / 1e12:.2f} ({figures['training'] / figures['possible']:.0%}).",
        soft_wrap=True,
    )
    return figures


def _possible_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product of random numbers, the best of ten."""
    side = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        _wait(device)
        began = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()
