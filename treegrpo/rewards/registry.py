"""Rewards by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..errors import UsageError, check_known
from .clipscore import ClipScore
from .human_votes import HumanVotes
from .jpeg import JpegCompressibility, JpegIncompressibility
from .reward import Reward

REWARDS: dict[str, Callable[..., Reward]] = {
    "clipscore": ClipScore,
    "human_votes": HumanVotes,
    "jpeg_compressibility": JpegCompressibility,
    "jpeg_incompressibility": JpegIncompressibility,
}


def create(name: str, **options: Any) -> Reward:
    """The reward called `name`. Raises UsageError for an unknown name or option, naming the known ones."""
    check_known("rewards.name", name, REWARDS)
    known = inspect.signature(REWARDS[name]).parameters
    for option in options:
        if option not in known:
            takes = ", ".join(known) or "no options"
            raise UsageError(f'rewards: "{name}" has no option "{option}"; it takes {takes}.')
    return REWARDS[name](**options)
