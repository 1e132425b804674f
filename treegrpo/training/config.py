"""The configuration of a run: one table a concern, with its defaults and limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_args

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import UsageError, check_known
from ..memory.batch_sizes import DEFAULT_GB
from ..method import window as windows
from ..method.advantage import BACKUPS, CENTRINGS, MIXINGS
from ..method.objective import WEIGHTINGS
from ..method.plan import LEAF_LIMIT, METHODS, MOST_LEAVES, STEP_LIMIT, TreePlan, preset, spaced
from ..method.process import KERNELS, Kernel
from ..method.update import UpdateSettings
from ..rewards import registry


def _one_of(key: str, known: Iterable[str]) -> AfterValidator:
    return AfterValidator(lambda value: check_known(key, value, known))


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


SEED_LIMIT = 2**42
"""Seeds of iterations are a million times as large, and random generators take 64 bits."""
MEMORY_LIMIT = 2**20
"""GiB; more than any machine has."""
OFTEN = 0.1
"""The share of all iterations from which on a step counts as often stochastic."""
ALTERNATIVES = ("str", "list[str]")
"""What pydantic adds to the place of an error where a setting may be one or the other."""
AnyTable = TypeVar("AnyTable", bound=_Table)


class ModelTable(_Table):
    """path: a diffusers folder, a hub id or a .safetensors checkpoint. config: for a checkpoint, the folder that has
    its configuration and tokenizers. dtype: by default float32 on a CPU and bfloat16 elsewhere. training_guidance: by
    default guidance. The rest is what the run gives up for memory, or takes for speed; see docs/configuration.md."""

    path: str
    config: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    guidance: float = Field(1.0, ge=0)
    training_guidance: float | None = Field(None, ge=0)
    negative_prompt: str = ""
    height: int | None = Field(None, gt=0, le=2**14)
    width: int | None = Field(None, gt=0, le=2**14)
    max_sequence_length: int = Field(256, ge=1, le=2**14)
    gradient_checkpointing: bool = False
    offload: bool = False
    tiled_decode: bool = False
    weights: Literal["int8", "float8"] | None = None
    fused_guidance: bool = True
    compile: bool = False


class LoraTable(_Table):
    """kind: LoRA, or LoKr in ComfyUI. targets: "attention", "attention+mlp", or what the backend takes: a list of
    endings of module names (diffusers), or a regular expression (ComfyUI). continue_from: a LoRA file."""

    kind: Literal["LoRA", "LoKr"] = "LoRA"
    rank: int = Field(8, ge=1)
    alpha: float = Field(8.0, gt=0)
    targets: str | list[str] = "attention"
    continue_from: str | None = None


class PlanTable(_Table):
    """depth: length of the window (number of splits for branchgrpo). roots: trees, or rollouts, per prompt."""

    method: Annotated[str, _one_of("plan.method", METHODS)] = "treegrpo"
    steps: int = Field(10, ge=1, le=STEP_LIMIT)
    branch: int = Field(3, ge=1, le=MOST_LEAVES)
    depth: int = Field(3, ge=1, le=STEP_LIMIT)
    roots: int = Field(1, ge=1, le=MOST_LEAVES)
    shared_noise: bool = False
    leaf_limit: int = Field(LEAF_LIMIT, ge=2, le=MOST_LEAVES)


class WindowTable(_Table):
    """Where the window lies in each iteration. ratio: geometric. every: shifting. start: fixed. at: list."""

    schedule: Annotated[str, _one_of("window.schedule", windows.SCHEDULES)] = "geometric"
    ratio: float = Field(0.5, gt=0, lt=1)
    every: int = Field(50, ge=1)
    start: int = Field(0, ge=0)
    at: list[int] = []


class KernelTable(_Table):
    """eta: noise level; by default 0.7 for flow_sde, 0.3 for dance_sde, 0.8 for cps, 1 for ddim."""

    name: Annotated[str, _one_of("kernel.name", KERNELS)] = "cps"
    eta: float | None = Field(None, gt=0)


class RewardTable(_Table):
    """One reward of the mix. options: passed to the reward, for example template or model of clipscore."""

    name: Annotated[str, AfterValidator(lambda name: check_known("rewards.name", name, registry.names()))]
    weight: float = 1.0
    options: dict[str, Any] = {}


class AdvantageTable(_Table):
    """mixing: "normalise" (paper) or "sum". backup: "logprob" (paper) or "mean". centring: "none" (paper) or
    "siblings"."""

    mixing: Annotated[str, _one_of("advantage.mixing", MIXINGS)] = "normalise"
    backup: Annotated[str, _one_of("advantage.backup", BACKUPS)] = "logprob"
    centring: Annotated[str, _one_of("advantage.centring", CENTRINGS)] = "none"
    clamp: float = Field(5.0, gt=0)


class UpdateTable(_Table):
    """updates_per_rollout: optimiser steps per rollout, each over all edges. ema: decay of the averaged adapter."""

    learning_rate: float = Field(1e-4, gt=0, le=1)
    updates_per_rollout: int = Field(1, ge=1)
    clip_range: float = Field(1e-4, gt=0)
    weighting: Annotated[str, _one_of("update.weighting", WEIGHTINGS)] = "edges"
    kl: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    ema: float | None = Field(None, gt=0, lt=1)

    def settings(self) -> UpdateSettings:
        """What the update needs to know."""
        return UpdateSettings(self.updates_per_rollout, self.clip_range, self.weighting, self.kl, self.max_grad_norm)


class TrainTable(_Table):
    """prompts: a text file, one prompt a line, or the prompts themselves. memory_gb: GiB for activations.
    reuse_graphs: whether the first update uses the rollout's own graphs, as many as fit. overlap_scoring: whether
    pictures are scored while others are decoded. trees_every: iterations between trees kept for viewing (0: none)."""

    prompts: str | list[str]
    iterations: int = Field(100, ge=1, le=10**9)
    prompts_per_iteration: int = Field(8, ge=1, le=2**16)
    seed: int = Field(0, ge=-SEED_LIMIT, le=SEED_LIMIT)
    memory_gb: float = Field(DEFAULT_GB, gt=0, le=MEMORY_LIMIT)
    reuse_graphs: bool = True
    overlap_scoring: bool = False
    trees_every: int = Field(10, ge=0)
    tensorboard: bool = False


class EvaluationTable(_Table):
    """Held-out judgement by ODE samples. prompts: as in train. every: iterations between evaluations (0: none).

    rewards: only watched, beside the training rewards. patience: stop after so many evaluations without a new best, or,
    with watched rewards, with signs of reward hacking (0: never).
    """

    prompts: str | list[str] | None = None
    every: int = Field(0, ge=0)
    images_per_prompt: int = Field(4, ge=2, le=2**12)
    rewards: list[RewardTable] = []
    patience: int = Field(0, ge=0)


class Config(_Table):
    """Everything that decides a run."""

    model: ModelTable
    lora: LoraTable = LoraTable()
    plan: PlanTable = PlanTable()
    window: WindowTable = WindowTable()
    kernel: KernelTable = KernelTable()
    rewards: list[RewardTable] = Field(min_length=1)
    advantage: AdvantageTable = AdvantageTable()
    update: UpdateTable = UpdateTable()
    train: TrainTable
    evaluation: EvaluationTable = EvaluationTable()

    @model_validator(mode="after")
    def _can_work(self) -> Config:
        self.make_plan(0, torch.Generator())
        self.make_kernel()
        for key, rewards in (("rewards", self.rewards), ("evaluation.rewards", self.evaluation.rewards)):
            if rewards and not any(reward.weight for reward in rewards):
                raise UsageError(f"{key}: all weights are 0, so nothing counts; give one of them another weight.")
        return self

    def make_kernel(self) -> Kernel:
        """The kernel of the stochastic steps. Raises UsageError for an unknown name."""
        return Kernel(self.kernel.name, self.kernel.eta)

    def make_plan(self, iteration: int, generator: torch.Generator) -> TreePlan:
        """The plan of one iteration; `generator` draws random windows. Raises UsageError for what cannot be."""
        return make_plan(self.plan, self.window, iteration, generator)


def make_plan(plan: PlanTable, window: WindowTable, iteration: int, generator: torch.Generator) -> TreePlan:
    """The plan of one iteration, with its window drawn from the schedule."""
    if plan.method == "branchgrpo" and window.schedule != "list":
        where = spaced(plan.depth)
    elif plan.method in ("treegrpo", "mixgrpo", "branchgrpo"):
        where = windows.choose(
            window.schedule,
            steps=plan.steps,
            depth=plan.depth,
            iteration=iteration,
            generator=generator,
            ratio=window.ratio,
            every=window.every,
            start=window.start,
            at=window.at,
        )
    else:
        where = ()
    return preset(
        plan.method,
        steps=plan.steps,
        branch=plan.branch,
        window=where,
        roots=plan.roots,
        shared_noise=plan.shared_noise,
        leaf_limit=plan.leaf_limit,
    )


def stochastic_steps(plan: PlanTable, window: WindowTable) -> tuple[int, ...]:
    """The steps that are often stochastic."""
    if plan.method not in ("treegrpo", "mixgrpo") or window.schedule in ("fixed", "list"):
        return make_plan(plan, window, 0, torch.Generator()).stochastic_steps
    starts = windows.chances(window.schedule, plan.steps, plan.depth, window.ratio)
    often = (sum(starts[max(0, step - plan.depth + 1) : step + 1]) >= OFTEN for step in range(plan.steps))
    return tuple(step for step, yes in enumerate(often) if yes)


def make_table(kind: type[AnyTable], /, **values: Any) -> AnyTable:
    """A table with these values. Raises UsageError for the first thing that is wrong."""
    try:
        return kind(**values)
    except ValidationError as error:
        raise UsageError(_sentence(error.errors()[0], kind)) from error


def _sentence(error: Any, kind: type[BaseModel]) -> str:
    """One sentence for one pydantic error in a table of this kind."""
    key = ".".join(str(part) for part in error["loc"] if part not in ALTERNATIVES)
    if error["type"] == "extra_forbidden":
        known = _keys(error["loc"][:-1], kind)
        near = get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.0)
        return f'"{key}" is not a setting; did you mean "{near[0]}"? The settings there are {", ".join(known)}.'
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "missing":
        return f'"{key}" is missing; add it.'
    return f'"{key}" = {error["input"]!r} cannot be used: {error["msg"][0].lower()}{error["msg"][1:]}.'


def _keys(location: tuple, table: type[BaseModel]) -> list[str]:
    """The settings of the table at a location such as ("rewards", 0) inside a table."""
    for part in location:
        if isinstance(part, str):
            kind = table.model_fields[part].annotation
            table = next(t for t in (*get_args(kind), kind) if isinstance(t, type) and issubclass(t, BaseModel))
    return list(table.model_fields)


def differences(old: dict, new: dict, prefix: str = "") -> Iterator[tuple[str, object, object]]:
    """(dotted key, old value, new value) for every setting that differs between two dumped configurations."""
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}", before, after
