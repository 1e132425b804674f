"""treegrpo bench train | learning | rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Out, RewardsFolder, settings

bench = typer.Typer(no_args_is_help=True, help="Measure methods against each other.")


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
    from ..bench.train import bench_train

    table = dict(settings(option))
    bench_train(model, what or [], only or [], seconds, prompts_per_iteration, memory_gb, iterations, table, out)


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
    from ..bench.learning import Budget, bench_learning

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
    from ..bench.rewards import bench_rewards

    bench_rewards(reward or [], device, folder, side, largest, out)
