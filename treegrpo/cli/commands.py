"""treegrpo plan | demo | train | sample | models | score | eval; what they do is imported when it is needed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .arguments import (
    Guidance,
    Lora,
    ModelPath,
    Options,
    Out,
    Prompts,
    RewardName,
    RunConfig,
    Seed,
    SequenceLength,
    Steps,
    settings,
)

if TYPE_CHECKING:
    from ..rewards.reward import Rewards
    from ..training.config import ModelTable

DRAWING_STEPS = 10


def plan(
    method: Annotated[
        str, typer.Option(help="treegrpo, branchgrpo, mixgrpo, flow_grpo, dance_grpo or ddpo.")
    ] = "treegrpo",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Denoising steps.")] = 10,
    branch: Annotated[int, typer.Option(min=1, help="Children of every node where the plan branches.")] = 3,
    depth: Annotated[int, typer.Option(min=1, help="Steps in the window.")] = 3,
    start: Annotated[int | None, typer.Option(min=0, help="First step of the window; all starts if left out.")] = None,
    at: Annotated[str, typer.Option(help='Free list of steps instead of a window, such as "0,3,6".')] = "",
    roots: Annotated[int, typer.Option(min=1, help="Trees (or independent rollouts) per prompt.")] = 1,
    leaf_limit: Annotated[int, typer.Option(min=2, help="The most leaves per prompt.")] = 4096,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="The TOML file of a run: its plan, and the memory that it will take."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Print what one prompt costs under a plan, before any work; with --recipe, the memory of a run, too."""
    from .plan_table import plan_costs, print_costs

    if recipe is not None:
        _plan_recipe(recipe, as_json)
        return
    table: dict[str, Any] = {
        "method": method,
        "steps": steps,
        "branch": branch,
        "depth": depth,
        "roots": roots,
        "leaf_limit": leaf_limit,
    }
    rows = plan_costs(table, start, _integers(at))
    if as_json:
        print(json.dumps(rows[0] if len(rows) == 1 else rows))
    else:
        print_costs(rows)


def _plan_recipe(recipe: Path, as_json: bool) -> None:
    from ..training.config_file import read_config
    from ..training.run_memory import run_memory
    from .plan_table import plan_costs, print_costs, print_memory

    config = read_config(recipe)
    rows, memory = plan_costs(config.plan.model_dump(), window=config.window), run_memory(config)
    if as_json:
        print(json.dumps({"plan": rows, "memory": {**asdict(memory), "peak": memory.peak}}))
    else:
        print_costs(rows)
        print_memory(memory, config)


def demo(
    taste: Annotated[str, typer.Option(help="The style to prefer: ink, flat, glossy or noto.")] = "ink",
    out: Out = Path("runs/demo"),
) -> None:
    """Align the bundled model with a taste in minutes, and prove that it worked."""
    from .demo import run_demo

    raise typer.Exit(0 if run_demo(taste, out) else 1)


def train(
    config: Annotated[Path, typer.Option("--config", help="A TOML file; see docs/configuration.md.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; runs/<name of the config> if left out.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the run folder.")] = False,
) -> None:
    """Train a LoRA as a config says. Ctrl-C finishes the iteration and saves."""
    from ..training.config_file import read_config
    from .headless import train_from_config

    out = out or Path("runs") / config.stem
    again = ["treegrpo", "train", "--config", str(config), "--out", str(out), "--resume"]
    quoted = subprocess.list2cmdline(again) if sys.platform == "win32" else shlex.join(again)
    train_from_config(read_config(config), out, resume, quoted)


def sample(
    prompt: Annotated[list[str], typer.Option("--prompt", help="What to draw; may be given more than once.")],
    model: ModelPath = None,
    config: RunConfig = None,
    out: Out = Path("samples"),
    lora: Lora = None,
    steps: Steps = None,
    guidance: Guidance = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures per prompt.")] = 4,
    seed: Seed = 0,
    max_sequence_length: SequenceLength = None,
) -> None:
    """Draw pictures with a model and, if given, a LoRA."""
    from .headless import sample_to_folder

    table, steps = _drawing(model, config, steps, guidance, max_sequence_length)
    for file in sample_to_folder(table, lora, prompt, out, steps=steps, count=count, seed=seed):
        print(file)


def models() -> None:
    """List the models that can be opened, and what is done with them."""
    from .models_table import print_models

    print_models()


def score(
    images: Annotated[list[Path], typer.Argument(help="Picture files.")],
    reward: RewardName,
    prompt: Annotated[str, typer.Option("--prompt", help="What the pictures should show.")] = "",
    option: Options = None,
) -> None:
    """Score picture files with a reward; one line each, larger is better."""
    from .headless import score_files

    for file, value in score_files(images, prompt, reward, settings(option)):
        print(f"{value:.6f}\t{file}")


def evaluate(
    lora: Annotated[Path, typer.Option("--lora", help="A lora.safetensors that a run has written.")],
    prompts: Prompts,
    model: ModelPath = None,
    config: RunConfig = None,
    reward: Annotated[str, typer.Option("--reward", help="What judges; an unknown name lists the known ones.")] = "",
    official: Annotated[
        str, typer.Option("--official", help="Judge with the package of its authors instead: hpsv2 or hpsv2.1.")
    ] = "",
    option: Options = None,
    steps: Steps = None,
    guidance: Guidance = None,
    count: Annotated[int, typer.Option(min=2, help="Pictures per prompt.")] = 8,
    seed: Seed = 0,
    max_sequence_length: SequenceLength = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Compare a LoRA with its base model on prompts: reward with 95 % interval, and diversity."""
    from ..training.assemble import build_rewards, open_with_lora
    from ..training.comparison import compare
    from ..training.config import RewardTable, make_table
    from ..training.prompt_list import read_prompts
    from .comparison_table import print_comparison

    table, steps = _drawing(model, config, steps, guidance, max_sequence_length)
    if bool(reward) == bool(official):
        raise UsageError("--reward: name one, or give --official; not both.")
    if official:
        from ..rewards.official_hps import OfficialHps

        rewards: Rewards = [(OfficialHps(official), 1.0)]
    else:
        rewards = build_rewards([make_table(RewardTable, name=reward, options=settings(option))])
    policy = open_with_lora(table, lora)
    result = compare(policy, read_prompts(prompts), rewards, images_per_prompt=count, steps=steps, seed=seed)
    if as_json:
        print(json.dumps(asdict(result.figures)))
    else:
        print_comparison({str(prompts): result.figures})


def _drawing(
    model: str | None, config: Path | None, steps: int | None, guidance: float | None, max_sequence_length: int | None
) -> tuple[ModelTable, int]:
    """The model and the steps that pictures are drawn with; what is given goes before what the config says."""
    from ..training.config import ModelTable, make_table
    from ..training.config_file import read_config

    if (model is None) == (config is None):
        raise UsageError("--model: give a model, or the --config of a run; not both.")
    run = read_config(config) if config else None
    given = {"path": model, "guidance": guidance, "max_sequence_length": max_sequence_length}
    table = run.model.model_dump() if run else {}
    table |= {name: value for name, value in given.items() if value is not None}
    return make_table(ModelTable, **table), steps or (run.plan.steps if run else DRAWING_STEPS)


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f'--at: "{text}" is not a list of steps; write for example --at 0,3,6.') from None
