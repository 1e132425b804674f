"""Train: the whole loop in one node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.model_management as management
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..treegrpo.advantage import BACKUPS, CENTRINGS
from ..treegrpo.backends.comfy.policy import ComfyPolicy, Prompts
from ..treegrpo.config import (
    AdvantageTable,
    Config,
    EvaluationTable,
    LoraTable,
    ModelTable,
    TrainTable,
    UpdateTable,
    make_table,
)
from ..treegrpo.errors import UsageError
from ..treegrpo.iteration import Outcome, Rewards
from ..treegrpo.memory import DEFAULT_GB, batch_sizes
from ..treegrpo.run_folder import RunFolder
from ..treegrpo.run_state import RunState
from ..treegrpo.sample import decode, sample
from ..treegrpo.trainer import Report, train
from .opened import opened
from .reward import built, rewards_input
from .run_folders import publish, run_path, validate_name
from .say import say, sheet
from .sockets import (
    CATEGORY,
    Drawing,
    PlanSocket,
    PlanValue,
    PolicySocket,
    PolicyValue,
    PromptsSocket,
    RewardValue,
)
from .update_lora import update_inputs


class Train(io.ComfyNode):
    """Runs iterations until there are enough of them, the held-out reward stops rising, or the user interrupts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_Train",
            display_name="TreeGRPO Train",
            category=CATEGORY,
            description="Trains the LoRA towards the rewards. Interrupting keeps what has been learned; the same run "
            "name goes on from there. The LoRA lands in output/loras/treegrpo and appears in Load LoRA.",
            search_aliases=["align", "fine-tune", "reinforcement learning", "grpo", "preference"],
            inputs=[
                PolicySocket.Input("policy", tooltip="What is trained; from LoRA Policy or Load Run."),
                PromptsSocket.Input("prompts", tooltip="What is drawn while training."),
                PlanSocket.Input("plan", tooltip="How pictures are drawn and where their paths part."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                rewards_input(),
                io.String.Input("run", default="my taste", tooltip="Name of the run; an existing one is continued."),
                io.Int.Input("iterations", default=100, min=1, max=100_000, tooltip="In all, earlier ones included."),
                io.Int.Input("prompts_per_iteration", default=8, min=1, max=256, tooltip="Trees grown together."),
                *update_inputs(),
                io.Combo.Input("backup", options=list(BACKUPS), tooltip="As in Advantage."),
                io.Combo.Input("centring", options=list(CENTRINGS), tooltip="As in Advantage."),
                io.Int.Input("save_every", default=10, min=0, max=10_000, tooltip="Iterations between kept LoRAs."),
                io.Int.Input(
                    "evaluate_every", default=0, min=0, max=10_000, tooltip="Iterations between held-out judgements."
                ),
                io.Int.Input(
                    "patience",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Stop after so many judgements without a new best; 0 never stops early.",
                ),
                io.Float.Input("memory_gb", default=DEFAULT_GB, min=0.05, max=512.0, tooltip="GiB for activations."),
                io.Int.Input(
                    "seed", default=0, min=0, max=2**31, control_after_generate=False, tooltip="Seed of the run."
                ),
                PromptsSocket.Input("heldout", optional=True, tooltip="Prompts to judge on, never trained on."),
                io.Sigmas.Input("sigmas", optional=True, tooltip="Replaces the plan's scheduler; ends at 0."),
            ],
            outputs=[
                PolicySocket.Output(
                    display_name="policy", tooltip="With the trained LoRA; for Save Run or another Train."
                ),
                io.LoraModel.Output(display_name="lora", tooltip="For the stock Load LoRA Model."),
                io.LossMap.Output(display_name="loss_map", tooltip="For the stock Plot Loss Graph."),
                io.Image.Output(
                    display_name="best leaves",
                    tooltip="The best picture of every prompt of the last iteration; new pictures if none was run.",
                ),
                io.String.Output(display_name="lora name", tooltip="The file's name in Load LoRA."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, run: str | None = None, rewards: Any = None) -> bool | str:
        """See validate_name. ComfyUI hands over `rewards` to whoever validates anything."""
        return validate_name(run)

    @classmethod
    def execute(
        cls,
        policy: PolicyValue,
        prompts: Prompts,
        plan: PlanValue,
        vae: Any,
        rewards: dict[str, RewardValue],
        run: str,
        heldout: Prompts | None = None,
        sigmas: Tensor | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        """See io.ComfyNode."""
        judges = built(rewards)
        if settings["evaluate_every"] and heldout is None:
            raise UsageError("heldout: nothing is connected, so there is nothing to evaluate; connect Prompts to it.")
        every = Prompts({**prompts.positive, **(heldout.positive if heldout else {})}, prompts.negative)
        config = _config(policy, prompts, heldout, plan, rewards, settings)
        watcher = _Watcher(cls.hidden.unique_id, config.train.iterations, settings["save_every"], judges)
        with (
            RunFolder(run_path(run), resume=True) as folder,
            opened(policy, Drawing(vae, every, plan, sigmas)) as live,
        ):
            policy.state.put_into(live)
            watcher.follow(live, folder, config, prompts.texts, heldout.texts if heldout else [])
            state = RunState.read(folder)
            metrics = folder.metrics()
            name = publish(folder) if folder.lora_file.exists() else ""
            if not state.adapter:
                state = policy.state
            lora = state.average or state.adapter or live.adapter_state()
            best = watcher.best if len(watcher.best) else _drawn(live, state, config, prompts.texts)
        losses = [sum(row["loss"]) / len(row["loss"]) for row in metrics] or [0.0]
        if len(set(losses)) == 1:
            losses.append(losses[0] + 1e-9)  # Plot Loss Graph divides by the range
        loss_map = {"loss": losses}
        return io.NodeOutput(replace(policy, state=state), lora, loss_map, best, name, ui={"text": (watcher.text,)})


class _Watcher:
    """Follows a run: shows it under the node, and keeps LoRAs on the way.

    best: the best leaf of every prompt of the last iteration, float32 [P, H, W, 3]; empty before the first.
    """

    def __init__(self, node_id: str, iterations: int, save_every: int, judges: Rewards) -> None:
        self.node_id, self.save_every, self.judges = node_id, save_every, judges
        self.bar = comfy.utils.ProgressBar(iterations, node_id=node_id)
        self.text = "Nothing was left to do."
        self.best = torch.empty(0)

    def follow(
        self, live: ComfyPolicy, folder: RunFolder, config: Config, texts: list[str], heldout: list[str]
    ) -> None:
        """Run to the end, or to the user's interrupt, which costs at most the iteration in progress."""
        try:
            for report in train(live, self.judges, config, folder, texts, heldout, on_outcome=self.see):
                done = report.iteration + 1
                self.say(f"{done} of {config.train.iterations}: {_sentence(report)}")
                preview = ("JPEG", sheet(self.best), 512)
                self.bar.update_absolute(done, preview=preview)
                if self.save_every and done % self.save_every == 0:
                    publish(folder, snapshot=done)
        except management.InterruptProcessingException:
            self.say(f"Interrupted and saved. {self.text}")

    def see(self, outcome: Outcome) -> None:
        """Keep the best leaf of every prompt."""
        advantages = outcome.tree.leaf_advantages
        assert advantages is not None  # an outcome's tree is backed up
        leaves = outcome.images.unflatten(0, tuple(advantages.shape))
        self.best = leaves[torch.arange(len(leaves)), advantages.argmax(1)]

    def say(self, text: str) -> None:
        """Show a line under the node."""
        self.text = text
        say(text, self.node_id)


def _drawn(live: ComfyPolicy, state: RunState, config: Config, texts: list[str]) -> Tensor:
    """A picture [P, H, W, 3] of as many prompts as an iteration has, for when none was run."""
    state.put_into(live)
    steps, shown = config.plan.steps, texts[: config.train.prompts_per_iteration]
    sizes = batch_sizes(live, shown, steps, config.train.memory_gb)
    generator = torch.Generator().manual_seed(config.train.seed)
    return decode(live, sample(live, shown, steps, generator, sizes), sizes)


def _config(
    policy: PolicyValue,
    prompts: Prompts,
    heldout: Prompts | None,
    plan: PlanValue,
    rewards: dict[str, RewardValue],
    settings: dict[str, Any],
) -> Config:
    """The settings of the nodes as one configuration, which the run folder keeps and compares on resuming."""
    adapter = policy.adapter
    return Config(
        model=ModelTable(
            path=type(policy.model.model).__name__, guidance=plan.guidance, height=plan.height, width=plan.width
        ),
        lora=make_table(LoraTable, kind=adapter.kind, rank=adapter.rank, alpha=adapter.alpha, targets=adapter.targets),
        plan=plan.plan,
        window=plan.window,
        kernel=plan.kernel,
        rewards=[value.table for value in rewards.values() if value is not None],
        advantage=make_table(AdvantageTable, backup=settings["backup"], centring=settings["centring"]),
        update=make_table(UpdateTable, **{key: settings[key] for key in UpdateTable.model_fields if key in settings}),
        train=make_table(
            TrainTable,
            prompts=prompts.texts,
            iterations=settings["iterations"],
            prompts_per_iteration=settings["prompts_per_iteration"],
            seed=settings["seed"],
            memory_gb=settings["memory_gb"],
            trees_every=settings["save_every"],
        ),
        evaluation=make_table(
            EvaluationTable,
            prompts=heldout.texts if heldout else None,
            every=settings["evaluate_every"],
            patience=settings["patience"],
        ),
    )


def _sentence(report: Report) -> str:
    rewards = ", ".join(f"{name} {value:.4f} +- {report.spread[name]:.4f}" for name, value in report.reward.items())
    heldout = f", held out {report.heldout:.4f}" if report.heldout is not None else ""
    return f"{rewards}{heldout}, {sum(report.seconds.values()):.1f} s"
