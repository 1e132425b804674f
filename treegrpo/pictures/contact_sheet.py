"""The before/after contact sheet."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from ..evaluation import Evaluation
from .save import save_figure

PROMPTS, SEEDS = 12, 4


def save_contact_sheet(path: Path, before: Evaluation, after: Evaluation, title: str = "") -> None:
    """A row for each of PROMPTS prompts: SEEDS pictures of the base model, and the LoRA's from the same noise."""
    rows = before.prompts[:PROMPTS]
    seeds = min(SEEDS, before.images.shape[1])
    figure = Figure(figsize=(0.9 * (2 * seeds + 1.6), 0.82 * len(rows) + 0.9), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=12)
    left, right = figure.subfigures(1, 2, squeeze=False, wspace=0.04)[0]
    for half, name, evaluation in ((left, "before", before), (right, "after", after)):
        half.suptitle(f"{name}: reward {float(evaluation.scores.mean()):.3f}", fontsize=11)
        grid = half.subplots(len(rows), seeds, squeeze=False)
        for row, prompt in enumerate(rows):
            for seed in range(seeds):
                axes = grid[row][seed]
                axes.imshow(evaluation.images[row, seed].numpy())
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            if name == "before":
                grid[row][0].set_ylabel(prompt, rotation=0, ha="right", va="center", fontsize=9)
    save_figure(figure, path)
