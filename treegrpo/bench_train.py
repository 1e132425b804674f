"""`treegrpo bench train`: how fast methods train and what each speed-up gives, on one model in one process.

All have the same leaves, and run one iteration each in turn, round after round, so that all see the same machine; a
ratio is that of two iterations of one round. The window starts at step 1, where a tree of 27 leaves takes 176
evaluations: the geometric schedule takes 177 on average.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from .assemble import build_rewards
from .atomic import write_text
from .backends.diffusers import DiffusersPolicy
from .bench_models import bench_config, open_bench_policy
from .config import Config
from .config_file import read_prompts
from .console import console
from .contender import TRAINING_COST, Contender, advance
from .errors import check_known
from .grow import BatchSizes
from .iteration import Rewards, make_optimizer
from .machine import machine
from .memory import batch_sizes
from .memory_plan import predict
from .process import Path as DiffusionPath
from .variants import REFERENCE, changed, published_methods

PARTS = ("grow", "decode", "score", "update")
WHAT = ("memory", "methods", "switches", "compile")
ONE_BY_ONE = "TreeGRPO, one at a time"
WINDOW_START = 1
GIB = 2**30

Switch = Callable[[DiffusersPolicy], AbstractContextManager[None]]
"""Puts a policy into another mode of working, and back."""


@dataclass
class Entry:
    """What is timed. same: whether it must compute what the reference computes."""

    contender: Contender
    sizes: BatchSizes
    switch: Switch = lambda policy: nullcontext()
    same: bool = True
    seconds: list[dict[str, float]] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    first_norm: float = 0.0
    ratio_error: float = 0.0

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.contender.name

    @property
    def totals(self) -> list[float]:
        """Seconds of every round."""
        return [sum(parts.values()) for parts in self.seconds]


def bench_train(
    model: str,
    what: Sequence[str],
    seconds: float,
    prompts_per_iteration: int,
    memory_gb: float | None,
    iterations: int,
    options: dict[str, Any],
    out: Path,
) -> dict[str, Any]:
    """Measure a model, print the tables, and write `<model>.json` into `out`.

    what: of WHAT; all if empty. seconds: about how long methods, and then switches, are timed. iterations: how many
    the memory is followed for. options: go into the [model] table. Raises UsageError for unknown names.
    """
    for each in what:
        check_known("--what", each, WHAT)
    config = _in_window(bench_config(model, prompts_per_iteration, memory_gb, **options))
    policy = open_bench_policy(model, config)
    rewards, prompts = build_rewards(config.rewards), read_prompts(config.train.prompts)
    sizes = batch_sizes(policy, prompts, config.plan.steps, config.train.memory_gb)
    bench = _Bench(policy, rewards, prompts, config, sizes)
    result: dict[str, Any] = {
        "model": model,
        **machine(policy),
        "dtype": str(policy.dtype).removeprefix("torch."),
        "latent": list(policy.latent_shape),
        "prompts_per_iteration": prompts_per_iteration,
        "sizes": asdict(sizes),
        "options": options,
    }
    console.print(", ".join(f"{key} {value}" for key, value in result.items()), soft_wrap=True, markup=False)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "memory": lambda: _memory(bench, iterations),
        "methods": lambda: _methods(bench, seconds),
        "switches": lambda: _switches(bench, seconds),
        "compile": lambda: _compile(bench, seconds),
    }
    for name, part in parts.items():
        if name in what or not what:
            result[name] = part()
            write_text(out / f"{model}.json", json.dumps(result, indent=2) + "\n")
    console.print(f"JSON: {out / f'{model}.json'}", soft_wrap=True)
    return result


@dataclass(frozen=True)
class _Bench:
    policy: DiffusersPolicy
    rewards: Rewards
    prompts: Sequence[str]
    config: Config
    sizes: BatchSizes

    def entry(self, name: str, config: Config, sizes: BatchSizes | None = None, **rest: Any) -> Entry:
        """Something to time that starts from the policy's present adapter."""
        optimizer = make_optimizer(self.policy, config.update.learning_rate)
        return Entry(Contender(name, config, optimizer, self.policy.adapter_state()), sizes or self.sizes, **rest)

    def run(self, entry: Entry) -> None:
        """One iteration of an entry; its seconds and peak are appended."""
        before = dict(entry.contender.seconds)
        entry.contender.peak_bytes = 0
        with entry.switch(self.policy):
            outcome = advance(entry.contender, self.policy, self.rewards, self.prompts, entry.sizes)
        if entry.contender.iterations == 1:
            entry.first_norm = outcome.statistics.grad_norm[0] or 0.0
        entry.ratio_error = max(entry.ratio_error, outcome.statistics.ratio_error[0])
        spent = entry.contender.seconds
        entry.seconds.append({part: spent[part] - before.get(part, 0.0) for part in spent})
        entry.peaks.append(entry.contender.peak_bytes)

    def rounds(self, entries: Sequence[Entry], seconds: float) -> None:
        """Time entries in turn for about `seconds`. The first round warms up, and counts only where it is the last."""
        start = self.policy.adapter_state()
        began = time.perf_counter()
        for entry in entries:
            self.run(entry)
        a_round = time.perf_counter() - began
        if 2 * a_round <= seconds:
            for entry in entries:
                entry.seconds.clear()
                entry.peaks.clear()
            while not entries[-1].seconds or time.perf_counter() - began + a_round < seconds:
                for entry in entries:
                    self.run(entry)
        self.policy.load_adapter_state(start)


