"""One grown tree, drawn from noise to leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor

from ..run.tree_record import Record
from .save import save_figure

COLOURS = "coolwarm_r"
"""Diverging and safe for colour-blind eyes: red is bad, blue is good, grey is neither."""
LEAF_HEIGHT = 0.36


def save_tree_picture(paths: list[Path], record: Record, images: Tensor, prompt: int) -> None:
    """Draw the tree of one prompt: thumbnails at the nodes, edges coloured by advantage, rewards beside the leaves.

    images: float32 [nodes, H, W, 3], see tree_record.node_images. Time runs from left to right.
    """
    generations = record["generations"]
    leaves = generations[-1]["count"]
    columns = len(generations) - 1
    figure = Figure(figsize=(2.4 * columns + 2.0, LEAF_HEIGHT * leaves + 0.9), layout="constrained")
    axes = figure.subplots()
    advantages = [_of_prompt(each["advantage"], each["count"], prompt) for each in generations]
    strongest = max((abs(value) for values in advantages for value in values), default=1.0) or 1.0
    first = 0
    for column, each in enumerate(generations):
        count = each["count"]
        if column:
            _edges(axes, column, generations[column - 1]["count"], count, leaves, advantages[column], strongest)
        start = first + prompt * count
        for i in range(count):
            size = 0.92 if column == columns else 1.5
            _thumbnail(axes, images[start + i].numpy(), column, row(i, count, leaves), size)
        first += len(record["prompts"]) * count
    rewards = [_of_prompt(scores, leaves, prompt) for scores in record["rewards"].values()]
    for i, scores in enumerate(zip(*rewards, strict=True)):
        label = "  ".join("-" if score is None else f"{score:.3f}" for score in scores)
        axes.annotate(label, (columns, i), xytext=(16, 0), textcoords="offset points", va="center", fontsize=7)
    _columns(axes, record)
    axes.set(xlim=(-0.3, columns + 0.42), ylim=(-1.4, leaves), yticks=[])
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(f'"{record["prompts"][prompt]}"', fontsize=11)
    bar = figure.colorbar(
        ScalarMappable(TwoSlopeNorm(0.0, -strongest, strongest), COLOURS), ax=axes, shrink=0.5, pad=0.01, aspect=30
    )
    bar.set_label("advantage of the edge", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    for path in paths:
        save_figure(figure, path)


def row(i: int, count: int, leaves: int) -> float:
    """Where node i of a generation of `count` stands: amid the leaves below it, which take rows 0, 1, ..."""
    return (i + 0.5) * leaves / count - 0.5


def _of_prompt(values: list, count: int, prompt: int) -> list:
    """The entries of one prompt; none, as long as the values are not known."""
    return values[prompt * count : (prompt + 1) * count]


def _edges(
    axes: Any, column: int, above: int, count: int, leaves: int, advantages: list[float], strongest: float
) -> None:
    """The edges into the nodes of a generation, from the `above` nodes of the one before."""
    starts = [(column - 1, row(i * above // count, above, leaves)) for i in range(count)]
    ends = [(column, row(i, count, leaves)) for i in range(count)]
    advantages = advantages or [0.0] * count
    lines = LineCollection(
        [_elbow(start, end) for start, end in zip(starts, ends, strict=True)],
        array=advantages,
        cmap=COLOURS,
        norm=TwoSlopeNorm(0.0, -strongest, strongest),
        linewidths=[1.0 + 3.0 * abs(value) / strongest for value in advantages],
        zorder=1,
    )
    axes.add_collection(lines)


def _elbow(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """A smooth line from a parent to its child."""
    (x0, y0), (x1, y1) = start, end
    points = []
    for i in range(17):
        u = i / 16
        ease = 3 * u**2 - 2 * u**3
        points.append((x0 + (x1 - x0) * u, y0 + (y1 - y0) * ease))
    return points


def _thumbnail(axes: Any, pixels: Any, x: float, y: float, size: float) -> None:
    """One picture centred on (x, y); size in rows."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    zoom = size * LEAF_HEIGHT * 72 / pixels.shape[0]
    box = AnnotationBbox(OffsetImage(pixels, zoom=zoom), (x, y), pad=0.08, bboxprops={"lw": 0.4, "ec": "0.6"})
    axes.add_artist(box)


def _columns(axes: Any, record: Record) -> None:
    """Label each generation with its step and sigma, on a light ground."""
    steps = [each["step"] for each in record["generations"]]
    labels = [f"step {step}\nsigma {record['sigmas'][step]:.2f}" for step in steps[:-1]] + ["finished"]
    axes.set_xticks(range(len(steps)), labels, fontsize=8)
    axes.axvspan(0, len(steps) - 1, color="0.96", zorder=0)
