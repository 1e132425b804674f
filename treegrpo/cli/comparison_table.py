"""Before and after, for people."""

from __future__ import annotations

from ..console import console
from ..training.comparison import Figures


def print_comparison(rows: dict[str, Figures]) -> None:
    """Two lines per set of prompts."""
    console.print("Mean reward with its 95 % interval over prompts:")
    for name, figures in rows.items():
        console.print(f"  {name}", soft_wrap=True)
        console.print(f"    reward     {figures.before} -> {figures.after}, gain {figures.gain}", soft_wrap=True)
        console.print(f"    diversity  {figures.diversity_before:.3f} -> {figures.diversity_after:.3f}")
