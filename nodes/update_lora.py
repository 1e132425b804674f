"""Update LoRA: one step of the policy along the advantages of a tree."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..treegrpo.method.objective import WEIGHTINGS
from ..treegrpo.method.update import UpdateStatistics, update
from ..treegrpo.training.config import UpdateTable, make_table
from ..treegrpo.training.iteration import make_optimizer
from .auto import chosen, sentence
from .opened import opened
from .say import say
from .sockets import CATEGORY, PolicySocket, PolicyValue, TreeSocket, TreeValue


class UpdateLora(io.ComfyNode):
    """Returns a new policy; the old one stays as it was."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_UpdateLora",
            display_name="TreeGRPO Update LoRA",
            category=CATEGORY,
            description="Moves the LoRA along the advantages of the tree that it grew.",
            search_aliases=["policy update", "train step", "optimizer"],
            inputs=[
                PolicySocket.Input("policy", tooltip="The policy that grew the tree."),
                TreeSocket.Input("tree", tooltip="From Advantage."),
                *update_inputs(),
            ],
            outputs=[
                PolicySocket.Output(display_name="policy", tooltip="Updated; for Save Run or the next Sample Tree."),
                io.LoraModel.Output(display_name="lora", tooltip="For the stock Load LoRA Model."),
                io.LossMap.Output(display_name="loss_map", tooltip="For the stock Plot Loss Graph."),
                io.String.Output(display_name="statistics", tooltip="The text under the node."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, policy: PolicyValue, tree: TreeValue, **settings: float) -> io.NodeOutput:
        """See io.ComfyNode."""
        table = make_table(UpdateTable, **chosen(policy.model, settings))
        with opened(policy, tree.drawing) as live:
            optimizer = make_optimizer(live, table.learning_rate)
            policy.state.put_into(live, optimizer)
            statistics = update(live, tree.tree, optimizer, table.settings(), tree.sizes.training)
            state = replace(policy.state, iteration=policy.state.iteration + 1)
            state.take_from(live, optimizer)
        text = f"{_sentence(statistics)}\n{sentence(policy.model, settings)}".strip()
        say(text, cls.hidden.unique_id)
        loss_map = {"loss": statistics.loss}
        return io.NodeOutput(replace(policy, state=state), state.adapter, loss_map, text, ui={"text": (text,)})


def update_inputs() -> list[io.Input]:
    """The inputs of config.UpdateTable, under its names."""
    return [
        io.Float.Input(
            "learning_rate",
            default=0.0,
            min=0.0,
            max=1.0,
            step=1e-6,
            tooltip="Size of a step; 0: as suits the model.",
        ),
        io.Int.Input("updates_per_rollout", default=1, min=1, max=64, tooltip="Optimiser steps per tree."),
        io.Combo.Input(
            "weighting",
            options=list(WEIGHTINGS),
            tooltip="edges: every edge counts the same (the paper); steps: every step does.",
        ),
        io.Float.Input(
            "clip_range",
            default=1e-4,
            min=1e-6,
            max=1.0,
            step=1e-6,
            tooltip="How far further updates on the same tree may go.",
        ),
        io.Float.Input("kl", default=0.0, min=0.0, max=100.0, step=0.001, tooltip="Pull towards the base model."),
    ]


def _sentence(statistics: UpdateStatistics) -> str:
    norm = statistics.grad_norm[0]
    parts = [f"largest |ratio - 1| {statistics.ratio_error[0]:.1e}", f"gradient norm {norm:.2e}" if norm else ""]
    return ", ".join(part for part in parts if part) + "".join(f"\n{sentence}" for sentence in statistics.skipped)
