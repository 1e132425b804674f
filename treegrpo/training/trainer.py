"""The training loop, with a run folder that can always be continued."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UsageError
from ..memory.batch_sizes import batch_sizes
from ..memory.out_of_memory import in_smaller_batches
from ..method.grow import BatchSizes, smallest
from ..method.policy import Policy
from ..method.ranks import ALONE, Ranks
from ..method.spacing import doubts
from ..pictures.instruction import Instruction
from ..rewards.reward import Rewards, are_pictures, check_prompts
from ..run import lora_file
from ..run.folder import RunFolder
from ..run.judged import Judged
from ..run.report import PACE, Report, mean_of_known, report_of
from ..run.sheet import save_sheet
from ..run.state import Origin, RunState
from ..run.tree_record import node_images, record, save_tree
from ..run.watcher import NOBODY, Watcher
from .config import Config, differences, make_table, stochastic_steps
from .evaluation import Evaluation, evaluate, heldout_latents
from .iteration import Stopwatch, iterate, make_optimizer
from .prompt_list import read_prompts

log = logging.getLogger("treegrpo")
FREE_TO_CHANGE = {
    *("model.gradient_checkpointing", "model.offload", "model.tiled_decode", "train.memory_gb"),
    *("train.iterations", "train.reuse_graphs", "train.overlap_scoring", "train.trees_every", "train.tensorboard"),
    *(f"update.{setting}" for setting in PACE),
    "evaluation",
}
"""Settings that a resumed run may have other than the run it continues."""


def train(
    policy: Policy,
    rewards: Rewards,
    config: Config,
    folder: RunFolder | None = None,
    prompts: Sequence[str] | None = None,
    heldout_prompts: Sequence[str] | None = None,
    watched: Rewards = (),
    sizes: BatchSizes | None = None,
    watcher: Watcher = NOBODY,
    ranks: Ranks = ALONE,
) -> Iterator[Report]:
    """Run the iterations that `folder` does not hold yet, yielding each once it is saved.

    When memory runs out, an iteration starts again with half as many pictures at a time, and the run goes on so.
    Not asking for the next one stops the run. The same config on the same device gives the same weights, stopped and
    resumed or not. folder: None for a run that leaves nothing behind but the policy's adapter. prompts,
    heldout_prompts: those of the config, unless given. watched: judge held-out pictures beside the rewards that train;
    nothing else looks at them. sizes: what memory.batch_sizes found, if the caller has asked already. ranks: the
    processes that share this run, all of which call this and stop it together; the first judges and has the folder,
    the others have None. Raises UsageError for settings that cannot work and RunError when something fails.
    """
    with ranks.together():
        prompts = read_prompts(config.train.prompts) if prompts is None else prompts
        if heldout_prompts is None:
            heldout_prompts = read_prompts(config.evaluation.prompts) if config.evaluation.prompts else []
        _check(config, rewards, heldout_prompts, watched)
        for reward, _ in (*rewards, *watched):
            check_prompts(reward, [*prompts, *heldout_prompts])
        optimizer = make_optimizer(policy, config.update.learning_rate)
        run = RunState.read(folder) if folder else RunState()
        earlier, run.origin = run.origin, Origin(_digest(prompts), _digest(heldout_prompts), ranks.size)
        if folder:
            _check_continues(folder, config, earlier, run.origin)
            if _judges_otherwise(folder, config, earlier, run.origin):
                run.judged = Judged()
                if folder.state_file.exists():
                    run.write(folder)  # before the new config is, which will not show again that the old marks are void
        run.put_into(policy, optimizer)
        run.take_from(policy, optimizer)
    if ranks.first:
        where = stochastic_steps(config.plan, config.window)
        for sentence in doubts(policy.path, config.make_kernel(), policy.sigmas(config.plan.steps).tolist(), where):
            log.warning("plan: %s", sentence)
    _check_same(ranks, config, {"train.prompts": prompts, "evaluation.prompts": heldout_prompts})
    run = ranks.from_first(run)
    with ranks.together():
        if folder:
            folder.forget_after(run.iteration)
            folder.save_config(config.model_dump(mode="json"))
        else:
            run.put_into(policy, optimizer)
        sizes = sizes or batch_sizes(policy, prompts, config.plan.steps, config.train.memory_gb)
    sizes = smallest(ranks.gather(sizes))
    count = min(config.train.prompts_per_iteration, len(prompts))
    longest = ceil(count / ranks.size)
    told = False

    while run.iteration < config.train.iterations and not run.judged.out_of(config.evaluation.patience):
        watch = Stopwatch()
        attempt = partial(
            iterate,
            policy,
            optimizer,
            rewards,
            config,
            prompts,
            run.iteration,
            watch=watch,
            watcher=watcher,
            ranks=ranks,
        )
        restore = partial(run.put_into, policy, optimizer)
        rows = longest * config.make_plan(run.iteration, torch.Generator()).leaves
        outcome, sizes = in_smaller_batches(attempt, restore, sizes, rows, once=ranks.sharded)
        broken = int((~are_pictures(outcome.images)).sum())
        if broken and not told:
            told = True
            log.warning("%d pictures are not made of numbers, and left out from now on; %s.", broken, policy.decoder)
        with ranks.together():
            if config.update.ema:
                run.update_average(policy, config.update.ema)
            evaluation: Evaluation | None = None
            if heldout_prompts and _due(run.iteration, config.evaluation.every):
                with run.result_loaded(policy):
                    evaluation = _evaluated(policy, heldout_prompts, rewards, watched, config, sizes, ranks)
            report: Report | None = None
            if ranks.first:
                heldout: float | None = None
                seen: dict[str, float | None] = {}
                if evaluation:
                    heldout, seen = _judged(run, evaluation, watched)
                    if folder:
                        save_sheet(folder.path / "samples" / f"{run.iteration}.jpg", evaluation.images.flatten(0, 1))
                    watch.lap("evaluate")
                if folder and (_due(run.iteration, config.train.trees_every) or _is_last(run.iteration, config)):
                    images = node_images(outcome.tree, policy, sizes, outcome.images)
                    save_tree(folder.path / "trees", str(run.iteration), record(outcome.tree, run.iteration), images)
                    watch.lap("save")
                pace = {setting: getattr(config.update, setting) for setting in PACE}
                report = report_of(outcome, heldout, seen, pace, watch.seconds)
            run.iteration += 1
            run.take_from(policy, optimizer)
            if folder and report:
                _save(folder, run, policy, config, report)
        report, run.judged = ranks.from_first((report, run.judged))
        watcher.end(outcome)
        assert report is not None, "the first rank has made one"
        yield report


def save_lora(file: Path, state: dict[str, Tensor], config: Config, last: Report) -> None:
    """Write a LoRA file with what a person wants to know of its training."""
    facts = {
        "base_model": config.model.path,
        "kind": config.lora.kind,
        "targets": config.lora.targets,
        "method": config.plan.method,
        "rewards": {reward.name: reward.weight for reward in config.rewards},
        "iterations": last.iteration + 1,
        "reward": last.reward,
    }
    lora_file.write(file, state, config.lora.rank, config.lora.alpha, facts)


def _evaluated(
    policy: Policy,
    prompts: Sequence[str],
    rewards: Rewards,
    watched: Rewards,
    config: Config,
    sizes: BatchSizes,
    ranks: Ranks,
) -> Evaluation | None:
    """What the first rank finds on noise that training never uses; others help to draw where they share its network."""
    how = {
        "images_per_prompt": config.evaluation.images_per_prompt,
        "steps": config.plan.steps,
        "seed": -1 - config.train.seed,
    }
    if not ranks.first:
        if ranks.sharded:
            heldout_latents(policy, prompts, **how, batch=sizes)
        return None

    def attempt(batch: BatchSizes) -> Evaluation:
        return evaluate(policy, prompts, rewards, **how, batch=batch, watched=watched)

    pictures = len(prompts) * config.evaluation.images_per_prompt
    return in_smaller_batches(attempt, lambda: None, sizes, pictures, once=ranks.sharded)[0]


def _judged(run: RunState, evaluation: Evaluation, watched: Rewards) -> tuple[float | None, dict[str, float | None]]:
    """Take note of an evaluation after the iteration in progress: the mean held-out reward, and the watched ones."""
    heldout, seen = (
        mean_of_known(evaluation.scores),
        {name: mean_of_known(each) for name, each in evaluation.watched.items()},
    )
    marks = [weight * mark for reward, weight in watched if (mark := seen[reward.name]) is not None]
    if heldout is not None and len(marks) == len(watched):
        run.judged = run.judged.after(run.iteration + 1, heldout, sum(marks) if watched else None)
    return heldout, seen


def _save(folder: RunFolder, run: RunState, policy: Policy, config: Config, report: Report) -> None:
    """Write what an iteration has taught; the state comes last, and makes it count."""
    folder.append_metrics(asdict(report))
    save_lora(folder.lora_file, run.result(policy), config, report)
    if run.judged.best_iterations == run.iteration:
        save_lora(folder.best_file, run.result(policy), config, report)
    run.write(folder)


def _check(config: Config, rewards: Rewards, heldout_prompts: Sequence[str], watched: Rewards) -> None:
    """Refuse what would only go wrong later: evaluations that never come, a reward that is there twice or watches
    nothing or itself."""
    for key, several in (("rewards", rewards), ("evaluation.rewards", watched)):
        names = [reward.name for reward, _ in several]
        if len(set(names)) < len(names):
            raise UsageError(f"{key}: {', '.join(names)} repeats a name; give each reward once.")
    if watched and not (heldout_prompts and config.evaluation.every):
        raise UsageError(
            "evaluation.rewards: they watch held-out pictures, and none are drawn; set evaluation.prompts, and "
            "evaluation.every above 0."
        )
    if config.evaluation.every and not heldout_prompts:
        raise UsageError("evaluation.every: there is nothing to draw; set evaluation.prompts.")
    if config.evaluation.patience and not config.evaluation.every:
        raise UsageError(
            "evaluation.patience: it counts evaluations, and there are none; set evaluation.every above 0."
        )
    trained = [(table.name, table.options) for table in config.rewards]
    for table in config.evaluation.rewards:
        if (table.name, table.options) in trained:
            raise UsageError(
                f"watched rewards: {table.name} is trained with the same options, and a reward cannot watch itself; "
                "give it other options, or watch another one."
            )


def _check_continues(folder: RunFolder, config: Config, origin: Origin | None, now: Origin) -> None:
    """Refuse another config, or other prompts, than those of the run in `folder`."""
    earlier = folder.load_config()
    if earlier is not None and folder.state_file.exists():
        # The evaluation may change anyhow; settings that are younger than the run have their defaults.
        known = make_table(Config, **{**earlier, "evaluation": {}}).model_dump(mode="json")
        for key, old, new in differences(known, config.model_dump(mode="json")):
            if not any(key == free or key.startswith(f"{free}.") for free in FREE_TO_CHANGE):
                raise UsageError(
                    f'run: "{folder.path}" was started with {key} = {old!r} and is to go on with {new!r}; '
                    "restore that setting, or start a new run."
                )
    if origin and origin.prompts != now.prompts:
        raise UsageError(
            f'train.prompts: they are others than "{folder.path}" was started with; restore them, or start a new run.'
        )
    if origin and origin.processes != now.processes:
        log.warning(
            "run: so far it had %d processes and now it has %d; it goes on, but no longer to the same last digit.",
            origin.processes,
            now.processes,
        )


def _check_same(ranks: Ranks, config: Config, prompts: dict[str, Sequence[str]]) -> None:
    """Refuse ranks that would do something else than the first does. prompts: by the setting that names them."""
    everyone = ranks.gather((config.model_dump(mode="json"), {key: list(texts) for key, texts in prompts.items()}))
    with ranks.together():
        known, texts = everyone[0]
        for rank, (other, others_texts) in enumerate(everyone):
            for key, ours, theirs in differences(known, other):
                raise UsageError(
                    f"{key}: rank {rank} has {theirs!r} and rank 0 has {ours!r}; give all ranks the same config."
                )
            for key in texts:
                if others_texts[key] != texts[key]:
                    raise UsageError(f"{key}: rank {rank} read other prompts than rank 0; give all the same file.")


def _judges_otherwise(folder: RunFolder, config: Config, origin: Origin | None, now: Origin) -> bool:
    """Whether evaluations from now on cannot be compared with those that the run in `folder` had so far."""
    earlier = (folder.load_config() or {}).get("evaluation", {})
    settings = config.evaluation.model_dump(mode="json")
    if any(earlier.get(key) != settings[key] for key in ("prompts", "images_per_prompt", "rewards")):
        return True
    return origin is not None and origin.heldout != now.heldout


def _digest(prompts: Sequence[str]) -> str:
    told = [[prompt, prompt.digest] if isinstance(prompt, Instruction) else prompt for prompt in prompts]
    return sha256(json.dumps(told).encode()).hexdigest()


def _due(iteration: int, every: int) -> bool:
    return every > 0 and (iteration + 1) % every == 0


def _is_last(iteration: int, config: Config) -> bool:
    """Whether this is the last iteration of a run that keeps trees: the one that people look at first."""
    return config.train.trees_every > 0 and iteration + 1 == config.train.iterations
