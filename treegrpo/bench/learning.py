"""`treegrpo bench learning`: what methods and settings teach with the same time, evaluations or iterations.

Every contender has an adapter, an optimiser and a clock of its own on one network. For every seed, the one that has
used the least is next, so that all see the same machine. Each is judged on held-out prompts at equal parts of its
budget; judging is not training time. A contender and seed have a run folder: metrics.jsonl has a line per judgement
(the first is the base model), and the state from which training goes on if it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..console import console
from ..errors import UsageError, check_known
from ..memory.batch_sizes import batch_sizes
from ..method.policy import Policy
from ..run.folder import RunFolder
from ..run.state import RunState, State
from ..training.assemble import build_policy, build_rewards
from ..training.config import Config, differences
from ..training.evaluation import Evaluation, evaluate
from ..training.iteration import make_optimizer
from ..training.prompt_list import read_prompts
from .contender import Contender, advance
from .learning_curve import folder_of
from .learning_summary import summarise
from .machine import machine
from .variants import REFERENCE, changed, learning_groups

POINTS = 8
"""Judgements of every contender."""
HELDOUT_SEED = -1
GPU_MEMORY_GB = 8.0
"""The bundled budget suits the caches of a CPU; a GPU is fast with many pictures at a time."""


@dataclass(frozen=True)
class Budget:
    """What every contender gets: an amount of "seconds" or "iterations"."""

    unit: str
    amount: float

    def part(self, contender: Contender) -> float:
        """What part of it a contender has used."""
        return (contender.total if self.unit == "seconds" else contender.iterations) / self.amount


@dataclass(frozen=True)
class Entry:
    """A contender and the folder that remembers it."""

    contender: Contender
    folder: RunFolder


def bench_learning(
    what: str, only: Sequence[str], seeds: Sequence[int], budget: Budget | None, out: Path
) -> dict[str, Any]:
    """Measure a group of variants.learning_groups, or "all", and summarise; only summarise where budget is None.

    only: names of contenders, if not all of the group. Returns what `summarise` does; nothing where TreeGRPO or all
    others are left out, since there is nothing to compare. Raises UsageError for unknown names, and as `measure` and
    `summarise` do.
    """
    groups = learning_groups()
    check_known("--what", what, (*groups, "all"))
    groups = {group: configs for group, configs in groups.items() if what in (group, "all")}
    configs = {name: config for group in groups.values() for name, config in group.items()}
    for name in only:
        check_known("--only", name, configs)
    chosen = only or list(configs)
    if budget is not None:
        measure({name: configs[name] for name in chosen}, seeds, budget, out)
        if REFERENCE not in chosen:
            return {}
    named = {group: [name for name in members if name in (REFERENCE, *chosen)] for group, members in groups.items()}
    comparable = {group: names for group, names in named.items() if len(names) > 1}
    return summarise(comparable, seeds, out) if comparable else {}


def measure(configs: Mapping[str, Config], seeds: Sequence[int], budget: Budget, out: Path) -> None:
    """Train and judge every contender with every seed, going on from what `out` holds.

    The configs share model, rewards, prompts and evaluation. Raises UsageError where `out` holds results of other
    settings or another machine, or another process is measuring the same.
    """
    first = next(iter(configs.values()))
    policy, rewards = build_policy(first), build_rewards(first.rewards)
    assert first.evaluation.prompts
    prompts, heldout = read_prompts(first.train.prompts), read_prompts(first.evaluation.prompts)
    on_cpu = policy.device.type == "cpu"
    sizes = batch_sizes(policy, prompts, first.plan.steps, first.train.memory_gb if on_cpu else GPU_MEMORY_GB)

    def judge() -> Evaluation:
        count, steps = first.evaluation.images_per_prompt, first.plan.steps
        return evaluate(policy, heldout, rewards, images_per_prompt=count, steps=steps, seed=HELDOUT_SEED, batch=sizes)

    def train(contender: Contender) -> None:
        advance(contender, policy, rewards, prompts, sizes)

    with policy.reference():
        base = judge()
    warm: set[str] = set()
    for seed in seeds:
        fresh = build_policy(changed(first, "train", seed=seed)).adapter_state()
        with _entries(configs, seed, fresh, policy, base, out) as entries:
            for contender in (entry.contender for entry in entries):
                if contender.name not in warm and budget.part(contender) < 1:
                    spare = make_optimizer(policy, contender.config.update.learning_rate)
                    train(replace(contender, optimizer=spare, seconds={}))  # pays for warming up, and does not count
                    warm.add(contender.name)
            _race(entries, seed, budget, policy, train, judge)


@contextmanager
def _entries(
    configs: Mapping[str, Config], seed: int, fresh: State, policy: Policy, base: Evaluation, out: Path
) -> Iterator[list[Entry]]:
    """The contenders of a seed, each where its folder says that it stopped."""
    with ExitStack() as stack:
        entries = []
        for name, config in configs.items():
            config = changed(config, "train", seed=seed)
            folder = stack.enter_context(RunFolder(folder_of(out, name, seed), resume=True))
            _check(folder, config, policy)
            optimizer = make_optimizer(policy, config.update.learning_rate)
            run = RunState.read(folder)
            run.put_into(policy, optimizer)
            folder.forget_after(run.iteration)
            entry = Entry(Contender(name, config, optimizer, run.adapter or dict(fresh)), folder)
            if not folder.metrics():
                _note(entry, base)
            last = folder.metrics()[-1]
            entry.contender.iterations = run.iteration
            entry.contender.evaluations, entry.contender.trained_nodes = last["evaluations"], last["trained_nodes"]
            entry.contender.seconds = dict(last["seconds"])
            entries.append(entry)
        yield entries


def _race(
    entries: Sequence[Entry],
    seed: int,
    budget: Budget,
    policy: Policy,
    train: Callable[[Contender], None],
    judge: Callable[[], Evaluation],
) -> None:
    """Run the iterations of one seed until every contender has used its budget."""
    with console.status("") as status:
        while running := [entry for entry in entries if budget.part(entry.contender) < 1]:
            entry = min(running, key=lambda entry: budget.part(entry.contender))
            contender = entry.contender
            before = budget.part(contender)
            status.update(f"seed {seed}, {contender.name}: iteration {contender.iterations + 1}, {before:.0%}")
            train(contender)
            after = budget.part(contender)
            if int(after * POINTS) == int(before * POINTS):
                continue
            judged = judge()
            _note(entry, judged)
            state = RunState(contender.iterations)
            state.take_from(policy, contender.optimizer)
            state.write(entry.folder)
            if after >= 1:
                console.print(
                    f"seed {seed}, {contender.name}: {contender.iterations} iterations, {contender.total:.0f} s, "
                    f"reward {float(judged.scores.mean()):.4f}, diversity {judged.diversity:.3f}",
                    soft_wrap=True,
                )


def _note(entry: Entry, judged: Evaluation) -> None:
    """Add the line of a judgement; iteration is the last one before it, -1 for the base model."""
    contender = entry.contender
    entry.folder.append_metrics(
        {
            "iteration": contender.iterations - 1,
            "seconds": contender.seconds,
            "evaluations": contender.evaluations,
            "trained_nodes": contender.trained_nodes,
            "work": contender.work,
            "reward": float(judged.scores.mean()),
            "diversity": judged.diversity,
        }
    )


def _check(folder: RunFolder, config: Config, policy: Policy) -> None:
    """Write what a result depends on, or refuse to go on with a result that depends on something else."""
    places: Any = {"model": {"path"}, "train": {"prompts"}, "evaluation": {"prompts"}}
    settings = {**config.model_dump(mode="json", exclude=places), "machine": machine(policy)}
    earlier = folder.load_config() or settings
    for key, old, new in differences(earlier, settings):
        raise UsageError(
            f'--out: "{folder.path}" was measured with {key} = {old!r} and is to go on with {new!r}; measure in '
            "another folder, or as it was."
        )
    folder.save_config(settings)
