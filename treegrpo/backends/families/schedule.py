"""The noise levels of a pipeline's own scheduler."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def own_sigmas(scheduler: Any, steps: int) -> Tensor:
    """float32 [steps + 1], made on a copy of the scheduler, so that the pipeline itself stays as it is."""
    own = type(scheduler).from_config(scheduler.config)
    own.set_timesteps(steps, device="cpu")
    return own.sigmas.float()
