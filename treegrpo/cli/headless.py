"""What the commands train, sample and score do."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from ..console import console
from ..memory.batch_sizes import drawing_sizes
from ..method.ranks import joined
from ..method.sample import decode, sample
from ..pictures.image_file import read_image, save_image
from ..rewards.reward import score
from ..run.folder import RunFolder
from ..run.metrics_board import open_board
from ..run.state import RunState
from ..training.assemble import build_policy, build_rewards, open_with_lora
from ..training.config import Config, ModelTable, RewardTable, make_table
from ..training.prompt_list import read_prompts
from ..training.trainer import train
from .fitting import fitting, to_open, to_train
from .follow import follow


def train_from_config(config: Config, out: Path, resume: bool, again: str) -> None:
    """Train, showing progress; Ctrl-C ends it cleanly. again: the command that then continues the run.

    Started several times over by torchrun or accelerate launch, the processes share the work, see ranks.py.
    """
    with joined() as ranks, ExitStack() as held:
        if not ranks.first:
            console.quiet = True
            logging.getLogger("treegrpo").setLevel(logging.ERROR)
        with ranks.together():
            folder = held.enter_context(RunFolder(out, resume)) if ranks.first else None
            prompts = read_prompts(config.train.prompts)
            heldout = read_prompts(config.evaluation.prompts) if config.evaluation.prompts else []
            rewards, watched = build_rewards(config.rewards), build_rewards(config.evaluation.rewards)
            with fitting(to_open(config.model)):
                policy = build_policy(config, ranks.sharded)
            board = open_board(out) if folder and config.train.tensorboard else None
        reports = train(policy, rewards, config, folder, prompts, heldout, watched, ranks=ranks)
        with fitting(to_train(config.model, ranks)):
            seen, stopped = follow(board(reports) if board else reports, config.train.iterations, ranks)
        if not folder:
            return
        if stopped:
            console.print(f"Stopped after {seen[-1].iteration + 1} iterations; everything is saved.")
            console.print(f"Continue with: {again}", soft_wrap=True)
        judged = RunState.read(folder).judged
        if judged.out_of(config.evaluation.patience):
            console.print(judged.reason(folder.best_file), soft_wrap=True)
        console.print(f"LoRA: {folder.lora_file}", soft_wrap=True)


def sample_to_folder(
    model: ModelTable, lora: Path | None, prompts: Sequence[str], out: Path, *, steps: int, count: int, seed: int
) -> list[Path]:
    """Draw `count` pictures of every prompt into new PNG files, named by prompt and number; returns the files."""
    policy = open_with_lora(model, lora)
    texts = [prompt for prompt in prompts for _ in range(count)]
    sizes = drawing_sizes(policy, prompts, steps)
    latents = sample(policy, texts, steps, torch.Generator().manual_seed(seed), sizes)
    files = []
    for text, pixels in zip(texts, decode(policy, latents, sizes), strict=True):
        name = "".join(letter if letter.isalnum() else "-" for letter in text)[:60].strip("-")
        files.append(next(file for n in itertools.count() if not (file := out / f"{name}-{n}.png").exists()))
        save_image(files[-1], pixels)
    return files


def score_files(files: Sequence[Path], prompt: str, reward: str, options: dict[str, str]) -> list[tuple[Path, float]]:
    """The score of every picture file. Raises UsageError for a file that is not a picture."""
    [(judge, _)] = build_rewards([make_table(RewardTable, name=reward, options=options)])
    return [(file, float(score(judge, read_image(file)[None], [prompt])[0])) for file in files]
