"""The terminal, which the command line and the benchmarks write to."""

from __future__ import annotations

from rich.console import Console

console = Console(highlight=False, markup=False)  # paths and prompts may hold square brackets
