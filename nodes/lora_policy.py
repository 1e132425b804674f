"""LoRA Policy: what is trained, and where it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..treegrpo.backends.comfy.adapters import KINDS, PRESETS, AdapterSettings
from ..treegrpo.backends.comfy.presets import preset_of
from ..treegrpo.errors import UsageError
from ..treegrpo.run import lora_file
from ..treegrpo.run.state import RunState
from .auto import chosen
from .say import say
from .sockets import CATEGORY, PolicySocket, PolicyValue

NONE = "none"


class LoraPolicy(io.ComfyNode):
    """Puts a fresh adapter, or one that a run has written, beside a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_LoraPolicy",
            display_name="TreeGRPO LoRA Policy",
            category=CATEGORY,
            description="The LoRA to train on this model. LoRAs, ControlNets and model patches already on the model "
            "take part and stay as they are.",
            search_aliases=["lora", "adapter", "trainable", "policy"],
            inputs=[
                io.Model.Input("model", tooltip="The model to align; it stays as it is."),
                io.Combo.Input("kind", options=list(KINDS), tooltip="LoRA suits most; LoKr is smaller."),
                io.Int.Input(
                    "rank",
                    default=0,
                    min=0,
                    max=1024,
                    tooltip="Size of the LoRA; for a LoKr, its factor; 0: as suits the model.",
                ),
                io.Float.Input(
                    "alpha", default=0.0, min=0.0, max=1024.0, tooltip="Scale: alpha / rank; 0: the same as rank."
                ),
                io.String.Input(
                    "targets",
                    default="attention",
                    tooltip=f"{', '.join(PRESETS)}, or a regular expression on the names of linear layers.",
                ),
                io.Boolean.Input(
                    "gradient_checkpointing",
                    default=True,
                    tooltip="Much less memory for about a third more time in the update.",
                ),
                io.Combo.Input(
                    "continue_from",
                    options=[NONE, *folder_paths.get_filename_list("loras")],
                    tooltip="A LoRA of this pack to go on from; its own kind, rank, alpha and targets count then.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**32 - 1,
                    control_after_generate=False,
                    tooltip="Seed of the fresh weights.",
                ),
            ],
            outputs=[
                PolicySocket.Output(
                    display_name="policy", tooltip="For Train, for Sample Tree and Update LoRA, or for Tree Plan."
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        kind: str,
        rank: int,
        alpha: float,
        targets: str,
        gradient_checkpointing: bool,
        continue_from: str,
        seed: int,
    ) -> io.NodeOutput:
        """See io.ComfyNode."""
        rank = chosen(model, {"rank": rank})["rank"]
        adapter, state = AdapterSettings(kind, rank, alpha or float(rank), targets, seed), RunState()
        if continue_from != NONE:
            adapter, state = _continued(continue_from)
        text = f"{preset_of(model).name}: rank {adapter.rank}, alpha {adapter.alpha:g}, {adapter.targets}"
        say(text, cls.hidden.unique_id)
        return io.NodeOutput(PolicyValue(model, adapter, gradient_checkpointing, state), ui={"text": (text,)})


def _continued(name: str) -> tuple[AdapterSettings, RunState]:
    path = folder_paths.get_full_path("loras", name)
    if path is None:
        raise UsageError(f'continue_from: "{name}" is not in a loras folder; refresh the node and choose again.')
    weights, facts = lora_file.read(Path(path))
    return AdapterSettings.of_file(facts), RunState(adapter=weights)
