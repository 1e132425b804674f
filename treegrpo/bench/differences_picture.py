"""What each contender is above or below a reference: dots with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..pictures.save import save_figure
from ..training.evaluation import Interval
from .learning_curve import Standing

ABOVE, BELOW, NEITHER = "#0072b2", "#d55e00", "0.45"
"""Blue and vermilion, which colour-blind eyes tell apart."""
PANELS = (("reward", "seconds"), ("reward", "evaluations"), ("diversity", "seconds"), ("diversity", "evaluations"))


def save_differences(path: Path, standings: Mapping[str, Sequence[Standing]], reference: str) -> None:
    """One row per contender: differences to the reference in reward and diversity, at equal seconds and evaluations.

    standings: by budget. Intervals are of 95 %; one that misses 0 is blue above and vermilion below it.
    """
    names = [row.contender for row in standings["seconds"] if row.differences]
    figure = Figure(figsize=(12, 0.25 * len(names) + 1.4), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for left, right in (panels[:2], panels[2:]):
        right.sharex(left)
    for axes, (measure, budget) in zip(panels, PANELS, strict=True):
        found = {row.contender: row.differences[measure] for row in standings[budget] if row.differences}
        axes.axvline(0, color="0.6", lw=1)
        for place, name in enumerate(names):
            interval = found[name]
            colour = _colour(interval)
            axes.plot([interval.low, interval.high], [place, place], color=colour, lw=1.8, solid_capstyle="round")
            axes.plot(interval.mean, place, "o", color=colour, ms=5)
        axes.set_title(f"{measure} at equal {budget}", fontsize=10)
        axes.set_yticks(range(len(names)), names, fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=8)
        axes.locator_params(axis="x", nbins=4)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel(f"difference to {reference}, paired by seed, with its 95 % interval", fontsize=10)
    save_figure(figure, path)


def _colour(interval: Interval) -> str:
    if interval.low > 0:
        return ABOVE
    return BELOW if interval.high < 0 else NEITHER
