"""`treegrpo bench rewards`: how many pictures a second every reward judges, by batch size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image
from torch import Tensor

from ..console import console
from ..errors import UsageError, check_known
from ..rewards.host import Host, accelerator
from ..rewards.registry import create, names
from ..rewards.reward import Reward, score
from ..rewards.weights import CLIP_L, HPSV2, folder_of
from ..run.atomic import write_text

BATCHES = (1, 4, 16, 64)
PROMPT = 'a red fox with a sign that says "OPEN"'
LEFT_OUT = {"http", "human_votes", "vlm_judge", "similar_images", "unlike_images", "palette"}
"""What waits for a server or a person, or compares with a choice of the user's (likeness costs what clipscore does)."""
ENOUGH_SECONDS = 2.0
"""A call is repeated until it has taken as long in all; the fastest counts, since other work only slows it."""


def bench_rewards(
    only: Sequence[str], device: str | None, folder: Path | None, side: int, largest: int, out: Path
) -> list[dict[str, Any]]:
    """Time every reward whose weights are here, print a table and write rewards.json. Returns its rows.

    A call brings the network to the device, and back where memory is short, as in training. only: names; all if
    empty. folder: searched for weights first. side: of the pictures, in pixels. largest: batch size. Raises
    UsageError for an unknown name.
    """
    for name in only:
        check_known("--reward", name, names())
    host = Host(torch.device(device) if device else accelerator(), (folder,) if folder else ())
    sizes = [size for size in BATCHES if size <= largest]
    console.print(f"| reward | {' | '.join(f'{size} at a time' for size in sizes)} |", soft_wrap=True)
    console.print(f"| --- |{' --- |' * len(sizes)}", soft_wrap=True)
    rows = []
    for name, judge in _judges(only or [name for name in names() if name not in LEFT_OUT], host):
        row = {"reward": name, **{str(size): size / _seconds(judge, size, side) for size in sizes}}
        console.print(f"| {name} | {' | '.join(f'{row[str(size)]:.3g}' for size in sizes)} |", soft_wrap=True)
        rows.append(row)
    console.print(f"Pictures of {side} x {side} a second, on {host.device}, by torch {torch.__version__}.")
    facts = {"device": str(host.device), "threads": torch.get_num_threads(), "torch": torch.__version__, "side": side}
    write_text(out / "rewards.json", json.dumps({**facts, "images_per_second": rows}, indent=2) + "\n")
    return rows


def _judges(wanted: Sequence[str], host: Host) -> Iterator[tuple[str, Callable[[Tensor], object]]]:
    """What judges pictures, by name: each reward, and after hpsv2 the package of its authors where it is installed."""
    for name in wanted:
        options = {"model": CLIP_L.repo} if name == "clipscore" else {}
        try:
            reward = create(name, host, **options)
        except UsageError as error:
            console.print(f"{name} is left out: {error}", soft_wrap=True)
            continue
        yield name, partial(_score, reward)
        del reward  # before the next one is loaded
        if name == "hpsv2":
            yield from _hpsv2_package(folder_of(name, HPSV2, host) / HPSV2.files[0], host.device)


def _score(reward: Reward, images: Tensor) -> object:
    return score(reward, images, [PROMPT] * len(images))


def _hpsv2_package(file: Path, device: torch.device) -> Iterator[tuple[str, Callable[[Tensor], object]]]:
    """The package as it is, which reads `file` at every call, and with that taken out."""
    try:
        from hpsv2 import img_score
        from hpsv2.src.open_clip import create_model_and_transforms
    except ImportError:
        return
    # As it makes the model itself, but without first downloading the one that HPS v2 was tuned from.
    precision = "amp" if device.type == "cuda" else "fp32"
    model, _, prepare = create_model_and_transforms(
        "ViT-H-14", precision=precision, device=device, light_augmentation=True, output_dict=True
    )
    img_score.device = device
    img_score.model_dict.update(model=model, preprocess_val=prepare)

    def package(images: Tensor) -> object:
        levels = (images * 255).round().to(torch.uint8).cpu().numpy()
        return img_score.score([Image.fromarray(picture) for picture in levels], PROMPT, cp=str(file))

    yield "hpsv2, the package", package
    with patch.object(torch, "load", return_value={"state_dict": None}), patch.object(model, "load_state_dict"):
        yield "hpsv2, the package, its model kept loaded", package
    img_score.model_dict.clear()


def _seconds(judge: Callable[[Tensor], object], size: int, side: int) -> float:
    """The fastest of several calls with `size` pictures; the first one, which may prepare things, does not count."""
    images = torch.rand(size, side, side, 3, generator=torch.Generator().manual_seed(0))
    judge(images[:1])
    taken: list[float] = []
    while sum(taken) < ENOUGH_SECONDS:
        start = time.perf_counter()
        judge(images)
        taken.append(time.perf_counter() - start)
    return min(taken)
