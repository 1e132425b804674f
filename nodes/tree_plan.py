"""Tree Plan: how the rollouts of a prompt branch, what they cost, and ComfyUI's sampling settings for them."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io

from ..treegrpo.backends.comfy.policy import path_of, sigmas_of
from ..treegrpo.backends.comfy.presets import preset_of
from ..treegrpo.errors import UsageError
from ..treegrpo.method.plan import Cost
from ..treegrpo.method.process import KERNELS, Kernel
from ..treegrpo.method.spacing import doubts
from ..treegrpo.method.window import fitting_depth
from ..treegrpo.training.config import KernelTable, PlanTable, WindowTable, make_plan, make_table, stochastic_steps
from .auto import AUTO, chosen, is_open
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
        depth = io.Int.Input(
            "depth", default=0, min=0, max=16, tooltip="Steps of the window; 0: three, or half of few steps."
        )
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
            "What is 0 or auto is chosen for the model of the policy. Connect policy and prompts to see memory and "
            "time on this machine.",
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
                io.Int.Input("steps", default=0, min=0, max=100, tooltip="Denoising steps; 0: as suits the model."),
                io.Combo.Input(
                    "scheduler",
                    options=[AUTO, *comfy.samplers.SCHEDULER_NAMES],
                    default=AUTO,
                    tooltip="As in KSampler; auto: as suits the model.",
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
                io.Float.Input(
                    "cfg",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="As in KSampler; 1 is fast; 0: as suits the model.",
                ),
                io.Int.Input(
                    "width", default=0, min=0, max=4096, step=8, tooltip="Of the pictures, in pixels; 0: as suits it."
                ),
                io.Int.Input(
                    "height", default=0, min=0, max=4096, step=8, tooltip="Of the pictures, in pixels; 0: as suits it."
                ),
                PolicySocket.Input(
                    "policy", optional=True, tooltip="Its model decides what is 0 or auto, and is measured."
                ),
                PromptsSocket.Input("prompts", optional=True, tooltip="Connect to measure memory and time."),
            ],
            outputs=[
                PlanSocket.Output(display_name="plan", tooltip="For Train or Sample Tree."),
                io.Int.Output(display_name="leaves", tooltip="Pictures per prompt."),
                io.Int.Output(display_name="steps", tooltip="For KSampler."),
                io.Float.Output(display_name="cfg", tooltip="For KSampler."),
                # Stock nodes declare their schedulers as a list, which no type of this API equals.
                io.AnyType.Output(display_name="scheduler", tooltip="For KSampler."),
                io.Int.Output(display_name="width", tooltip="For the empty latent."),
                io.Int.Output(display_name="height", tooltip="For the empty latent."),
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
        """See io.ComfyNode. Raises UsageError for a plan that cannot be, and without a model to choose for."""
        settings = {"steps": steps, "cfg": cfg, "scheduler": scheduler, "width": width, "height": height}
        lines = []
        if is_open(settings):
            if policy is None:
                raise UsageError(
                    "policy: some settings are 0 or auto, and there is no model to choose them for; connect LoRA "
                    "Policy, or set steps, scheduler, cfg, width and height."
                )
            settings = chosen(policy.model, settings)
            said = "{family}: {steps} steps, cfg {cfg:g}, {scheduler}, {width} x {height}"
            lines.append(said.format(family=preset_of(policy.model).name, **settings))
        steps, cfg, scheduler, width, height = settings.values()
        size = {field: method[key] for key, field in FIELDS.items() if key in method}
        if size.get("depth") == 0:
            size["depth"] = fitting_depth(steps)
        table = make_table(PlanTable, method=method["method"], steps=steps, **size)
        window = make_table(WindowTable, schedule=method.get("window", WINDOWS[0]))
        noise = Kernel(kernel, eta or None)
        cost = make_plan(table, window, 0, torch.Generator().manual_seed(0)).cost()
        value = PlanValue(
            table, window, make_table(KernelTable, name=noise.name, eta=noise.eta), scheduler, cfg, height, width
        )
        lines.append(_sentence(cost))
        if policy is not None and prompts is not None:
            lines.append(estimate(policy, prompts, value, cost))
        if policy is not None:
            sigmas = sigmas_of(policy.model, scheduler, steps).tolist()
            lines += doubts(path_of(policy.model), noise, sigmas, stochastic_steps(table, window))
        text = "\n".join(lines)
        say(text, cls.hidden.unique_id)
        return io.NodeOutput(value, cost.leaves, steps, cfg, scheduler, width, height, ui={"text": (text,)})


def _sentence(cost: Cost) -> str:
    shared = f", not {cost.independent_evaluations}" if cost.evaluations < cost.independent_evaluations else ""
    return f"{cost.leaves} leaves for {cost.evaluations} evaluations{shared}"
