"""Tree Plan: how the rollouts of a prompt branch, what they cost, and ComfyUI's sampling settings for them."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io

from ..treegrpo.method.plan import Cost
from ..treegrpo.method.process import KERNELS, Kernel
from ..treegrpo.training.config import KernelTable, PlanTable, WindowTable, make_plan, make_table
from .estimate import estimate
from .say import say
from .sockets import CATEGORY, PlanSocket, PlanValue, PolicySocket, PromptsSocket

WINDOWS = ["geometric", "uniform", "shifting"]
FIELDS = {"branch": "branch", "depth": "depth", "splits": "depth", "roots": "roots", "rollouts": "roots"}
"""Keys of the methods' own inputs -> fields of PlanTable."""


class Plan(io.ComfyNode):
    """Chooses a method and its size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        branch = io.Int.Input("branch", default=3, min=2, max=16, tooltip="Children of every node inside the window.")
        depth = io.Int.Input("depth", default=3, min=1, max=16, tooltip="Steps of the window.")
        roots = io.Int.Input("roots", default=1, min=1, max=64, tooltip="Trees per prompt.")
        rollouts = io.Int.Input("rollouts", default=16, min=2, max=512, tooltip="Pictures per prompt.")
        window = io.Combo.Input(
            "window",
            options=WINDOWS,
            tooltip="Where the window lies in each iteration. geometric: mostly early (the paper); uniform: anywhere; "
            "shifting: one step later every 50 iterations.",
        )
        splits = io.Int.Input("splits", default=3, min=1, max=16, tooltip="Branching steps.")
        option = io.DynamicCombo.Option
        return io.Schema(
            node_id="TreeGRPO_Plan",
            display_name="TreeGRPO Tree Plan",
            category=CATEGORY,
            description="How many pictures are drawn for every prompt, where their paths part, and what that costs. "
            "Connect policy and prompts to see memory and time on this machine.",
            search_aliases=["tree", "rollout", "branching", "mixgrpo", "flow grpo", "dancegrpo", "branchgrpo"],
            inputs=[
                io.DynamicCombo.Input(
                    "method",
                    options=[
                        option("treegrpo", [branch, depth, roots, window]),
                        option("branchgrpo", [branch, splits, roots]),
                        option("mixgrpo", [rollouts, depth, window]),
                        option("flow_grpo", [rollouts]),
                        option("dance_grpo", [rollouts]),
                    ],
                    tooltip="treegrpo shares most of the work between the leaves of a tree; the others are published "
                    "methods to compare with.",
                ),
                io.Int.Input("steps", default=10, min=2, max=100, tooltip="Denoising steps."),
                io.Combo.Input(
                    "scheduler", options=comfy.samplers.SCHEDULER_NAMES, default="simple", tooltip="As in KSampler."
                ),
                io.Combo.Input(
                    "kernel",
                    options=list(KERNELS),
                    default="cps",
                    tooltip="How noise is added at stochastic steps. cps and ddim suit every model; flow_sde and "
                    "dance_sde are for flow models.",
                ),
                io.Float.Input(
                    "eta",
                    default=0.0,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip="Noise level; 0: the kernel's default.",
                ),
                io.Float.Input("cfg", default=1.0, min=0.0, max=30.0, step=0.1, tooltip="As in KSampler; 1 is fast."),
                io.Int.Input("width", default=512, min=16, max=4096, step=8, tooltip="Of the pictures, in pixels."),
                io.Int.Input("height", default=512, min=16, max=4096, step=8, tooltip="Of the pictures, in pixels."),
                PolicySocket.Input("policy", optional=True, tooltip="Connect to measure memory and time."),
                PromptsSocket.Input("prompts", optional=True, tooltip="Connect to measure memory and time."),
            ],
            outputs=[
                PlanSocket.Output(display_name="plan", tooltip="For Train or Sample Tree."),
                io.Int.Output(display_name="leaves", tooltip="Pictures per prompt."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        method: dict[str, Any],
        steps: int,
        scheduler: str,
        kernel: str,
        eta: float,
        cfg: float,
        width: int,
        height: int,
        policy: Any = None,
        prompts: Any = None,
    ) -> io.NodeOutput:
        """See io.ComfyNode. Raises UsageError for a plan that cannot be."""
        chosen = {field: method[key] for key, field in FIELDS.items() if key in method}
        table = make_table(PlanTable, method=method["method"], steps=steps, **chosen)
        window = make_table(WindowTable, schedule=method.get("window", WINDOWS[0]))
        Kernel(kernel, eta or None)
        cost = make_plan(table, window, 0, torch.Generator().manual_seed(0)).cost()
        value = PlanValue(
            table, window, make_table(KernelTable, name=kernel, eta=eta or None), scheduler, cfg, height, width
        )
        lines = [_sentence(cost)]
        if policy is not None and prompts is not None:
            lines.append(estimate(policy, prompts, value, cost))
        text = "\n".join(lines)
        say(text, cls.hidden.unique_id)
        return io.NodeOutput(value, cost.leaves, ui={"text": (text,)})


def _sentence(cost: Cost) -> str:
    shared = f", not {cost.independent_evaluations}" if cost.evaluations < cost.independent_evaluations else ""
    return f"{cost.leaves} leaves for {cost.evaluations} evaluations{shared}"
