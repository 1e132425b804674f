"""What a model can do, found out when it is opened by a few network calls on small pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ...errors import UsageError, first_line
from ...memory.out_of_memory import is_out_of_memory
from .conditioning import Conditioning, Sharing, groups

SMALL = 16
"""The side of the pictures, in latent pixels, if theirs is not smaller."""
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
"""What a network raises that is given what it does not understand."""
Denoise = Callable[[Sequence[str], Sharing], Tensor]
"""x0 of two states, [2, C, ...], for these two prompts, in calls that are shared so."""


def small(latent_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the latents of a small picture."""
    *most, height, width = latent_shape
    return *most, min(height, SMALL), min(width, SMALL)


@torch.no_grad()
def sharing_of(denoise: Denoise, known: Mapping[str, Conditioning], dtype: torch.dtype) -> Sharing:
    """The most that rows may share without one having to do with another.

    ComfyUI has models that count the tokens of a batch together, and patches that expect a batch of one or average over
    the batch. denoise: computes in `dtype`.
    Raises UsageError when the model cannot take the conditioning of a prompt alone.
    """
    texts = list(known)
    alike = [places for places in groups(texts, known, Sharing.LIKE_PROMPTS) if len(places) > 1]
    pairs = {Sharing.ONE_PROMPT: [texts[0]] * 2}
    if alike:
        pairs[Sharing.LIKE_PROMPTS] = [texts[place] for place in alike[0][:2]]
    found = Sharing.NOBODY
    for sharing, pair in pairs.items():
        if not _is_equal(denoise, pair, sharing, _alone(denoise, pair), dtype):
            return found
        found = sharing
    return found if alike else Sharing.LIKE_PROMPTS


def _alone(denoise: Denoise, pair: Sequence[str]) -> Tensor:
    try:
        return denoise(pair, Sharing.NOBODY)
    except UsageError:
        raise
    except FAILURES as error:
        if is_out_of_memory(error):
            raise
        raise UsageError(
            f"prompts: this model cannot take their conditioning ({first_line(error)}); "
            "connect the CLIP that belongs to the model."
        ) from error


def _is_equal(denoise: Denoise, pair: Sequence[str], sharing: Sharing, alone: Tensor, dtype: torch.dtype) -> bool:
    """Whether rows that share a call get what each gets alone, but for the rounding of batches of another size."""
    try:
        together = denoise(pair, sharing)
    except FAILURES as error:
        if is_out_of_memory(error):
            raise
        return False
    rounding = max(1e-4, 16 * torch.finfo(dtype).eps)
    return float((together - alone).norm()) <= rounding * float(alone.norm())
