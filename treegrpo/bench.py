"""`treegrpo bench methods`: the published methods on one model, one process, the same leaves and updates.

Every method has its own LoRA on the same network. The method that has used the least time runs the next iteration, so
that all see the same machine, and all are compared at equal training time.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from .assemble import build_policy, build_rewards
from .atomic import write_text
from .comparison import Figures, compare
from .config_file import read_prompts
from .console import console
from .contender import Contender, advance
from .iteration import make_optimizer
from .memory import batch_sizes
from .variants import method_configs

PARTS = ("grow", "decode", "score", "update")


def bench_methods(seconds: float, branch: int, depth: int, prompts_per_iteration: int, out: Path) -> dict[str, Any]:
    """Train every method for `seconds`, judge all on held-out prompts, print a table and write methods.json."""
    configs = method_configs(branch, depth, prompts_per_iteration)
    first = next(iter(configs.values()))
    policy, rewards = build_policy(first), build_rewards(first.rewards)
    assert first.evaluation.prompts
    prompts, heldout = read_prompts(first.train.prompts), read_prompts(first.evaluation.prompts)
    sizes = batch_sizes(policy, prompts, first.plan.steps, first.train.memory_gb)
    start = policy.adapter_state()
    contenders = []
    for name, config in configs.items():
        optimizer = make_optimizer(policy, config.update.learning_rate)
        contenders.append(Contender(name, config, optimizer, {key: w.clone() for key, w in start.items()}))

    with console.status("") as status:
        for contender in contenders:  # first iterations pay for warming up, so a copy runs one that does not count
            spare = make_optimizer(policy, contender.config.update.learning_rate)
            advance(replace(contender, optimizer=spare, seconds={}), policy, rewards, prompts, sizes)
        while (slowest := min(contenders, key=lambda c: c.total)).total < seconds:
            status.update(f"{slowest.name}: iteration {slowest.iterations + 1}, {slowest.total:.0f} of {seconds:.0f} s")
            advance(slowest, policy, rewards, prompts, sizes)

    rows, before = [], None
    for contender in contenders:
        policy.load_adapter_state(contender.adapter)
        comparison = compare(
            policy,
            heldout,
            rewards,
            images_per_prompt=contender.config.evaluation.images_per_prompt,
            steps=contender.config.plan.steps,
            seed=-1,
            sizes=sizes,
            before=before,
        )
        before = comparison.before
        rows.append(_row(contender, comparison.figures))
    reference = rows[0]
    for row in rows:
        row["count_ratio"] = row["cost_per_iteration"] / reference["cost_per_iteration"]
        row["time_ratio"] = row["seconds_per_iteration"] / reference["seconds_per_iteration"]
    result = {
        "device": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds_per_method": seconds,
        "leaves": branch**depth,
        "prompts_per_iteration": prompts_per_iteration,
        "methods": rows,
    }
    print_methods(rows)
    write_text(out / "methods.json", json.dumps(result, indent=2) + "\n")
    console.print(f"JSON: {out / 'methods.json'}", soft_wrap=True)
    return result


def _row(contender: Contender, figures: Figures) -> dict[str, Any]:
    n = contender.iterations
    return {
        "method": contender.name,
        "kernel": contender.config.kernel.name,
        "iterations": n,
        "evaluations_per_iteration": contender.evaluations / n,
        "trained_nodes_per_iteration": contender.trained_nodes / n,
        "cost_per_iteration": contender.work / n,
        "seconds_per_iteration": contender.total / n,
        "seconds": {part: contender.seconds[part] / n for part in PARTS},
        "peak_mib": contender.peak_bytes / 2**20,
        **asdict(figures),
    }


def print_methods(rows: list[dict[str, Any]]) -> None:
    """The table for people, in Markdown."""
    columns = (
        *("method", "kernel", "iterations", "evaluations", "trained nodes", "count", "time", "s/iteration"),
        *(f"{part} s" for part in PARTS),
        *("peak MiB", "held-out gain"),
    )
    lines = [columns, tuple("---" for _ in columns)]
    for row in rows:
        gain = row["gain"]
        lines.append(
            (
                row["method"],
                row["kernel"],
                str(row["iterations"]),
                f"{row['evaluations_per_iteration']:.0f}",
                f"{row['trained_nodes_per_iteration']:.0f}",
                f"{row['count_ratio']:.2f}x",
                f"{row['time_ratio']:.2f}x",
                f"{row['seconds_per_iteration']:.2f}",
                *(f"{row['seconds'][part]:.2f}" for part in PARTS),
                f"{row['peak_mib']:.0f}",
                f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]",
            )
        )
    for line in lines:
        console.print(f"| {' | '.join(line)} |", soft_wrap=True, markup=False)
    console.print(
        "Evaluations, trained nodes and seconds are per iteration. Against TreeGRPO, count is evaluations + 3 x "
        "trained nodes, and time is measured seconds per iteration.",
        soft_wrap=True,
    )
