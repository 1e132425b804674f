"""The costs of plans as rows, for `treegrpo plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from ..console import console
from ..memory.prediction import MemoryPlan
from ..method import window as windows
from ..training.config import Config, PlanTable, WindowTable, make_plan, make_table

WINDOWED = ("treegrpo", "mixgrpo")


def plan_costs(
    plan: dict[str, Any], start: int | None = None, at: Sequence[int] = (), window: WindowTable = WindowTable()
) -> list[dict[str, Any]]:
    """One row per place of the window (a single one where it stays in its place, or the method has none).

    start and at: a place, instead of what `window` says. Each row has start, the fields of plan.Cost, and, where there
    are several, schedule (in words) and probability of the place. Raises UsageError for a plan that cannot be.
    """
    table = make_table(PlanTable, **plan)
    if at:
        window = WindowTable(schedule="list", at=list(at))
    elif start is not None:
        window = WindowTable(schedule="fixed", start=start)
    if window.schedule == "fixed":
        return [_row(table, window, window.start)]
    if window.schedule == "list" or table.method not in WINDOWED:
        return [_row(table, window, None)]
    chances, words = _places(table, window)
    rows = [_row(table, WindowTable(schedule="fixed", start=i), i) for i in range(len(chances))]
    return [{**row, "schedule": words, "probability": chance} for row, chance in zip(rows, chances, strict=True)]


def _places(plan: PlanTable, window: WindowTable) -> tuple[list[float], str]:
    """Probability of each start of a window that moves, and its schedule in words."""
    if window.schedule == "geometric":
        return windows.geometric(plan.steps, plan.depth, window.ratio), f"geometric, ratio = {window.ratio:g}"
    chances = windows.uniform(plan.steps, plan.depth)
    if window.schedule == "uniform":
        return chances, "uniform"
    return chances, f"shifting, a full round of {window.every * len(chances)} iterations"


def _row(plan: PlanTable, window: WindowTable, start: int | None) -> dict[str, Any]:
    made = make_plan(plan, window, 0, torch.Generator())
    return {"method": plan.method, "start": start, **asdict(made.cost())}


def print_costs(rows: list[dict[str, Any]]) -> None:
    """A table for people, with the mean over the window's schedule below it."""
    from rich.table import Table

    first = rows[0]
    table = Table(title=f"{first['method']}: cost of one prompt", title_justify="left")
    for name in ("start", "leaves", "evaluations", "trained nodes", "edges", "frontier", "saved"):
        table.add_column(name, justify="right")
    for row in rows:
        saved = row["independent_evaluations"] / row["evaluations"]
        table.add_row(
            "-" if row["start"] is None else str(row["start"]),
            *(str(row[key]) for key in ("leaves", "evaluations", "trained_nodes", "trained_edges", "peak_frontier")),
            f"{saved:.2f}x",
        )
    console.print(table)
    console.print(f"Independent sampling of as many leaves: {first['independent_evaluations']} evaluations.")
    if len(rows) > 1:
        mean = sum(row["probability"] * row["evaluations"] for row in rows)
        console.print(f"Mean over the window's schedule ({first['schedule']}): {mean:.1f} evaluations.", soft_wrap=True)


def print_memory(plan: MemoryPlan, config: Config) -> None:
    """What a run takes of a device: the peak of every part of an iteration, what stays, and the batches."""
    from rich.table import Table

    table = Table(title=f"{config.model.path}: memory in GiB", title_justify="left")
    for name in ("what", "GiB"):
        table.add_column(name, justify="right" if name == "GiB" else "left")
    for name in ("network", "encoders", "vae", "adapter", "tree", "graphs"):
        table.add_row(name, f"{getattr(plan, name) / 2**30:.2f}")
    table.add_section()
    for name, size in plan.phases.items():
        table.add_row(f"peak while it is to {name}", f"{size / 2**30:.2f}")
    table.add_section()
    table.add_row("peak", f"{plan.peak / 2**30:.2f}")
    console.print(table)
    console.print(
        f"Pictures at a time: {plan.sizes.training} through the network, {plan.sizes.decode} decoded; nodes that keep "
        f"their graphs: {plan.sizes.graphs}. Not counted: learned rewards, which are beside the network while they "
        "score (docs/rewards.md says what each takes), and CUDA itself, about half a GiB.",
        soft_wrap=True,
    )
