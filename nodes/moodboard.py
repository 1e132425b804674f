"""Moodboard: pictures as a reward."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..treegrpo.pictures.image_file import digest
from ..treegrpo.rewards.similar import Similar
from ..treegrpo.training.config import RewardTable, make_table
from .sockets import CATEGORY, RewardSocket, RewardValue

ROWS = 32
"""Pictures that the encoder sees at once: ComfyUI's puts all that it is given on the device."""
DIRECTIONS = {"similar_images": 1, "unlike_images": -1}


class Moodboard(io.ComfyNode):
    """Rewards pictures that are like the given ones, or unlike them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_Moodboard",
            display_name="TreeGRPO Moodboard",
            category=CATEGORY,
            description="A reward from your own pictures: more like these, or less like these; or, for edit models, "
            "like what is changed.",
            search_aliases=["similar to images", "unlike images", "reference", "style", "taste", "reward"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="What pictures are compared by; from Load CLIP Vision."),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="One picture or more, of any size. Without any, each picture is compared with the one that "
                    "its prompt changes.",
                ),
                io.Combo.Input("reward", options=list(DIRECTIONS), tooltip="Come closer to them, or keep away."),
                io.Float.Input("weight", default=1.0, min=-10.0, max=10.0, step=0.05, tooltip="Its share in the mix."),
            ],
            outputs=[RewardSocket.Output(display_name="reward", tooltip="For Train or Score.")],
        )

    @classmethod
    def execute(cls, clip_vision: Any, reward: str, weight: float, images: Tensor | None = None) -> io.NodeOutput:
        """See io.ComfyNode. Raises UsageError for an encoder that gives no vector of a picture."""

        def embed(pictures: Tensor) -> Tensor:
            parts = [clip_vision.encode_image(part)["image_embeds"] for part in pictures.split(ROWS)]
            return torch.cat(parts) if parts[0] is not None else torch.empty(0)

        made = Similar(embed, [] if images is None else [images], DIRECTIONS[reward])
        # So that a run goes on with the same ones only.
        pictures = "what the prompts change" if images is None else digest(images)[:16]
        options = {"images": pictures, "clip_vision": type(clip_vision.model).__name__}
        return io.NodeOutput(RewardValue(make_table(RewardTable, name=reward, weight=weight, options=options), made))
