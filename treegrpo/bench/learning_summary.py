"""What `bench learning` has measured: tables, figures and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from ..console import console
from ..errors import UsageError
from ..run.atomic import write_text
from ..training.evaluation import Interval
from .curves_picture import save_learning_curves
from .differences_picture import save_differences
from .learning_curve import BUDGETS, MEASURES, Curves, Standing, band, common, folder_of, read_curves, standings
from .variants import REFERENCE

BUDGET_NAMES = {
    "seconds": "seconds of training",
    "evaluations": "network evaluations",
    "work": "evaluations + 3 x trained nodes",
    "iterations": "iterations",
}

MOST_CURVES = 10
"""More in one picture cannot be told apart."""


def summarise(groups: Mapping[str, Sequence[str]], seeds: Sequence[int], out: Path) -> dict[str, Any]:
    """Compare the contenders of every group with TreeGRPO at equal budgets, from what `out` holds of these seeds.

    Prints Markdown tables, and writes learning.json, <group>-curves.png and <group>-differences.png. Raises UsageError
    when TreeGRPO itself has not been judged yet.
    """
    result: dict[str, Any] = {"machines": _machines(groups, seeds, out), "groups": {}}
    for group, names in groups.items():
        curves = read_curves(out, names, seeds)
        if REFERENCE not in curves:
            raise UsageError(f'--out: "{out}" has no curve of {REFERENCE} yet, which all are compared with.')
        found = {}
        for budget in BUDGETS:
            amount = common(curves, budget)
            found[budget] = (amount, standings(curves, REFERENCE, budget, amount))
        _print(group, curves, found)
        if len(curves) <= MOST_CURVES:
            save_learning_curves(
                out / f"{group}-curves.png",
                {name: {(m, b): band(each, m, b) for m in MEASURES for b in BUDGETS} for name, each in curves.items()},
                {budget: amount for budget, (amount, _) in found.items()},
            )
        if len(curves) > 1:
            save_differences(out / f"{group}-differences.png", {b: rows for b, (_, rows) in found.items()}, REFERENCE)
        result["groups"][group] = {
            budget: {"amount": amount, "contenders": [_plain(row) for row in rows]}
            for budget, (amount, rows) in found.items()
        }
    write_text(out / "learning.json", json.dumps(result, indent=2, allow_nan=False) + "\n")
    console.print(f"Tables, figures and learning.json: {out}", soft_wrap=True)
    return result


def _machines(groups: Mapping[str, Sequence[str]], seeds: Sequence[int], out: Path) -> list[dict[str, Any]]:
    """The different machines that measured; times of more than one cannot be compared."""
    names = dict.fromkeys(name for group in groups.values() for name in group)
    files = [folder_of(out, name, seed) / "config.json" for name in names for seed in seeds]
    found: list[dict[str, Any]] = []
    for file in files:
        machine = json.loads(file.read_text(encoding="utf-8"))["machine"] if file.exists() else None
        if machine is not None and machine not in found:
            found.append(machine)
    return found


def _print(group: str, curves: Curves, found: Mapping[str, tuple[float, list[Standing]]]) -> None:
    """A table for every budget."""
    base = next(iter(curves[REFERENCE].values()))
    console.print(
        f"\n{group}: means over seeds with 95 % intervals (Student's t). The base model has reward "
        f"{base.points['reward'][0]:.4f} and diversity {base.points['diversity'][0]:.3f}.",
        soft_wrap=True,
    )
    for budget, (amount, rows) in found.items():
        console.print(f"\nAfter {amount:,.0f} {BUDGET_NAMES[budget]}:\n", soft_wrap=True)
        columns = ("contender", "seeds", "iterations", *(part for m in MEASURES for part in (m, f"minus {REFERENCE}")))
        lines = [columns, tuple("---" for _ in columns), *(_cells(row) for row in rows)]
        for line in lines:
            console.print(f"| {' | '.join(line)} |", soft_wrap=True)
    console.print(
        "\nOne in twenty of the intervals of differences misses 0 by chance where there is no difference.",
        soft_wrap=True,
    )


def _cells(row: Standing) -> tuple[str, ...]:
    values = []
    for measure in MEASURES:
        values.append(_text(row.means[measure], ".3f"))
        values.append(_text(row.differences[measure], "+.3f") if row.differences else "")
    return row.contender, str(row.seeds), f"{row.iterations:.0f}", *values


def _text(interval: Interval, style: str) -> str:
    if isnan(interval.low):
        return format(interval.mean, style)
    return f"{interval.mean:{style}} [{interval.low:{style}}, {interval.high:{style}}]"


def _plain(row: Standing) -> dict[str, Any]:
    """A standing for JSON, which has no NaN."""

    def plain(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
        return {
            measure: {key: None if isnan(value) else value for key, value in vars(interval).items()}
            for measure, interval in intervals.items()
        }

    return {
        "contender": row.contender,
        "seeds": row.seeds,
        "iterations": row.iterations,
        **plain(row.means),
        "differences": plain(row.differences),
    }
