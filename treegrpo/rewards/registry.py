"""Rewards by name: this project's own, and those that installed packages add."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..errors import UsageError, check_known
from .reward import Reward

ENTRY_POINTS = "treegrpo.rewards"
"""The group of entry points by which another package adds a reward: its name = "package.module:Class"."""

OWN = {
    "clipscore": "clipscore:ClipScore",
    "http": "http_reward:HttpReward",
    "human_votes": "human_votes:HumanVotes",
    "jpeg_compressibility": "jpeg:JpegCompressibility",
    "jpeg_incompressibility": "jpeg:JpegIncompressibility",
    "vlm_judge": "vlm_judge:VlmJudge",
}
"""Module in this folder and class; imported when the reward is made, so that the others' libraries may be absent."""


def names() -> list[str]:
    """Every reward that can be made by name, in alphabetical order."""
    return sorted(OWN.keys() | _added().keys())


def find(name: str) -> Callable[..., Reward]:
    """What makes the reward called `name`. Raises UsageError for an unknown one, naming the known ones."""
    check_known("rewards.name", name, names())
    if name in OWN:
        module, member = OWN[name].split(":")
        return getattr(import_module(f".{module}", __package__), member)
    try:
        return _added()[name].load()
    except Exception as error:
        raise UsageError(
            f'rewards.name: "{name}" of the package {_added()[name].module} cannot be loaded ({error}); update it.'
        ) from error


def create(name: str, **options: Any) -> Reward:
    """The reward called `name`. Raises UsageError for an unknown name or option, naming the known ones."""
    make = find(name)
    known = inspect.signature(make).parameters
    for option in options:
        if option not in known:
            takes = ", ".join(known) or "no options"
            raise UsageError(f'rewards: "{name}" has no option "{option}"; it takes {takes}.')
    return make(**options)


@functools.cache
def _added() -> dict[str, EntryPoint]:
    """The rewards of other packages; this project's own cannot be replaced."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in OWN}
