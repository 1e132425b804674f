"""Windows: which steps of an iteration are stochastic."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import UsageError, check_known

SCHEDULES = ("geometric", "shifting", "uniform", "fixed", "list")


def starts(steps: int, depth: int) -> range:
    """The window starts that schedules draw from: 0..steps-depth-1, so that the last step stays an ODE step.

    Raises UsageError when no window of `depth` steps fits.
    """
    if depth < 1 or depth >= steps:
        raise UsageError(
            f"window: a window of {depth} steps does not fit before the last of {steps} denoising steps; "
            f"choose a depth from 1 to {steps - 1}."
        )
    return range(steps - depth)


def fitting_depth(steps: int) -> int:
    """Three steps (the paper's), or half of few, so that a window can lie in more than one place."""
    return max(1, min(3, steps // 2))


def geometric(steps: int, depth: int, ratio: float = 0.5) -> list[float]:
    """Probability of each window start: (1-r) r^i / (1 - r^(T-w)), i = 0..T-w-1 (the paper's "random" window)."""
    count = len(starts(steps, depth))
    return [(1 - ratio) * ratio**i / (1 - ratio**count) for i in range(count)]


def uniform(steps: int, depth: int) -> list[float]:
    """Equal probability of each window start."""
    count = len(starts(steps, depth))
    return [1 / count] * count


def chances(schedule: str, steps: int, depth: int, ratio: float = 0.5) -> list[float]:
    """How often the window starts where, over many iterations of a schedule without a fixed place."""
    return geometric(steps, depth, ratio) if schedule == "geometric" else uniform(steps, depth)


def shifting(steps: int, depth: int, iteration: int, every: int = 50) -> int:
    """Window start that moves one step later every `every` iterations and wraps round (the released code)."""
    return iteration // every % len(starts(steps, depth))


def consecutive(start: int, depth: int, steps: int) -> tuple[int, ...]:
    """The steps start..start+depth-1. Raises UsageError when they do not lie within 0..steps-1."""
    if start < 0 or depth < 1 or start + depth > steps:
        raise UsageError(
            f"window: steps {start} to {start + depth - 1} do not lie within the {steps} denoising steps "
            f"(0 to {steps - 1}); lower start or depth, or raise steps."
        )
    return tuple(range(start, start + depth))


def choose(
    schedule: str,
    *,
    steps: int,
    depth: int,
    iteration: int,
    generator: torch.Generator,
    ratio: float = 0.5,
    every: int = 50,
    start: int = 0,
    at: Sequence[int] = (),
) -> tuple[int, ...]:
    """The stochastic steps of one iteration.

    ratio belongs to `geometric`, every to `shifting`, start to `fixed`, at to `list`; others ignore them.
    Raises UsageError for an unknown schedule, naming the known ones.
    """
    check_known("window.schedule", schedule, SCHEDULES)
    if schedule == "list":
        if not at:
            raise UsageError('window.at: schedule "list" needs at least one step, for example at = [0, 3, 6].')
        return tuple(sorted(set(at)))
    if schedule == "fixed":
        return consecutive(start, depth, steps)
    if schedule == "shifting":
        return consecutive(shifting(steps, depth, iteration, every), depth, steps)
    often = torch.tensor(chances(schedule, steps, depth, ratio), dtype=torch.float64)
    drawn = torch.multinomial(often, 1, generator=generator)
    return consecutive(int(drawn), depth, steps)
