"""`treegrpo demo`: align the bundled model with a taste, and prove that it worked."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..bundled import HELDOUT_PROMPTS
from ..console import console
from ..memory.batch_sizes import batch_sizes
from ..method.grow import BatchSizes
from ..method.policy import Policy
from ..pictures.contact_sheet import save_contact_sheet
from ..pictures.reward_curve import save_reward_curve
from ..pictures.tree_picture import save_tree_picture
from ..rewards.clipscore import ClipScore
from ..run.atomic import write_text
from ..run.folder import RunFolder
from ..run.outcome import Outcome
from ..run.tree_record import node_images, record
from ..run.watcher import Watcher
from ..training.assemble import build_policy, build_rewards
from ..training.comparison import Comparison, compare
from ..training.demo_config import STYLES, demo_config
from ..training.evaluation import Evaluation
from ..training.prompt_list import read_prompts
from ..training.trainer import train
from .comparison_table import print_comparison
from .follow import follow


def run_demo(taste: str, out: Path) -> bool:
    """Train, judge on held-out prompts, and leave LoRA and pictures in a new folder; whether the gain is significant.

    Raises UsageError for an unknown taste, RunError when something fails.
    """
    config = demo_config(taste)
    with RunFolder(_new_folder(out)) as folder:
        policy, rewards = build_policy(config), build_rewards(config.rewards)
        prompts, heldout = read_prompts(config.train.prompts), read_prompts(HELDOUT_PROMPTS)
        console.print(
            f'Teaching the bundled model to draw in {taste} style, from prompts that name no style ("{prompts[0]}").',
            soft_wrap=True,
        )
        richest = _Richest()
        sizes = batch_sizes(policy, prompts, config.plan.steps, config.train.memory_gb)
        began = time.perf_counter()
        reports, stopped = follow(
            train(policy, rewards, config, folder, prompts, sizes=sizes, watcher=richest),
            config.train.iterations,
        )
        seconds = time.perf_counter() - began
        console.print(f"Trained {len(reports)} iterations in {seconds:.0f} s. LoRA: {folder.lora_file}", soft_wrap=True)
        if stopped:
            return False

        comparisons = {
            name: compare(
                policy,
                texts,
                rewards,
                images_per_prompt=config.evaluation.images_per_prompt,
                steps=config.plan.steps,
                seed=-1,
                sizes=sizes,
            )
            for name, texts in (("held-out", heldout), ("training", prompts))
        }
        judged = comparisons["held-out"]
        print_comparison({f"{name} prompts, new seeds": c.figures for name, c in comparisons.items()})
        judge = rewards[0][0]
        assert isinstance(judge, ClipScore)
        both = (judged.before, judged.after)
        styles = [style_share(judge, evaluation, taste) for evaluation in both]
        names = [name_share(judge, evaluation, [*prompts, *heldout]) for evaluation in both]
        console.print(f"Held-out pictures in {taste} style: {styles[0]:.0%} before, {styles[1]:.0%} after.")
        console.print(f"Held-out pictures of the right thing: {names[0]:.0%} before, {names[1]:.0%} after.")

        _save_pictures(folder.path, judged, richest, policy, sizes, folder.metrics(), taste)
        result = {
            "taste": taste,
            "iterations": len(reports),
            "training_seconds": round(seconds, 1),
            **{name: asdict(c.figures) for name, c in comparisons.items()},
            "style_share": styles,
            "name_share": names,
        }
        write_text(folder.path / "result.json", json.dumps(result, indent=2) + "\n")
        console.print(f"Pictures: {folder.path}/before-after.png, reward-curve.png, tree.png, tree.svg", soft_wrap=True)
        significant = judged.figures.significant
        if not significant:
            console.print("The improvement on held-out prompts is not significant.", style="red")
        return significant


def style_share(judge: ClipScore, evaluation: Evaluation, taste: str) -> float:
    """The share of pictures that the scorer finds closest to `taste` among all styles."""
    nearest = _nearest(judge, evaluation, [f"{style} style" for style in STYLES])
    return float((nearest == STYLES.index(taste)).float().mean())


def name_share(judge: ClipScore, evaluation: Evaluation, names: Sequence[str]) -> float:
    """The share of pictures that the scorer finds closest to their own prompt among all names."""
    wanted = torch.tensor([names.index(prompt) for prompt in evaluation.prompts])
    return float((_nearest(judge, evaluation, names) == wanted[:, None]).float().mean())


def _nearest(judge: ClipScore, evaluation: Evaluation, texts: Sequence[str]) -> Tensor:
    """The place of the text closest to each picture, [P, S]."""
    similarity = judge.clip.embed_images(evaluation.images.flatten(0, 1)) @ judge.clip.embed_texts(texts).T
    return similarity.argmax(1).cpu().view(evaluation.images.shape[:2])


class _Richest(Watcher):
    """Remembers the tree whose leaves differ most in reward: the one worth a picture."""

    outcome: Outcome
    prompt = 0
    spread = -1.0

    def end(self, outcome: Outcome) -> None:
        """See Watcher."""
        spreads = torch.stack([scores.std(1) for scores in outcome.tree.rewards.values()]).sum(0)
        best = int(spreads.argmax())
        if float(spreads[best]) > self.spread:
            self.outcome, self.prompt, self.spread = outcome, best, float(spreads[best])


def _new_folder(path: Path) -> Path:
    """The path itself, or with the first number behind it that is not taken: a demo never continues an older one."""
    number, free = 2, path
    while (free / "state.safetensors").exists():
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free


def _save_pictures(
    folder: Path,
    judged: Comparison,
    richest: _Richest,
    policy: Policy,
    sizes: BatchSizes,
    metrics: Sequence[dict],
    taste: str,
) -> None:
    title = f"the same prompts and noise; taste: {taste} style"
    drawn = {
        f"{name}: reward {float(evaluation.scores.mean()):.3f}": evaluation.images
        for name, evaluation in (("before", judged.before), ("after", judged.after))
    }
    save_contact_sheet(folder / "before-after.png", judged.before.prompts, drawn, title)
    save_reward_curve(folder / "reward-curve.png", list(metrics))
    outcome = richest.outcome
    images = node_images(outcome.tree, policy, sizes, outcome.images)
    about = record(outcome.tree, outcome.number)
    save_tree_picture([folder / "tree.png", folder / "tree.svg"], about, images, richest.prompt)
