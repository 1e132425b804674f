"""ComfyUI's CONDITIONING of many prompts, put together into one network call."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch
from comfy.hooks import EnumHookType
from torch import Tensor

from ...errors import UsageError

Conditioning = list[list[Any]]
"""[[embedding float [1, L, D], {"pooled_output": float [1, P], ...}], ...], as stock nodes pass it around."""


def kept(conditioning: Conditioning) -> Conditioning:
    """A copy whose tensors autograd may save: those that ComfyUI makes belong to its inference mode."""
    return [
        [_copied(embedding), {key: _copied(value) for key, value in more.items()}] for embedding, more in conditioning
    ]


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(each) for each in value]
    return value.clone() if isinstance(value, Tensor) else value


def refuse_hooks(conditioning: Conditioning) -> None:
    """Raises UsageError for hooks that change weights: they are off again when the backward pass needs them."""
    for _, more in conditioning:
        hooks = more.get("hooks")
        if hooks is not None and hooks.get_type(EnumHookType.Weight):
            raise UsageError(
                "prompts: a hook on their conditioning changes the model's weights (such as Create Hook LoRA), which "
                "cannot be trained through; take it out, or load the LoRA onto the model instead."
            )


def controls(conditionings: Iterable[Conditioning]) -> list[Any]:
    """The ControlNets of these conditionings, each once."""
    found = [more["control"] for entries in conditionings for _, more in entries if "control" in more]
    return list({id(control): control for control in found}.values())


@contextmanager
def without_gradients(controls: Iterable[Any]) -> Iterator[None]:
    """A context in which ControlNets compute no gradients.

    They see the latent and never the adapter, so there are none, and autograd refuses their weights, which belong to
    ComfyUI's inference mode.
    """
    for control in controls:
        control.get_control = torch.no_grad()(control.get_control)
    try:
        yield
    finally:
        for control in controls:
            del control.get_control


def without_pictures(conditioning: Conditioning) -> Conditioning:
    """The same with zeros in place of the latents of pictures that are to be changed."""
    key = "reference_latents"
    return [
        [words, {**more, key: [torch.zeros_like(each) for each in more[key]]} if key in more else more]
        for words, more in conditioning
    ]


class Sharing(Enum):
    """Whose rows may share a network call; see trial.py."""

    LIKE_PROMPTS = "those of prompts that can be stacked"
    ONE_PROMPT = "those of the same prompt"
    NOBODY = "none"


def groups(
    texts: Sequence[str], known: Mapping[str, tuple[Conditioning, Conditioning]], sharing: Sharing
) -> list[list[int]]:
    """The places in `texts` that can share a network call, each group in order.

    known: the positive and the negative conditioning of every text.
    """
    found: dict[Hashable, list[int]] = {}
    for place, text in enumerate(texts):
        alike = text if sharing is Sharing.ONE_PROMPT else place
        kinds = tuple(map(_kind, known[text])) if sharing is Sharing.LIKE_PROMPTS else alike
        found.setdefault(kinds, []).append(place)
    return list(found.values())


def stacked(rows: Sequence[Conditioning]) -> Conditioning:
    """One conditioning with a row for each of these, which must come from one group."""
    if all(row is rows[0] for row in rows):
        return rows[0]
    (embedding, more), *_ = rows[0]
    embeddings = torch.cat([row[0][0] for row in rows]) if embedding is not None else None
    return [[embeddings, {key: _joined([row[0][1][key] for row in rows]) for key in more}]]


def _joined(values: Sequence[Any]) -> Any:
    if _is_rows(values[0]):
        return [torch.cat(each) for each in zip(*values, strict=True)]
    return torch.cat(list(values)) if _is_row(values[0]) else values[0]


def _is_row(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 1 and len(value) == 1


def _is_rows(value: Any) -> bool:
    """Whether it is a list of tensors with one row each, as reference latents are."""
    return isinstance(value, list) and bool(value) and all(map(_is_row, value))


def _kind(conditioning: Conditioning) -> Hashable:
    """Equal for conditionings that differ in nothing but the numbers of tensors with one row.

    Several entries (areas, masks, timestep ranges) mean something only together, so they share no call.
    """
    if len(conditioning) != 1:
        return id(conditioning)
    [[embedding, more]] = conditioning
    return _kind_of_value(embedding), frozenset((key, _kind_of_value(value)) for key, value in more.items())


def _kind_of_value(value: Any) -> Hashable:
    if _is_rows(value):
        return tuple(map(_kind_of_value, value))
    if _is_row(value):
        return tuple(value.shape)
    return value if isinstance(value, int | float | str | tuple | None) else id(value)
