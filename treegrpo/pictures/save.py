"""Writing matplotlib figures whole or not at all."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from ..run.atomic import write_bytes

DPI = 130


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's ending (.png or .svg)."""
    file = BytesIO()
    figure.savefig(file, format=path.suffix[1:], dpi=DPI, facecolor="white")
    write_bytes(path, file.getvalue())
