"""Learning curves of several contenders, with their bands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from ..pictures.save import save_figure
from .learning_curve import Band

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind eyes tell apart."""
DASHES = ("-", "--", ":", "-.")
COLUMNS = {"seconds": "seconds of training", "evaluations": "network evaluations"}
ROWS = {"reward": "held-out reward", "diversity": "diversity"}


def save_learning_curves(
    path: Path, bands: Mapping[str, Mapping[tuple[str, str], Band]], compared: Mapping[str, float]
) -> None:
    """Reward and diversity against seconds and evaluations: means over seeds, with 95 % bands.

    bands: by contender, and by measure and budget. compared: of every budget, how much the tables compare at; a dotted
    line. What comes before the comma of a name has one colour, and what comes after it changes the dashes.
    """
    styles = _styles(list(bands))
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    panels = figure.subplots(len(ROWS), len(COLUMNS), sharex="col", sharey="row")
    for row, (measure, ylabel) in enumerate(ROWS.items()):
        for column, (budget, xlabel) in enumerate(COLUMNS.items()):
            axes = panels[row][column]
            for name, found in bands.items():
                colour, dash = styles[name]
                curve = found[measure, budget]
                axes.fill_between(curve.used, curve.low, curve.high, color=colour, alpha=0.13, lw=0)
                axes.plot(curve.used, curve.mean, color=colour, ls=dash, lw=1.8, label=name)
            axes.axvline(compared[budget], color="0.5", ls=":", lw=1)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.set_xlim(left=0)
            if row == len(ROWS) - 1:
                axes.set_xlabel(xlabel)
            if column == 0:
                axes.set_ylabel(ylabel)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    save_figure(figure, path)


def _styles(names: list[str]) -> dict[str, tuple[str, str]]:
    """Colour and dashes by name."""
    families: dict[str, int] = {}
    styles = {}
    for name in names:
        family = name.split(",")[0]
        place = list(dict.fromkeys(each.split(",")[0] for each in names)).index(family)
        styles[name] = (COLOURS[place % len(COLOURS)], DASHES[families.get(family, 0) % len(DASHES)])
        families[family] = families.get(family, 0) + 1
    return styles
