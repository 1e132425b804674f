"""The command line: treegrpo demo | train | sample | score | eval | plan | rewards | bench."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import RunError, UsageError

if TYPE_CHECKING:
    from .config import ModelTable
    from .iteration import Rewards

DRAWING_STEPS = 10

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)
bench = typer.Typer(no_args_is_help=True, help="Measure methods against each other.")
app.add_typer(bench, name="bench")
rewards = typer.Typer(no_args_is_help=True, help="The rewards, and the weights of those that are learned.")
app.add_typer(rewards, name="rewards")

Out = Annotated[Path, typer.Option("--out", help="Folder for what the command writes.")]
ModelPath = Annotated[
    str | None, typer.Option("--model", help="A diffusers folder, hub id (downloaded) or checkpoint file.")
]
RunConfig = Annotated[
    Path | None,
    typer.Option("--config", help="The TOML file of a run, instead of a model: draw in its size, precision and steps."),
]
Lora = Annotated[Path | None, typer.Option("--lora", help="A lora.safetensors that a run has written.")]
Prompts = Annotated[Path, typer.Option("--prompts", help="A text file, one prompt a line.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Denoising steps; the config's or 10 if left out.")]
Guidance = Annotated[
    float | None,
    typer.Option("--guidance", min=0, help="Classifier-free guidance; the config's or 1, which is off, if left out."),
]
SequenceLength = Annotated[
    int | None, typer.Option("--max-sequence-length", min=1, help="T5 tokens; the config's or 256 if left out.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the noise.")]
RewardName = Annotated[str, typer.Option("--reward", help="A reward; an unknown name lists the known ones.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", help='An option of the reward: "template={prompt}, ink style".')
]

RewardsFolder = Annotated[
    Path | None,
    typer.Option("--folder", help="A folder such as ComfyUI's models/rewards; or else the Hugging Face cache."),
]


@app.callback()
def _common(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """Tune a LoRA towards a reward with tree-structured rollouts (arXiv 2512.08153)."""


@app.command()
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
    from .config_file import read_config
    from .memory_plan import predict
    from .plan_table import plan_costs, print_costs, print_memory

    config = read_config(recipe)
    rows, memory = plan_costs(config.plan.model_dump(), window=config.window), predict(config)
    if as_json:
        print(json.dumps({"plan": rows, "memory": {**asdict(memory), "peak": memory.peak}}))
    else:
        print_costs(rows)
        print_memory(memory, config)


@app.command()
def demo(
    taste: Annotated[str, typer.Option(help="The style to prefer: ink, flat, glossy or noto.")] = "ink",
    out: Out = Path("runs/demo"),
) -> None:
    """Align the bundled model with a taste in minutes, and prove that it worked."""
    from .demo import run_demo

    raise typer.Exit(0 if run_demo(taste, out) else 1)


@app.command()
def train(
    config: Annotated[Path, typer.Option("--config", help="A TOML file; see docs/configuration.md.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; runs/<name of the config> if left out.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the run folder.")] = False,
) -> None:
    """Train a LoRA as a config says. Ctrl-C finishes the iteration and saves."""
    from .config_file import read_config
    from .headless import train_from_config

    out = out or Path("runs") / config.stem
    train_from_config(read_config(config), out, resume, f"treegrpo train --config {config} --out {out} --resume")


@app.command()
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


@app.command()
def score(
    images: Annotated[list[Path], typer.Argument(help="Picture files.")],
    reward: RewardName,
    prompt: Annotated[str, typer.Option("--prompt", help="What the pictures should show.")] = "",
    option: Options = None,
) -> None:
    """Score picture files with a reward; one line each, larger is better."""
    from .headless import score_files

    for file, value in score_files(images, prompt, reward, _options(option)):
        print(f"{value:.6f}\t{file}")


@app.command(name="eval")
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
    from .assemble import build_rewards, open_with_lora
    from .comparison import compare, print_comparison
    from .config import RewardTable, make_table
    from .config_file import read_prompts

    table, steps = _drawing(model, config, steps, guidance, max_sequence_length)
    if bool(reward) == bool(official):
        raise UsageError("--reward: name one, or give --official; not both.")
    if official:
        from .rewards.official_hps import OfficialHps

        rewards: Rewards = [(OfficialHps(official), 1.0)]
    else:
        rewards = build_rewards([make_table(RewardTable, name=reward, options=_options(option))])
    policy = open_with_lora(table, lora)
    result = compare(policy, read_prompts(prompts), rewards, images_per_prompt=count, steps=steps, seed=seed)
    if as_json:
        print(json.dumps(asdict(result.figures)))
    else:
        print_comparison({str(prompts): result.figures})


@rewards.command(name="list")
def list_rewards(folder: RewardsFolder = None) -> None:
    """List the rewards, what they need, and whether it is here."""
    from .rewards_command import print_rewards

    print_rewards(folder)


@rewards.command()
def pull(name: Annotated[str, typer.Argument(help="A reward.")], folder: RewardsFolder = None) -> None:
    """Download the weights of a reward; a broken download goes on where it stopped. Hashes are checked."""
    from .rewards_command import pull_reward

    pull_reward(name, folder)


@bench.command(name="train")
def bench_training(
    model: Annotated[str, typer.Option(help="emoji (bundled), sd15, sdxl, sd35_medium or flux_dev.")] = "emoji",
    what: Annotated[
        list[str] | None,
        typer.Option("--what", help="memory, methods, switches or compile; may be repeated. All if left out."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", help="Compare only this method with TreeGRPO; may be repeated. An unknown name lists all."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long methods, and then speed-ups, are timed.")] = 120,
    prompts_per_iteration: Annotated[int, typer.Option("--prompts", min=1, help="Prompts per iteration.")] = 4,
    memory_gb: Annotated[float | None, typer.Option("--memory-gb", help="GiB for activations.")] = None,
    iterations: Annotated[int, typer.Option(min=2, help="Iterations that memory is followed for.")] = 50,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="A setting of the table model, such as height=768.")
    ] = None,
    out: Out = Path("runs/bench-train"),
) -> None:
    """Methods and speed-ups on one model: seconds by part, peak memory against the prediction, roofline."""
    from .bench_train import bench_train

    settings = dict(_options(option))
    bench_train(model, what or [], only or [], seconds, prompts_per_iteration, memory_gb, iterations, settings, out)


@bench.command()
def learning(
    what: Annotated[str, typer.Option(help="methods, ablations, rates or all.")] = "all",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only this contender; may be repeated. An unknown name lists all."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 5,
    seed_from: Annotated[int, typer.Option("--seed-from", min=0, help="The first seed.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Training time of every contender and seed.")] = 120,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Iterations of every contender and seed, instead of seconds.")
    ] = None,
    summary: Annotated[bool, typer.Option("--summary", help="Only summarise what the folder holds.")] = False,
    out: Out = Path("runs/bench-learning"),
) -> None:
    """Methods, ablations and learning rates on the bundled model: reward and diversity at equal time and evaluations.

    Goes on where it was stopped. Processes with other seeds or contenders may share the folder.
    """
    from .bench_learning import Budget, bench_learning

    budget = Budget("seconds", seconds) if iterations is None else Budget("iterations", iterations)
    bench_learning(what, only or [], range(seed_from, seed_from + seeds), None if summary else budget, out)


@bench.command(name="rewards")
def bench_all_rewards(
    reward: Annotated[list[str] | None, typer.Option("--reward", help="Only this one; may be repeated.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda ...; the accelerator if left out.")] = None,
    folder: RewardsFolder = None,
    side: Annotated[int, typer.Option(min=1, help="Of the pictures, in pixels.")] = 512,
    largest: Annotated[int, typer.Option(min=1, help="Largest batch.")] = 64,
    out: Out = Path("runs/bench-rewards"),
) -> None:
    """Pictures per second of every reward whose weights are here, by batch size."""
    from .bench_rewards import bench_rewards

    bench_rewards(reward or [], device, folder, side, largest, out)


def _quiet_libraries(progress: bool) -> None:
    """Silence notices of the model libraries, and their progress bars; call it before anything imports them."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if not progress:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")


