"""Train: the whole loop in one node."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import comfy.model_management as management
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..treegrpo.backends.comfy.policy import ComfyPolicy, Prompts
from ..treegrpo.errors import UsageError
from ..treegrpo.memory.batch_sizes import batch_sizes
from ..treegrpo.method.advantage import BACKUPS, CENTRINGS
from ..treegrpo.method.sample import decode, sample
from ..treegrpo.run.atomic import write_text
from ..treegrpo.run.folder import RunFolder
from ..treegrpo.run.live_tree import LIVE, LiveTree
from ..treegrpo.run.outcome import Outcome
from ..treegrpo.run.report import Report
from ..treegrpo.run.sheet import save_sheet
from ..treegrpo.run.state import RunState
from ..treegrpo.training.config import (
    AdvantageTable,
    AnyTable,
    Config,
    EvaluationTable,
    LoraTable,
    ModelTable,
    TrainTable,
    UpdateTable,
    make_table,
)
from ..treegrpo.training.trainer import train
from .advantage import mixing_input
from .auto import chosen, memory_input, sentence
from .live import teller
from .opened import opened
from .reward import built, rewards_input
from .run_folders import publish, publish_best, run_path, validate_name, votes_folder
from .run_views import BEST, WORKFLOW
from .say import say, sheet
from .sockets import (
    CATEGORY,
    Drawing,
    PlanSocket,
    PlanValue,
    PolicySocket,
    PolicyValue,
    PromptsSocket,
    RewardSocket,
    RewardValue,
)
from .update_lora import update_inputs

INTERRUPTS: Counter[str] = Counter()
"""How often each run was interrupted since ComfyUI started; its cache lives as long."""


class Train(io.ComfyNode):
    """Runs iterations until there are enough of them, patience runs out, or the user interrupts."""

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
                    tooltip="Stop after so many judgements without a new best, or, with a watched reward, with "
                    "signs of reward hacking; 0 never stops early.",
                ),
                memory_input(),
                io.Int.Input(
                    "seed", default=0, min=0, max=2**31, control_after_generate=False, tooltip="Seed of the run."
                ),
                PromptsSocket.Input("heldout", optional=True, tooltip="Prompts to judge on, never trained on."),
                io.Sigmas.Input("sigmas", optional=True, tooltip="Replaces the plan's scheduler; ends at 0."),
                RewardSocket.Input(
                    "watched",
                    optional=True,
                    tooltip="A reward that judges the held-out pictures too, but trains nothing: when it falls while "
                    "the trained ones rise, patience runs out.",
                ),
                mixing_input(),
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
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, run: str | None = None, rewards: Any = None) -> bool | str:
        """See validate_name. ComfyUI hands over `rewards` to whoever validates anything."""
        return validate_name(run)

    @classmethod
    def fingerprint_inputs(cls, run: str, **_: Any) -> int:
        """A run that was interrupted goes on when it is queued again, though no input has changed."""
        return INTERRUPTS[run]

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
        watched: RewardValue | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        """See io.ComfyNode."""
        suited, settings = sentence(policy.model, settings), chosen(policy.model, settings)
        judges = built(rewards, votes_folder(run))
        if settings["evaluate_every"] and heldout is None:
            raise UsageError("heldout: nothing is connected, so there is nothing to evaluate; connect Prompts to it.")
        if watched and not settings["evaluate_every"]:
            raise UsageError(
                "watched: it judges held-out pictures, and none are drawn; connect Prompts to heldout and set "
                "evaluate_every above 0."
            )
        watchers = built({"watched": watched}, votes_folder(run)) if watched else []
        held = heldout.texts if heldout else []
        every = prompts.and_those_of(heldout) if heldout else prompts
        config = _config(policy, prompts, heldout, plan, rewards, watched, settings)
        graph = (cls.hidden.extra_pnginfo or {}).get("workflow")
        with RunFolder(run_path(run), resume=True) as folder, ExitStack() as stack:
            if graph:  # before the model is loaded: the panel of runs can then resume whatever is interrupted
                write_text(folder.path / WORKFLOW, json.dumps(graph))
            live = stack.enter_context(opened(policy, Drawing(vae, every, plan, sigmas)))
            policy.state.put_into(live)
            follower = _Follower(cls.hidden.unique_id, folder, live, suited)
            reports = train(live, judges, config, folder, prompts.texts, held, watchers, watcher=follower)
            follower.follow(reports, config)
            state = RunState.read(folder)
            metrics = folder.metrics()
            name = publish(folder) if folder.lora_file.exists() else ""
            best_name = publish_best(folder)
            if state.judged.out_of(config.evaluation.patience):
                follower.say(f"{state.judged.reason(f'{best_name} in Load LoRA')} {follower.text}")
            if not state.adapter:
                state = policy.state
            lora = state.average or state.adapter or live.adapter_state()
            best = follower.best if len(follower.best) else _drawn(live, state, config, prompts.texts)
        losses = [sum(row["loss"]) / len(row["loss"]) for row in metrics] or [0.0]
        if len(set(losses)) == 1:
            losses.append(losses[0] + 1e-9)  # Plot Loss Graph divides by the range
        loss_map = {"loss": losses}
        shown = {"text": (follower.told,), "treegrpo": [{"run": run, "tree": LIVE}]}
        return io.NodeOutput(replace(policy, state=state), lora, loss_map, best, name, ui=shown)


class _Follower(LiveTree):
    """Follows a run: shows it under the node, and keeps LoRAs on the way.

    suited: what was chosen for the model. best: the best leaf of every prompt of the last iteration, float32
    [P, H, W, 3]; empty before the first.
    """

    def __init__(self, node_id: str, folder: RunFolder, live: ComfyPolicy, suited: str) -> None:
        super().__init__(folder.path / "trees", live.decode, teller(folder.path, node_id))
        self.node_id, self.run, self.suited = node_id, folder, suited
        self.text = "Nothing was left to do."
        self.best = torch.empty(0)

    def follow(self, reports: Iterator[Report], config: Config) -> None:
        """Run to the end, or to the user's interrupt, which costs at most the iteration in progress."""
        iterations, save_every = config.train.iterations, config.train.trees_every
        bar = comfy.utils.ProgressBar(iterations, node_id=self.node_id)
        if self.suited:
            say(self.suited, self.node_id)
        done = 0
        try:
            for report in reports:
                done = report.iteration + 1
                self.say(f"{done} of {iterations}: {_sentence(report)}")
                bar.update_absolute(done, preview=("JPEG", sheet(self.best), 512))
                if save_every and done % save_every == 0:
                    publish(self.run, snapshot=done)
        except management.InterruptProcessingException:
            INTERRUPTS[self.run.path.name] += 1
            self.say(
                f"Interrupted and saved. {self.text}"
                if done
                else "Interrupted before an iteration was done; queue it again to go on."
            )

    def end(self, outcome: Outcome) -> None:
        """Keep the best leaf of every prompt, here and as the picture of the run."""
        advantages = outcome.tree.leaf_advantages
        assert advantages is not None  # an outcome's tree is backed up
        leaves = outcome.images.unflatten(0, tuple(advantages.shape))
        self.best = leaves[torch.arange(len(leaves)), advantages.argmax(1)]
        save_sheet(self.run.path / BEST, self.best)
        super().end(outcome)

    @property
    def told(self) -> str:
        """What stands under the node."""
        return f"{self.text}\n{self.suited}".strip()

    def say(self, text: str) -> None:
        """Show how it goes under the node."""
        self.text = text
        say(self.told, self.node_id)


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
    watched: RewardValue | None,
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
        advantage=_table(AdvantageTable, settings),
        update=_table(UpdateTable, settings),
        train=make_table(
            TrainTable,
            prompts=prompts.texts,
            iterations=settings["iterations"],
            prompts_per_iteration=settings["prompts_per_iteration"],
            seed=settings["seed"],
            memory_gb=settings["memory_gb"],
            reuse_graphs=False,  # ComfyUI may move weights between the rollout and the update
            trees_every=settings["save_every"],
        ),
        evaluation=make_table(
            EvaluationTable,
            prompts=heldout.texts if heldout else None,
            every=settings["evaluate_every"],
            rewards=[watched.table] if watched else [],
            patience=settings["patience"],
        ),
    )


def _table(kind: type[AnyTable], settings: dict[str, Any]) -> AnyTable:
    """The table with those of the settings that are its own."""
    return make_table(kind, **{key: settings[key] for key in kind.model_fields if key in settings})


def _sentence(report: Report) -> str:
    rewards = ", ".join(
        f"{name} no votes" if value is None else f"{name} {value:.4f} +- {report.spread[name]:.4f}"
        for name, value in report.reward.items()
    )
    rewards += "".join(f", {pair} {value:+.2f}" for pair, value in report.correlation.items() if value is not None)
    rewards += f", {report.unjudged} of {report.leaves} not judged" if report.unjudged else ""
    heldout = f", held out {report.heldout:.4f}" if report.heldout is not None else ""
    heldout += "".join(f", watched {name} {mark:.4f}" for name, mark in report.watched.items() if mark is not None)
    return f"{rewards}{heldout}, {sum(report.seconds.values()):.1f} s"
