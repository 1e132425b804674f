"""The rewards and where their weights lie, and fetching them."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from ..console import console
from ..errors import check_known
from ..rewards.registry import names
from ..rewards.weights import NEEDED, find, pull


def print_rewards(folder: Path | None) -> None:
    """A table of all rewards: which weights they need, how large these are, and where they lie."""
    table = Table("reward", "weights", "GB", "found in")
    folders = [folder] if folder else []
    for name in names():
        sources = NEEDED.get(name, ())
        if not sources:
            table.add_row(name, "none", "", "")
        for source in sources:
            where = find(source, folders)
            files = f"{source.repo}: {', '.join(source.files)}"
            table.add_row(name, files, f"{source.gigabytes:g}", str(where) if where else Text("not here", "yellow"))
            name = ""
    console.print(table)


def pull_reward(name: str, folder: Path | None) -> None:
    """Fetch what a reward needs and is not there. Raises UsageError for a reward that needs nothing."""
    check_known("rewards pull", name, NEEDED)
    for source in NEEDED[name]:
        where = find(source, [folder] if folder else []) or pull(source, folder, console.print)
        console.print(f"{source.repo}: {where}", soft_wrap=True)
