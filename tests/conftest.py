"""Shared pieces: the bundled model, loaded for real, and small settings that keep a run short."""

from __future__ import annotations

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from treegrpo.backends.diffusers import DiffusersPolicy, LoraSettings
from treegrpo.backends.pipeline_file import load_pipeline
from treegrpo.bundled import EMOJI_SD3
from treegrpo.method.grow import BatchSizes
from treegrpo.training.config import Config
from treegrpo.training.config_file import parse_config


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests whose numbers hang on kernels compute by those of oneDNN, and by torch's own."""
    if metafunc.definition.get_closest_marker("kernels"):
        metafunc.fixturenames.append("onednn")
        metafunc.parametrize("onednn", [True, False], ids=["onednn", "torch"], indirect=True)


@pytest.fixture
def onednn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether oneDNN may be used."""
    with torch.backends.mkldnn.flags(enabled=request.param):
        yield


SIZES = BatchSizes(rollout=64, training=8, decode=8)
SIDE = 32
"""Pixels of pictures in short runs, half of what the bundled model was made for: its VAE takes most of the time."""


@cache
def _bundled() -> DiffusionPipeline:
    return load_pipeline(str(EMOJI_SD3), "float32")


def open_policy(**settings: Any) -> DiffusersPolicy:
    """A policy on the bundled model, read once; rank and alpha go to the adapter, all else to the policy."""
    lora = LoraSettings(rank=settings.pop("rank", 4), alpha=settings.pop("alpha", 4.0))
    pipeline = copy.deepcopy(_bundled())
    pipeline.set_progress_bar_config(disable=True)
    return DiffusersPolicy(pipeline, lora, max_sequence_length=2, **settings)


def scramble(policy: DiffusersPolicy, scale: float = 0.05, seed: int = 0) -> None:
    """Give the adapter weights that change the pictures (a fresh adapter changes nothing)."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.parameters():
        parameter.data = scale * torch.randn(parameter.shape, generator=generator)


def small_config(folder: Path, **train: Any) -> Config:
    """A run of seconds: two prompts, four leaves each, four denoising steps."""
    prompts = folder / "prompts.txt"
    prompts.write_text("bear\nfrog\nbell\n")
    return parse_config(
        {
            "model": {"path": str(EMOJI_SD3), "max_sequence_length": 2, "height": SIDE, "width": SIDE},
            "lora": {"rank": 2, "alpha": 4},
            "plan": {"steps": 4, "branch": 2, "depth": 2},
            "rewards": [{"name": "jpeg_compressibility"}],
            "update": {"learning_rate": 1e-3, "ema": 0.5},
            "train": {
                "prompts": str(prompts),
                "iterations": 4,
                "prompts_per_iteration": 2,
                "trees_every": 2,
                **train,
            },
        },
        "test",
    )


@contextmanager
def disk_that_takes(size: int) -> Iterator[None]:
    """The operating system refuses files above `size` bytes, as a full disk would (Unix)."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full_disk_at(file: Path) -> Iterator[None]:
    """The disk is full whenever `file` is to be written, and has room for everything else (Linux)."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    appended = file.suffix == ".jsonl"
    target = file if appended else file.with_name(f".{file.name}.partial")
    kept = file.read_bytes() if appended else b""
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to("/dev/full")
    try:
        yield
    finally:
        target.unlink(missing_ok=True)
        if appended:
            file.write_bytes(kept)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files outlive a killed process without it, and that a machine loses its power is no test's business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def policy_base() -> DiffusersPolicy:
    """The bundled model as it comes; nobody may change its adapter."""
    return open_policy()


@pytest.fixture(scope="module")
def policy() -> DiffusersPolicy:
    """The bundled model with a scrambled adapter; tests of a module share it and must not change it."""
    opened = open_policy()
    scramble(opened)
    return opened
