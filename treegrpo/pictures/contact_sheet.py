"""A contact sheet: several models draw the same prompts from the same noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from .save import save_figure

PROMPTS, SEEDS = 12, 4


def save_contact_sheet(path: Path, prompts: Sequence[str], drawn: Mapping[str, Tensor], title: str = "") -> None:
    """A row for each of the first PROMPTS prompts and, side by side, up to SEEDS pictures of it by every model.

    drawn: by heading, images float32 [P, S, H, W, 3].
    """
    rows = prompts[:PROMPTS]
    seeds = min(SEEDS, *(images.shape[1] for images in drawn.values()))
    figure = Figure(figsize=(0.9 * (len(drawn) * seeds + 1.6), 0.82 * len(rows) + 0.9), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=12)
    parts = figure.subfigures(1, len(drawn), squeeze=False, wspace=0.04)[0]
    for part, (heading, images) in zip(parts, drawn.items(), strict=True):
        part.suptitle(heading, fontsize=11)
        grid = part.subplots(len(rows), seeds, squeeze=False)
        for row, prompt in enumerate(rows):
            for seed in range(seeds):
                axes = grid[row][seed]
                axes.imshow(images[row, seed].numpy())
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            if part is parts[0]:
                grid[row][0].set_ylabel(prompt, rotation=0, ha="right", va="center", fontsize=9)
    save_figure(figure, path)
