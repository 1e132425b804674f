"""Advantage: from rewards of leaves to the credit of every edge."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfy_api.latest import io

from ..treegrpo.errors import UsageError
from ..treegrpo.method.advantage import BACKUPS, CENTRINGS, MIXINGS, with_advantages
from .sockets import CATEGORY, TreeSocket, TreeValue


class Advantage(io.ComfyNode):
    """Normalises and mixes the rewards of each prompt and backs them up to the edges."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_Advantage",
            display_name="TreeGRPO Advantage",
            category=CATEGORY,
            description="Compares the leaves of each prompt and hands their credit back to every branching decision.",
            search_aliases=["backup", "credit", "normalise rewards"],
            inputs=[
                TreeSocket.Input("tree", tooltip="From Score."),
                io.Combo.Input("backup", options=list(BACKUPS), tooltip="logprob: the paper's; mean: plain averages."),
                io.Combo.Input(
                    "centring",
                    options=list(CENTRINGS),
                    tooltip="none: the paper's; siblings: each edge against its siblings.",
                ),
                io.Float.Input("clamp", default=5.0, min=0.1, max=100.0, tooltip="Largest advantage of a leaf."),
                mixing_input(),
            ],
            outputs=[
                TreeSocket.Output(display_name="tree", tooltip="With advantages; for Update LoRA or Preview Tree.")
            ],
        )

    @classmethod
    def execute(
        cls, tree: TreeValue, backup: str, centring: str, clamp: float, mixing: str = "normalise"
    ) -> io.NodeOutput:
        """See io.ComfyNode. Raises UsageError for a tree without scores."""
        if not tree.tree.rewards:
            raise UsageError("tree: it has no scores yet; send it through Score first.")
        with torch.inference_mode(False):
            backed = with_advantages(tree.tree, tree.weights, backup, centring, clamp, mixing)
        return io.NodeOutput(replace(tree, tree=backed))


def mixing_input() -> io.Input:
    """How several rewards become one; the last and optional, so that older workflows stay as they are."""
    return io.Combo.Input(
        "mixing",
        options=list(MIXINGS),
        default="normalise",
        optional=True,
        tooltip="normalise: the paper's, each reward is normalised within its prompt, then weighted; sum: as they are.",
    )
