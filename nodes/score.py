"""Score: judge the leaves of a tree."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfy_api.latest import io

from ..treegrpo.method.opinions import spreads
from ..treegrpo.rewards.reward import check_prompts
from ..treegrpo.training.iteration import score_tree
from .reward import built, rewards_input
from .run_folders import loose_votes
from .say import say
from .sockets import CATEGORY, RewardValue, TreeSocket, TreeValue


class Score(io.ComfyNode):
    """Asks every reward about every leaf."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_Score",
            display_name="TreeGRPO Score",
            category=CATEGORY,
            description="Asks every reward about every leaf of the tree.",
            search_aliases=["judge", "reward leaves"],
            inputs=[TreeSocket.Input("tree", tooltip="From Sample Tree."), rewards_input()],
            outputs=[TreeSocket.Output(display_name="tree", tooltip="With its scores; for Advantage or Preview Tree.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, tree: TreeValue, rewards: dict[str, RewardValue]) -> io.NodeOutput:
        """See io.ComfyNode. Raises UsageError when no reward is connected."""
        judges = built(rewards, loose_votes())
        for reward, _ in judges:
            check_prompts(reward, tree.tree.prompts)
        with torch.inference_mode(False):
            scored = score_tree(tree.tree, tree.images, judges)
        weights = {reward.name: weight for reward, weight in judges}
        lines = [
            f"{name}: {float(scores.nanmean()):.4f}, spread {float(spreads(scores).nanmean()):.4f}"
            for name, scores in scored.rewards.items()
        ]
        text = "\n".join(lines)
        say(text, cls.hidden.unique_id)
        return io.NodeOutput(replace(tree, tree=scored, weights=weights), ui={"text": (text,)})