def _in_window(config: Config) -> Config:
    return changed(config, "window", schedule="fixed", start=WINDOW_START)


def _methods(bench: _Bench, seconds: float) -> dict[str, Any]:
    entries = []
    published = published_methods(bench.config, branch=3, depth=3)
    del published["Flow-GRPO"]  # DanceGRPO's plan with another kernel
    for name, config in published.items():
        if config.window.schedule == "geometric":
            config = _in_window(config)
        if bench.policy.path is DiffusionPath.VE and config.kernel.name != "cps":
            config = changed(config, "kernel", name="ddim")  # the others are of flow models only
        entries.append(bench.entry(name, config, same=name == REFERENCE))
    alone = changed(bench.config, "train", reuse_graphs=False)
    entries.append(bench.entry(ONE_BY_ONE, alone, BatchSizes(1, 1, 1)))
    bench.rounds(entries, seconds)
    rows = [_row(entry, entries[0], bench) for entry in entries]
    _print_rows("Methods at equal leaves", rows)
    return {"rows": rows, "roofline": _roofline(bench, entries[0])}


def _switches(bench: _Bench, seconds: float) -> dict[str, Any]:
    base = bench.config

    def entry(name: str, config: Config = base, **rest: Any) -> Entry:
        return bench.entry(name, config, **rest)

    entries = [
        entry("as it comes"),
        entry("graphs of the rollout are not reused", changed(base, "train", reuse_graphs=False)),
        entry("scoring while decoding", changed(base, "train", overlap_scoring=True)),
        entry("prompts encoded anew in every iteration", switch=_forgetting),
        entry("gradient checkpointing", switch=_checkpointing),
    ]
    if bench.policy.guidance != 1 and not bench.policy.family.DISTILLED:
        entries.append(entry("guidance in two calls", switch=_two_calls))
        entries.append(entry("trained without guidance", switch=_unguided, same=False))
    bench.rounds(entries, seconds)
    rows = [_row(each, entries[0], bench) for each in entries]
    _print_rows("Speed-ups", rows)
    return {"rows": rows}


def _compile(bench: _Bench, seconds: float) -> dict[str, Any]:
    began = time.perf_counter()
    with _compiled(bench.policy):
        bench.run(bench.entry("compiling", bench.config))
    compiling = time.perf_counter() - began
    entries = [bench.entry("as it comes", bench.config), bench.entry("compiled", bench.config, switch=_compiled)]
    bench.rounds(entries, seconds)
    rows = [_row(each, entries[0], bench) for each in entries]
    _print_rows("Compiled blocks", rows)
    console.print(f"The first iteration with compiled blocks took {compiling:.0f} s.", soft_wrap=True)
    return {"rows": rows, "compiling_seconds": compiling}


def _memory(bench: _Bench, iterations: int) -> dict[str, Any]:
    """Predicted and measured peak, and how flat it stays; nothing else may be on the device."""
    dtype = str(bench.policy.dtype).removeprefix("torch.")
    prediction = predict(changed(bench.config, "model", dtype=dtype))
    entry = bench.entry(REFERENCE, bench.config)
    for _ in range(iterations):
        bench.run(entry)
    later = entry.peaks[1:]
    # On a CPU the process is measured, libraries and all, which says nothing about the prediction.
    error = prediction.peak / max(later) - 1 if torch.cuda.is_available() else None
    figures = {
        "predicted_gib": prediction.peak / GIB,
        "measured_gib": max(later) / GIB,
        "error": error,
        "phases_gib": {name: value / GIB for name, value in prediction.phases.items()},
        "graphs_gib": prediction.graphs / GIB,
        "iterations": iterations,
        "spread": (max(later) - min(later)) / min(later),
    }
    off = "the whole process" if error is None else f"{error:+.1%}"
    console.print(
        f"Peak memory: predicted {figures['predicted_gib']:.3f} GiB, measured {figures['measured_gib']:.3f} GiB "
        f"({off}); from iteration 2 to {iterations} it varies by {figures['spread']:.2%}.",
        soft_wrap=True,
    )
    return figures


