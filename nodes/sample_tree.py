"""Sample Tree: grow the trees of one iteration."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..treegrpo.backends.comfy.policy import Prompts
from ..treegrpo.memory.batch_sizes import batch_sizes
from ..treegrpo.method.process import Kernel
from ..treegrpo.method.sample import decode
from ..treegrpo.training.iteration import grow_trees
from .auto import chosen, memory_input
from .opened import opened
from .say import say
from .sockets import (
    CATEGORY,
    Drawing,
    PlanSocket,
    PlanValue,
    PolicySocket,
    PolicyValue,
    PromptsSocket,
    TreeSocket,
    TreeValue,
)


class SampleTree(io.ComfyNode):
    """Draws pictures along trees that share their beginnings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_SampleTree",
            display_name="TreeGRPO Sample Tree",
            category=CATEGORY,
            description="Grows the trees of one iteration and shows their leaves. First of the four nodes that make "
            "one iteration: Sample Tree, Score, Advantage, Update LoRA.",
            search_aliases=["rollout", "grow tree", "branched sampling"],
            inputs=[
                PolicySocket.Input("policy", tooltip="What draws; from LoRA Policy or Load Run."),
                PromptsSocket.Input("prompts", tooltip="What is drawn."),
                PlanSocket.Input("plan", tooltip="How pictures are drawn and where their paths part."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Int.Input("prompts_per_iteration", default=4, min=1, max=256, tooltip="Trees grown together."),
                io.Int.Input(
                    "seed", default=0, min=0, max=2**31, control_after_generate=False, tooltip="Seed of the run."
                ),
                io.Int.Input(
                    "iteration",
                    default=0,
                    min=0,
                    max=10**6,
                    tooltip="Chooses prompts, window and noise; count it up from one iteration to the next.",
                ),
                memory_input(),
                io.Sigmas.Input("sigmas", optional=True, tooltip="Replaces the plan's scheduler; ends at 0."),
            ],
            outputs=[
                TreeSocket.Output(display_name="tree", tooltip="For Score."),
                io.Image.Output(display_name="leaves", tooltip="All pictures, prompt by prompt."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        policy: PolicyValue,
        prompts: Prompts,
        plan: PlanValue,
        vae: Any,
        prompts_per_iteration: int,
        seed: int,
        iteration: int,
        memory_gb: float,
        sigmas: Tensor | None = None,
    ) -> io.NodeOutput:
        """See io.ComfyNode."""
        drawing = Drawing(vae, prompts, plan, sigmas)
        texts = prompts.texts
        with opened(policy, drawing) as live:
            policy.state.put_into(live)
            budget = chosen(policy.model, {"memory_gb": memory_gb})["memory_gb"]
            sizes = batch_sizes(live, texts, plan.plan.steps, budget)
            tree = grow_trees(
                live,
                texts,
                plan.plan,
                plan.window,
                Kernel(plan.kernel.name, plan.kernel.eta),
                count=prompts_per_iteration,
                seed=seed,
                number=iteration,
                sizes=sizes,
            )
            images = decode(live, tree.leaves, sizes)
        say(f"{len(images)} leaves of {len(tree.prompts)} prompts", cls.hidden.unique_id)
        return io.NodeOutput(TreeValue(tree, images, policy.model, drawing, sizes), images)
