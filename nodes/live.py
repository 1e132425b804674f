"""A growing tree as events for the browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from server import PromptServer

from ..treegrpo.run.live_tree import LIVE
from ..treegrpo.run.tree_record import Record
from .run_views import sheet

EVENT = "treegrpo.tree"


def teller(run: Path, node_id: str) -> Callable[[Record], None]:
    """What LiveTree tells its records to: sends the browser what is new of them, see TreeNews in web/schema.json."""
    known = 0

    def tell(record: Record) -> None:
        nonlocal known
        generations = record["generations"]
        fresh = len(generations) > known
        known = len(generations)
        news = {
            "node": node_id,
            "run": run.name,
            "iteration": record["iteration"],
            "step": record["step"],
            "index": len(generations) - fresh,
            "generation": generations[-1] if fresh else None,
            "sheet": sheet(run / "trees" / f"{LIVE}.jpg", record["sheet"]) if fresh else None,
            "complete": record["complete"],
        }
        PromptServer.instance.send_sync(EVENT, news)

    return tell
