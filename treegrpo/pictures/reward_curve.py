"""The reward over the iterations of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .save import save_figure


def save_reward_curve(path: Path, metrics: list[dict[str, Any]]) -> None:
    """Mean reward of the leaves with the spread within a tree as a band, one panel per reward; held-out as dots.

    metrics: the rows of metrics.jsonl.
    """
    names = list(metrics[0]["reward"])
    figure = Figure(figsize=(7, 2.6 * len(names) + 0.4), layout="constrained")
    panels = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    iterations = [row["iteration"] + 1 for row in metrics]
    judged = [(row["iteration"] + 1, row["heldout"]) for row in metrics if row["heldout"] is not None]
    for axes, name in zip(panels, names, strict=True):
        reward = [row["reward"][name] for row in metrics]
        spread = [row["spread"][name] for row in metrics]
        low = [r - s for r, s in zip(reward, spread, strict=True)]
        high = [r + s for r, s in zip(reward, spread, strict=True)]
        axes.fill_between(iterations, low, high, color="tab:blue", alpha=0.15, lw=0, label="spread within a tree")
        axes.plot(iterations, reward, color="tab:blue", lw=1.5, label="leaves of the training trees")
        if judged and len(names) == 1:
            axes.plot(*zip(*judged, strict=True), "o-", color="tab:orange", ms=4, label="held-out prompts, ODE samples")
        axes.set(ylabel=name)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("iteration")
    panels[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)
