"""Writing matplotlib figures whole or not at all."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from ..atomic import write_bytes


def save_figure(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write a figure in the format of the file's ending (.png or .svg)."""
    file = BytesIO()
    figure.savefig(file, format=path.suffix[1:], dpi=dpi, facecolor="white")
    write_bytes(path, file.getvalue())
