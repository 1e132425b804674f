"""`treegrpo bench train`: how fast methods train and what each speed-up gives, on one model in one process.

All have the same leaves, and run one iteration each in turn, round after round, so that all see the same machine; a
ratio is that of two iterations of one round. The window starts at step 1, where a tree of 27 leaves takes 176
evaluations: the geometric schedule takes 177 on average.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch._dynamo.exc import TorchDynamoException  # nothing public tells a failed compiler from other errors

from ..console import console
from ..errors import UsageError, check_known
from ..memory.batch_sizes import batch_sizes
from ..method.grow import BatchSizes
from ..method.process import Path as DiffusionPath
from ..run.atomic import write_text
from ..training.assemble import build_rewards
from ..training.config import Config
from ..training.prompt_list import read_prompts
from ..training.run_memory import run_memory
from .machine import machine
from .models import bench_config, open_bench_policy
from .roofline import roofline
from .switches import compiled, switches
from .timing import GIB, Bench, Timed, print_rows, row_of
from .variants import REFERENCE, changed, published_methods

WHAT = ("memory", "methods", "switches", "compile")
ONE_BY_ONE = "TreeGRPO, one at a time"
METHODS = (REFERENCE, "BranchGRPO", "MixGRPO", "Flow-GRPO-Fast", "DanceGRPO", ONE_BY_ONE)
"""All but Flow-GRPO, which is DanceGRPO's plan with another kernel."""
WINDOW_START = 1


def bench_train(
    model: str,
    what: Sequence[str],
    only: Sequence[str],
    seconds: float,
    prompts_per_iteration: int,
    memory_gb: float | None,
    iterations: int,
    options: dict[str, Any],
    out: Path,
) -> dict[str, Any]:
    """Measure a model, print the tables, and write `<model>.json` into `out`.

    what: of WHAT; all if empty. only: methods to compare with TreeGRPO; all if empty. seconds: about how long methods,
    and then switches, are timed. iterations: how many the memory is followed for. options: go into the [model] table.
    Raises UsageError for unknown names.
    """
    for each in what:
        check_known("--what", each, WHAT)
    for each in only:
        check_known("--only", each, METHODS)
    config = _in_window(bench_config(model, prompts_per_iteration, memory_gb, options))
    prompts = read_prompts(config.train.prompts)
    if prompts_per_iteration > len(prompts):
        raise UsageError(f"--prompts: {prompts_per_iteration} are more than there are for {model}, {len(prompts)}.")
    if config.model.compile and "compile" in (what or WHAT):
        raise UsageError("--option compile: --what compile compares with and without; leave the option out.")
    policy, rewards = open_bench_policy(model, config), build_rewards(config.rewards)
    sizes = batch_sizes(policy, prompts, config.plan.steps, config.train.memory_gb)
    bench = Bench(policy, rewards, prompts, config, sizes)
    result: dict[str, Any] = {
        "model": model,
        **machine(policy),
        "dtype": str(policy.dtype).removeprefix("torch."),
        "latent": list(policy.latent_shape),
        "prompts_per_iteration": prompts_per_iteration,
        "sizes": asdict(sizes),
        "options": options,
    }
    console.print(", ".join(f"{key} {value}" for key, value in result.items()), soft_wrap=True)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "memory": lambda: _memory(bench, iterations),
        "methods": lambda: _methods(bench, only or METHODS, seconds),
        "switches": lambda: _switches(bench, seconds),
        "compile": lambda: _compile(bench, seconds),
    }
    for name, part in parts.items():
        if name in what or not what:
            result[name] = part()
            write_text(out / f"{model}.json", json.dumps(result, indent=2) + "\n")
    console.print(f"JSON: {out / f'{model}.json'}", soft_wrap=True)
    return result


def _in_window(config: Config) -> Config:
    return changed(config, "window", schedule="fixed", start=WINDOW_START)


def _methods(bench: Bench, names: Sequence[str], seconds: float) -> dict[str, Any]:
    entries = []
    for name, config in published_methods(bench.config, branch=3, depth=3).items():
        if name not in (REFERENCE, *names):
            continue
        if config.window.schedule == "geometric":
            config = _in_window(config)
        if bench.policy.path is DiffusionPath.VE and config.kernel.name != "cps":
            config = changed(config, "kernel", name="ddim")  # the others are of flow models only
        entries.append(bench.timed(name, config, same=name == REFERENCE))
    if ONE_BY_ONE in names:
        alone = changed(bench.config, "train", reuse_graphs=False)
        entries.append(bench.timed(ONE_BY_ONE, alone, BatchSizes(1, 1, 1)))
    rows = _table("Methods at equal leaves", bench, entries, seconds)
    return {"rows": rows, "roofline": roofline(bench, entries[0])}


def _switches(bench: Bench, seconds: float) -> dict[str, Any]:
    return {"rows": _table("Speed-ups", bench, switches(bench), seconds)}


def _compile(bench: Bench, seconds: float) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        with compiled(bench.policy):
            bench.run(bench.timed("compiling", bench.config))
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        console.print(f"Blocks could not be compiled here: {reason}", soft_wrap=True)
        return {"error": reason}
    compiling = time.perf_counter() - began
    entries = [bench.timed("as it comes", bench.config), bench.timed("compiled", bench.config, switch=compiled)]
    rows = _table("Compiled blocks", bench, entries, seconds)
    console.print(f"The first iteration with compiled blocks took {compiling:.0f} s.", soft_wrap=True)
    return {"rows": rows, "compiling_seconds": compiling}


def _memory(bench: Bench, iterations: int) -> dict[str, Any]:
    """Predicted and measured peak, and how flat it stays; nothing else may be on the device."""
    dtype = str(bench.policy.dtype).removeprefix("torch.")
    prediction = run_memory(changed(bench.config, "model", dtype=dtype))
    entry = bench.timed(REFERENCE, bench.config)
    for _ in range(iterations):
        bench.run(entry)
    later = entry.peaks[1:]
    # On a CPU the process is measured, libraries and all, which says nothing about the prediction.
    error = prediction.peak / max(later) - 1 if torch.cuda.is_available() else None
    figures = {
        "predicted_gib": prediction.peak / GIB,
        "measured_gib": max(later) / GIB,  # 0 where the system does not tell
        "error": error,
        "phases_gib": {name: value / GIB for name, value in prediction.phases.items()},
        "graphs_gib": prediction.graphs / GIB,
        "iterations": iterations,
        "spread": (max(later) - min(later)) / max(*later, 1),
    }
    off = "the whole process" if error is None else f"{error:+.1%}"
    console.print(
        f"Peak memory: predicted {figures['predicted_gib']:.3f} GiB, measured {figures['measured_gib']:.3f} GiB "
        f"({off}); from iteration 2 to {iterations} it varies by {figures['spread']:.2%}.",
        soft_wrap=True,
    )
    return figures


def _table(title: str, bench: Bench, several: Sequence[Timed], seconds: float) -> list[dict[str, Any]]:
    """The rows of a table, printed too; all are compared with the first."""
    bench.rounds(several, seconds)
    rows = [row_of(timed, several[0]) for timed in several]
    print_rows(title, rows)
    return rows
