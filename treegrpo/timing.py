"""Iterations of several contenders, timed in turn on one policy, and the table of what they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from .backends.diffusers import DiffusersPolicy
from .config import Config
from .console import console
from .contender import TRAINING_COST, Contender, advance
from .grow import BatchSizes
from .iteration import Rewards, make_optimizer

PARTS = ("grow", "decode", "score", "update")
GIB = 2**30

Switch = Callable[[DiffusersPolicy], AbstractContextManager[None]]
"""Puts a policy into another mode of working, and back."""


@dataclass
class Entry:
    """What is timed. same: whether it must compute what the reference computes."""

    contender: Contender
    sizes: BatchSizes
    switch: Switch = lambda policy: nullcontext()
    same: bool = True
    seconds: list[dict[str, float]] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    first_norm: float = 0.0
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

    def entry(self, name: str, config: Config, sizes: BatchSizes | None = None, **rest: Any) -> Entry:
        """Something to time that starts from the policy's present adapter."""
        optimizer = make_optimizer(self.policy, config.update.learning_rate)
        return Entry(Contender(name, config, optimizer, self.policy.adapter_state()), sizes or self.sizes, **rest)

    def run(self, entry: Entry) -> None:
        """One iteration of an entry; its seconds and peak are appended."""
        before = dict(entry.contender.seconds)
        entry.contender.peak_bytes = 0
        with entry.switch(self.policy):
            outcome = advance(entry.contender, self.policy, self.rewards, self.prompts, entry.sizes)
        if entry.contender.iterations == 1:
            entry.first_norm = outcome.statistics.grad_norm[0] or 0.0
        entry.ratio_error = max(entry.ratio_error, outcome.statistics.ratio_error[0])
        spent = entry.contender.seconds
        entry.seconds.append({part: spent[part] - before.get(part, 0.0) for part in spent})
        entry.peaks.append(entry.contender.peak_bytes)

    def rounds(self, entries: Sequence[Entry], seconds: float) -> None:
        """Time entries in turn for about `seconds`. The first round warms up, and counts only where it is the last."""
        start = self.policy.adapter_state()
        began = time.perf_counter()
        for entry in entries:
            self.run(entry)
        a_round = time.perf_counter() - began
        if 2 * a_round <= seconds:
            for entry in entries:
                entry.seconds.clear()
                entry.peaks.clear()
            while not entries[-1].seconds or time.perf_counter() - began + a_round < seconds:
                for entry in entries:
                    self.run(entry)
        self.policy.load_adapter_state(start)


def medians(entry: Entry) -> dict[str, float]:
    """Seconds of every part of an iteration."""
    return {part: median(each.get(part, 0.0) for each in entry.seconds) for part in PARTS}


def row_of(entry: Entry, reference: Entry) -> dict[str, Any]:
    """What an entry took for an iteration, and for each against the reference's of the same round."""
    plan = entry.contender.config.make_plan(0, torch.Generator())
    cost, prompts = plan.cost(), entry.contender.config.train.prompts_per_iteration
    ratios = [own / other for own, other in zip(entry.totals, reference.totals, strict=True)]
    work, base = (
        made.evaluations + TRAINING_COST * made.trained_nodes
        for made in (cost, reference.contender.config.make_plan(0, torch.Generator()).cost())
    )
    return {
        "name": entry.name,
        "rounds": len(ratios),
        "evaluations": cost.evaluations * prompts,
        "trained_nodes": cost.trained_nodes * prompts,
        "count_ratio": work / base,
        "time_ratio": median(ratios),
        "time_ratios": ratios,
        "seconds_per_iteration": median(entry.totals),
        "seconds": medians(entry),
        "leaves_per_second": cost.leaves * prompts / median(entry.totals),
        "peak_gib": max(entry.peaks) / GIB,
        "ratio_error": entry.ratio_error,
        "gradient": abs(entry.first_norm / reference.first_norm - 1) if entry.same else None,
    }


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
        console.print(f"| {' | '.join(line)} |", soft_wrap=True, markup=False)
    console.print(
        "\nPer iteration. Against the first row: count is evaluations + 3 x trained nodes, time the median of the "
        "rounds. ratio - 1: the largest of a first pass; gradient: how far the length of the first gradient is off.",
        soft_wrap=True,
    )
