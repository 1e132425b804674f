"""One grown tree, drawn from noise to leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor

from .save import save_figure

COLOURS = "coolwarm_r"
"""Diverging and safe for colour-blind eyes: red is bad, blue is good, grey is neither."""
LEAF_HEIGHT = 0.36


def save_tree_picture(paths: list[Path], record: dict[str, Any], images: Tensor, prompt: int, title: str = "") -> None:
    """Draw the tree of one prompt: thumbnails at the nodes, edges coloured by advantage, rewards beside the leaves.

    record: from tree_record.record. images: float32 [nodes, H, W, 3] in its order. Time runs from left to right.
    """
    nodes = {i: node for i, node in enumerate(record["nodes"]) if node["prompt"] == prompt}
    places = layout(nodes)
    leaves = [i for i, node in nodes.items() if "rewards" in node]
    columns = max(x for x, _ in places.values())
    figure = Figure(figsize=(2.4 * columns + 2.0, LEAF_HEIGHT * len(leaves) + 0.9), layout="constrained")
    axes = figure.subplots()
    edges = [(i, node) for i, node in nodes.items() if node["parent"] is not None]
    strongest = max((abs(node.get("advantage", 0.0)) for _, node in edges), default=1.0) or 1.0
    norm = TwoSlopeNorm(0.0, -strongest, strongest)
    lines = LineCollection(
        [_elbow(places[node["parent"]], places[i]) for i, node in edges],
        array=[node.get("advantage", 0.0) for _, node in edges],
        cmap=COLOURS,
        norm=norm,
        linewidths=[1.0 + 3.0 * abs(node.get("advantage", 0.0)) / strongest for _, node in edges],
        zorder=1,
    )
    axes.add_collection(lines)
    for i, (x, y) in places.items():
        _thumbnail(axes, images[i].numpy(), x, y, size=0.92 if i in leaves else 1.5)
    for i in leaves:
        x, y = places[i]
        label = "  ".join(f"{value:.3f}" for value in nodes[i]["rewards"].values())
        axes.annotate(label, (x, y), xytext=(16, 0), textcoords="offset points", va="center", fontsize=7)
    _columns(axes, record, nodes, places)
    axes.set(xlim=(-0.3, columns + 0.42), ylim=(-1.4, len(leaves)), yticks=[])
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(title or f'"{record["prompts"][prompt]}"', fontsize=11)
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=axes, shrink=0.5, pad=0.01, aspect=30)
    bar.set_label("advantage of the edge", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    for path in paths:
        save_figure(figure, path)


def layout(nodes: dict[int, dict[str, Any]]) -> dict[int, tuple[float, float]]:
    """(x, y) of every node: x is its generation, leaves take rows 0, 1, ..., parents stand amid their children."""
    steps = sorted({node["step"] for node in nodes.values()})
    children: dict[int, list[int]] = {}
    for i, node in nodes.items():
        if node["parent"] is not None:
            children.setdefault(node["parent"], []).append(i)
    rows: dict[int, float] = {}
    for place, leaf in enumerate(i for i in nodes if i not in children):
        rows[leaf] = float(place)
    for i in reversed(nodes):  # children stand after their parents
        if i in children:
            rows[i] = sum(rows[child] for child in children[i]) / len(children[i])
    return {i: (float(steps.index(node["step"])), rows[i]) for i, node in nodes.items()}


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


def _columns(axes: Any, record: dict[str, Any], nodes: dict[int, dict[str, Any]], places: dict) -> None:
    """Label each generation with its step and sigma, and shade the window."""
    steps = sorted({node["step"] for node in nodes.values()})
    labels = [f"step {step}\nsigma {record['sigmas'][step]:.2f}" for step in steps[:-1]] + ["finished"]
    axes.set_xticks(range(len(steps)), labels, fontsize=8)
    axes.axvspan(0, len(steps) - 1, color="0.96", zorder=0)
