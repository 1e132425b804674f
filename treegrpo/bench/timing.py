"""Iterations of several contenders, timed in turn on one policy, and the table of what they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..backends.diffusers import DiffusersPolicy
from ..console import console
from ..memory.peak import peak_memory
from ..method.grow import BatchSizes
from ..rewards.reward import Rewards
from ..training.config import Config
from ..training.iteration import make_optimizer
from .contender import Contender, advance

PARTS = ("grow", "decode", "score", "update")
GIB = 2**30

Switch = Callable[[DiffusersPolicy], AbstractContextManager[None]]
"""Puts a policy into another mode of working, and back."""


@dataclass
class Timed:
    """What is timed. same: whether it must compute what the reference computes. leaves: of all iterations so far.

    The lists have an entry for every round that counts. first_gradient: of all weights, clipped; None if it is not
    finite.
    """

    contender: Contender
    sizes: BatchSizes
    switch: Switch = lambda policy: nullcontext()
    same: bool = True
    seconds: list[dict[str, float]] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    leaves: int = 0
    first_gradient: Tensor | None = None
    ratio_error: float = 0.0

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.contender.name

    @property
    def totals(self) -> list[float]:
        """Seconds of every round."""
        return [sum(parts.values()) for parts in self.seconds]


@dataclass(frozen=True)
class Bench:
    """What all that is timed has in common."""

    policy: DiffusersPolicy
    rewards: Rewards
    prompts: Sequence[str]
    config: Config
    sizes: BatchSizes

    def timed(self, name: str, config: Config, sizes: BatchSizes | None = None, **rest: Any) -> Timed:
        """Something to time that starts from the policy's present adapter."""
        optimizer = make_optimizer(self.policy, config.update.learning_rate)
        return Timed(Contender(name, config, optimizer, self.policy.adapter_state()), sizes or self.sizes, **rest)

    def run(self, timed: Timed) -> None:
        """One iteration; its seconds and peak are appended. The policy has its own adapter again afterwards."""
        start, before = self.policy.adapter_state(), dict(timed.contender.seconds)
        with timed.switch(self.policy), _first_gradient(timed), peak_memory() as peak:
            outcome = advance(timed.contender, self.policy, self.rewards, self.prompts, timed.sizes)
        self.policy.load_adapter_state(start)
        timed.ratio_error = max(timed.ratio_error, outcome.statistics.ratio_error[0])
        timed.leaves += len(outcome.images)
        spent = timed.contender.seconds
        timed.seconds.append({part: spent[part] - before.get(part, 0.0) for part in spent})
        timed.peaks.append(peak.bytes)

    def rounds(self, several: Sequence[Timed], seconds: float) -> None:
        """Time several in turn for about `seconds`. The first round warms up, and counts only where it is the last."""
        began = time.perf_counter()
        for timed in several:
            self.run(timed)
        a_round = time.perf_counter() - began
        if 2 * a_round <= seconds:
            for timed in several:
                timed.seconds.clear()
                timed.peaks.clear()
            while not several[-1].seconds or time.perf_counter() - began + a_round < seconds:
                for timed in several:
                    self.run(timed)


@contextmanager
def _first_gradient(timed: Timed) -> Iterator[None]:
    """A context in which the first step of a first iteration leaves its gradient; one that is skipped leaves none."""
    contender = timed.contender
    first = contender.iterations == 0

    def keep(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if first and timed.first_gradient is None:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            timed.first_gradient = torch.cat([w.grad.flatten().cpu() for w in weights if w.grad is not None])

    hook = contender.optimizer.register_step_pre_hook(keep)
    try:
        yield
    finally:
        hook.remove()


def medians(timed: Timed) -> dict[str, float]:
    """Seconds of every part of an iteration."""
    return {part: median(each.get(part, 0.0) for each in timed.seconds) for part in PARTS}


def row_of(timed: Timed, reference: Timed) -> dict[str, Any]:
    """What an iteration took, and each against the reference's of the same round."""
    done, base = timed.contender, reference.contender
    leaves = timed.leaves // done.iterations
    ratios = [own / other for own, other in zip(timed.totals, reference.totals, strict=True)]
    return {
        "name": timed.name,
        "rounds": len(ratios),
        "evaluations": done.evaluations // done.iterations,
        "trained_nodes": done.trained_nodes // done.iterations,
        "count_ratio": done.work / done.iterations / (base.work / base.iterations),
        "time_ratio": median(ratios),
        "time_ratios": ratios,
        "seconds_per_iteration": median(timed.totals),
        "seconds": medians(timed),
        "leaves_per_second": leaves / median(timed.totals),
        "peak_gib": max(timed.peaks) / GIB,
        "ratio_error": timed.ratio_error,
        "gradient": _distance(timed.first_gradient, reference.first_gradient) if timed.same else None,
    }


def _distance(gradient: Tensor | None, reference: Tensor | None) -> float | None:
    """|g - reference| / |reference|, where there are both."""
    if gradient is None or reference is None:
        return None
    return float((gradient - reference).norm() / reference.norm())


def print_rows(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """The table for people, in Markdown."""
    columns = (
        *("", "evaluations", "trained nodes", "count", "time [least, most]", "s/iteration", "leaves/s"),
        *(f"{part} s" for part in PARTS),
        *("peak GiB", "ratio - 1", "gradient"),
    )
    console.print(f"\n{title}:\n")
    lines = [columns, ("---",) * len(columns)]
    for row in rows:
        ratios = row["time_ratios"]
        gradient = row["gradient"]
        lines.append(
            (
                row["name"],
                f"{row['evaluations']}",
                f"{row['trained_nodes']}",
                f"{row['count_ratio']:.2f}x",
                f"{row['time_ratio']:.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]",
                f"{row['seconds_per_iteration']:.3f}",
                f"{row['leaves_per_second']:.1f}",
                *(f"{row['seconds'][part]:.3f}" for part in PARTS),
                f"{row['peak_gib']:.2f}",
                f"{row['ratio_error']:.0e}",
                "-" if gradient is None else f"{gradient:.0e}",
            )
        )
    for line in lines:
        console.print(f"| {' | '.join(line)} |", soft_wrap=True)
    console.print(
        "\nPer iteration. Against the first row: count is evaluations + 3 x trained nodes, time the median of the "
        "rounds. ratio - 1: the largest of a first pass; gradient: how far the first one is off, by its length.",
        soft_wrap=True,
    )