def _roofline(bench: _Bench, entry: Entry) -> dict[str, Any]:
    """Floating-point operations a second of the reference's rollout and update, beside those of matrix products."""
    policy, config = bench.policy, bench.config
    rows = min(bench.sizes.training, 9 * config.train.prompts_per_iteration)
    sigma = float(policy.sigmas(config.plan.steps)[1])
    x = policy.initial_noise(rows, sigma, torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        policy.denoise(x, sigma, [bench.prompts[0]] * rows)
    with FlopCounterMode(display=False) as both:
        out = policy.denoise(x, sigma, [bench.prompts[0]] * rows)
        torch.autograd.grad(out, policy.parameters(), torch.ones_like(out))
    cost = config.make_plan(0, torch.Generator()).cost()
    prompts = config.train.prompts_per_iteration
    reused = config.train.reuse_graphs and bench.sizes.keep_graphs(cost.trained_nodes * prompts)
    update = both.get_total_flops() - (forward.get_total_flops() if reused else 0)
    spent = _medians(entry)
    figures = {
        "possible": _possible_flops(x.device, policy.dtype),
        "sampling": forward.get_total_flops() / rows * cost.evaluations * prompts / spent["grow"],
        "training": update / rows * cost.trained_nodes * prompts / spent["update"],
    }
    console.print(
        f"Roofline: sampling {figures['sampling'] / 1e12:.2f} TFLOP/s ({figures['sampling'] / figures['possible']:.0%} "
        f"of what large matrix products reach here, {figures['possible'] / 1e12:.2f}), training "
        f"{figures['training'] / 1e12:.2f} ({figures['training'] / figures['possible']:.0%}).",
        soft_wrap=True,
    )
    return figures


def _possible_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product of random numbers, the best of ten."""
    side = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        _wait(device)
        began = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def _medians(entry: Entry) -> dict[str, float]:
    return {part: median(each.get(part, 0.0) for each in entry.seconds) for part in PARTS}


def _row(entry: Entry, reference: Entry, bench: _Bench) -> dict[str, Any]:
    plan = entry.contender.config.make_plan(0, torch.Generator())
    cost, prompts = plan.cost(), entry.contender.config.train.prompts_per_iteration
    ratios = [own / other for own, other in zip(entry.totals, reference.totals, strict=True)]
    work, base = (
        made.evaluations + TRAINING_COST * made.trained_nodes
        for made in (cost, reference.contender.config.make_plan(0, torch.Generator()).cost())
    )
    return {
        "name": entry.name,
        "rounds": len(ratios),
        "evaluations": cost.evaluations * prompts,
        "trained_nodes": cost.trained_nodes * prompts,
        "count_ratio": work / base,
        "time_ratio": median(ratios),
        "time_ratios": ratios,
        "seconds_per_iteration": median(entry.totals),
        "seconds": _medians(entry),
        "leaves_per_second": cost.leaves * prompts / median(entry.totals),
        "peak_gib": max(entry.peaks) / GIB,
        "ratio_error": entry.ratio_error,
        "gradient": abs(entry.first_norm / reference.first_norm - 1) if entry.same else None,
    }


def _print_rows(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """The table for people, in Markdown."""
    columns = (
        *("", "evaluations", "trained nodes", "count", "time [least, most]", "s/iteration", "leaves/s"),
        *(f"{part} s" for part in PARTS),
        *("peak GiB", "ratio - 1", "gradient"),
    )
    console.print(f"\n{title}:\n")
    lines = [columns, ("---",) * len(columns)]
    for row in rows:
        ratios = row["time_ratios"]
        gradient = row["gradient"]
        lines.append(
            (
                row["name"],
                f"{row['evaluations']}",
                f"{row['trained_nodes']}",
                f"{row['count_ratio']:.2f}x",
                f"{row['time_ratio']:.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]",
                f"{row['seconds_per_iteration']:.3f}",
                f"{row['leaves_per_second']:.1f}",
                *(f"{row['seconds'][part]:.3f}" for part in PARTS),
                f"{row['peak_gib']:.2f}",
                f"{row['ratio_error']:.0e}",
                "-" if gradient is None else f"{gradient:.0e}",
            )
        )
    for line in lines:
        console.print(f"| {' | '.join(line)} |", soft_wrap=True, markup=False)
    console.print(
        "\nPer iteration. Against the first row: count is evaluations + 3 x trained nodes, time the median of the "
        "rounds. ratio - 1: the largest of a first pass; gradient: how far the length of the first gradient is off.",
        soft_wrap=True,
    )


@contextmanager
def _economy(policy: DiffusersPolicy, **changes: Any) -> Iterator[None]:
    before = policy.economy
    policy.economy = replace(before, **changes)
    try:
        yield
    finally:
        policy.economy = before


def _two_calls(policy: DiffusersPolicy) -> AbstractContextManager[None]:
    return _economy(policy, fused_guidance=False)


@contextmanager
def _unguided(policy: DiffusersPolicy) -> Iterator[None]:
    guidance = policy.guidance
    policy.guidance = 1.0
    try:
        yield
    finally:
        policy.guidance = guidance


def _forgetting(policy: DiffusersPolicy) -> AbstractContextManager[None]:
    return policy.without_embeddings()


@contextmanager
def _checkpointing(policy: DiffusersPolicy) -> Iterator[None]:
    policy.network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if not policy.economy.gradient_checkpointing:
            policy.network.disable_gradient_checkpointing()


@contextmanager
def _compiled(policy: DiffusersPolicy) -> Iterator[None]:
    policy.compile_blocks()
    try:
        with _economy(policy, compile=True):
            yield
    finally:
        policy.compile_blocks(policy.economy.compile)
