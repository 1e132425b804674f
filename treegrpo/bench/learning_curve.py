"""Learning curves: how held-out reward and diversity stand to what the training has used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..run.folder import read_metrics
from ..training.evaluation import Interval
from .student import over_repetitions

BUDGETS = ("seconds", "evaluations", "work", "iterations")
"""What contenders may have used equally: training time, network evaluations, these and training steps, iterations."""
MEASURES = ("reward", "diversity")
POINTS_DRAWN = 60


@dataclass(frozen=True)
class Curve:
    """One contender with one seed, judged now and then. points: for every name of BUDGETS and MEASURES, its values."""

    points: Mapping[str, tuple[float, ...]]

    def length(self, budget: str) -> float:
        """How much was used at the last point."""
        return self.points[budget][-1]

    def at(self, measure: str, budget: str, amount: float) -> float:
        """A measure, or another budget, where `amount` of a budget was used: on straight lines between the points.

        amount: 0 to `length`.
        """
        return float(np.interp(amount, self.points[budget], self.points[measure]))


Curves = Mapping[str, Mapping[int, Curve]]
"""By contender and seed."""


@dataclass(frozen=True)
class Band:
    """The mean over seeds with its 95 % interval, along a budget: four lists of one length."""

    used: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Standing:
    """A contender at a common budget: means over its seeds.

    differences: to the reference, by measure, paired by seed; empty where no seed is in both.
    """

    contender: str
    seeds: int
    iterations: float
    means: dict[str, Interval]
    differences: dict[str, Interval]


def curve_of(rows: Iterable[Mapping[str, Any]]) -> Curve:
    """The curve in the lines of a contender's metrics.jsonl, see bench_learning."""
    table = [{**row, "seconds": sum(row["seconds"].values()), "iterations": row["iteration"] + 1} for row in rows]
    return Curve({name: tuple(float(row[name]) for row in table) for name in (*BUDGETS, *MEASURES)})


def folder_of(out: Path, name: str, seed: int) -> Path:
    """The run folder of a contender and seed."""
    return out / re.sub("[^a-z0-9]+", "-", name.lower()) / f"seed-{seed}"


def read_curves(out: Path, names: Iterable[str], seeds: Sequence[int]) -> dict[str, dict[int, Curve]]:
    """The curves that a folder holds, as far as they go; contenders without any are left out."""
    curves: dict[str, dict[int, Curve]] = {}
    for name in names:
        for seed in seeds:
            rows = read_metrics(folder_of(out, name, seed))
            if len(rows) > 1:
                curves.setdefault(name, {})[seed] = curve_of(rows)
    return curves


def common(curves: Curves, budget: str) -> float:
    """The most of a budget that all curves reach."""
    return min(curve.length(budget) for seeds in curves.values() for curve in seeds.values())


def band(seeds: Mapping[int, Curve], measure: str, budget: str) -> Band:
    """The band of a contender, as far as all its seeds reach."""
    used = np.linspace(0, min(curve.length(budget) for curve in seeds.values()), POINTS_DRAWN).tolist()
    intervals = [over_repetitions([curve.at(measure, budget, x) for curve in seeds.values()]) for x in used]
    return Band(
        tuple(used),
        tuple(each.mean for each in intervals),
        tuple(each.low for each in intervals),
        tuple(each.high for each in intervals),
    )


def standings(curves: Curves, reference: str, budget: str, amount: float) -> list[Standing]:
    """Every contender where it has used `amount` of a budget, and its difference to the reference.

    Seeds are what is repeated: each has its own prompts, noise, windows and first adapter, and all contenders share
    them, so differences are taken seed by seed. The held-out prompts and their noise are the same for all; the
    intervals say what other seeds would give on them.
    """
    found = []
    for name, seeds in curves.items():
        both = sorted(seeds.keys() & curves[reference].keys()) if name != reference else []
        at = {measure: {s: c.at(measure, budget, amount) for s, c in seeds.items()} for measure in MEASURES}
        differences = {
            measure: over_repetitions([at[measure][s] - curves[reference][s].at(measure, budget, amount) for s in both])
            for measure in MEASURES
            if both
        }
        iterations = [curve.at("iterations", budget, amount) for curve in seeds.values()]
        found.append(
            Standing(
                name,
                len(seeds),
                sum(iterations) / len(iterations),
                {measure: over_repetitions(list(values.values())) for measure, values in at.items()},
                differences,
            )
        )
    return found