def _drawing(
    model: str | None, config: Path | None, steps: int | None, guidance: float | None, max_sequence_length: int | None
) -> tuple[ModelTable, int]:
    """The model and the steps that pictures are drawn with; what is given goes before what the config says."""
    from .config import ModelTable, make_table
    from .config_file import read_config

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


def _options(pairs: list[str] | None) -> dict[str, str]:
    """Settings from "name=value" pairs."""
    for pair in pairs or []:
        if "=" not in pair:
            raise UsageError(f'--option: "{pair}" has no "="; write name=value.')
    return dict(pair.split("=", 1) for pair in pairs or [])


def main() -> None:
    """Run the command line: exit code 2 for a usage error, 1 for a failure, one sentence for either."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    _quiet_libraries(progress=arguments[:2] == ["rewards", "pull"])
    try:
        app(args=[argument for argument in arguments if argument != "--debug"])
    except UsageError as error:
        _leave(error, 2, debug)
    except RunError as error:
        _leave(error, 1, debug)
    except Exception as error:
        sentence = f"{type(error).__name__}: {error} (add --debug to see where)"
        _leave(RuntimeError(sentence) if not debug else error, 1, debug)


def _leave(error: Exception, code: int, debug: bool) -> None:
    if debug:
        raise error
    print(f"treegrpo: {error}", file=sys.stderr)
    sys.exit(code)
