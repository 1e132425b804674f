"""Rewards by name: this project's own, those that installed packages add, and functions of the running script."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..errors import UsageError, check_known
from .host import Host
from .reward import Reward

ENTRY_POINTS = "treegrpo.rewards"
"""The group of entry points by which another package adds a reward: its name = "package.module:Class"."""

OWN = {
    "aesthetic": "aesthetic:Aesthetic",
    "brightness": "colour:Brightness",
    "brisque": "brisque:Brisque",
    "clipscore": "clipscore:ClipScore",
    "colourfulness": "colour:Colourfulness",
    "contrast": "colour:Contrast",
    "hpsv2": "hps:HpsV2",
    "hpsv2.1": "hps:HpsV21",
    "http": "http_reward:HttpReward",
    "human_votes": "human_votes:HumanVotes",
    "imagereward": "imagereward:ImageReward",
    "jpeg_compressibility": "jpeg:JpegCompressibility",
    "jpeg_incompressibility": "jpeg:JpegIncompressibility",
    "ocr": "ocr:Ocr",
    "palette": "colour:Palette",
    "pickscore": "pickscore:PickScore",
    "saturation": "colour:Saturation",
    "sharpness": "sharpness:Sharpness",
    "similar_images": "similar:similar_images",
    "symmetry": "symmetry:Symmetry",
    "unlike_images": "similar:unlike_images",
    "vlm_judge": "vlm_judge:VlmJudge",
}
"""Module in this folder and class; imported when the reward is made, so that the others' libraries may be absent."""

REGISTERED: dict[str, Callable[..., Reward]] = {}
"""What function_reward.register has added in this process."""


def names() -> list[str]:
    """Every reward that can be made by name, in alphabetical order."""
    return sorted(OWN.keys() | REGISTERED.keys() | _added().keys())


def find(name: str) -> Callable[..., Reward]:
    """What makes the reward called `name`. Raises UsageError for an unknown one, naming the known ones."""
    check_known("rewards.name", name, names())
    if name in OWN:
        module, member = OWN[name].split(":")
        return getattr(import_module(f".{module}", __package__), member)
    if name in REGISTERED:
        return REGISTERED[name]
    try:
        return _added()[name].load()
    except Exception as error:
        raise UsageError(
            f'rewards.name: "{name}" of the package {_added()[name].module} cannot be loaded ({error}); update it.'
        ) from error


def create(name: str, host: Host | None = None, **options: Any) -> Reward:
    """The reward called `name`, where `host` says if it is learned.

    Options given as text, as on a command line, become the numbers that the reward takes. Raises UsageError for an
    unknown name or option, naming the known ones, and for a text that is no number.
    """
    make = find(name)
    known = dict(inspect.signature(make).parameters)
    surroundings = {"host": host} if known.pop("host", None) else {}
    for option, value in options.items():
        if option not in known:
            takes = ", ".join(known) or "no options"
            raise UsageError(f'rewards: "{name}" has no option "{option}"; it takes {takes}.')
        kind = known[option].annotation
        if isinstance(value, str) and kind in _NUMBERS:
            options[option] = _number(_NUMBERS[kind], value, f"{name}.{option}")
    return make(**surroundings, **options)


_NUMBERS: dict[Any, type[int] | type[float]] = {"int": int, "float": float, int: int, float: float}
"""Annotations of options that are numbers, as modules have them with and without postponed evaluation."""


def _number(kind: type[int] | type[float], text: str, where: str) -> float:
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise UsageError(f'rewards: {where} = "{text}" is not {expected}.') from None


@functools.cache
def _added() -> dict[str, EntryPoint]:
    """The rewards of other packages; this project's own cannot be replaced."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in OWN}
