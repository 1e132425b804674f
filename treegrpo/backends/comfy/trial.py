"""What a model can do, found out when it is opened by a few network calls on small pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...errors import UsageError, first_line
from ...memory.out_of_memory import is_out_of_memory
from .conditioning import Conditioning, Sharing, groups

SMALL = 48
"""The side of the pictures, in latent pixels, if theirs is not smaller: PixArt's positions divide by 0 up to 32."""
DIRECTIONS = 3
STEPS = (0.05, 0.005)
TOLERANCE = 0.3
"""Of the length of the gradient; half precision and bending come to a tenth."""
log = logging.getLogger("treegrpo")
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, ArithmeticError)
"""What a network raises that is given what it does not understand."""
Denoise = Callable[[Sequence[str], Sharing], Tensor]
"""x0 of two states, [2, C, ...], for these two prompts, in calls that are shared so."""


def small(latent_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the latents of a small picture."""
    *most, height, width = latent_shape
    return *most, min(height, SMALL), min(width, SMALL)


@torch.no_grad()
def sharing_of(denoise: Denoise, known: Mapping[str, tuple[Conditioning, Conditioning]], dtype: torch.dtype) -> Sharing:
    """The most that rows may share without one having to do with another.

    ComfyUI has models that count the tokens of a batch together, and patches that expect a batch of one or average over
    the batch. denoise: computes in `dtype`.
    Raises UsageError when the model cannot take the conditioning of a prompt alone, or does not repeat itself.
    """
    texts = list(known)
    alike = [places for places in groups(texts, known, Sharing.LIKE_PROMPTS) if len(places) > 1]
    pairs = {Sharing.ONE_PROMPT: [texts[0]] * 2}
    if alike:
        pairs[Sharing.LIKE_PROMPTS] = [texts[place] for place in alike[0][:2]]
    found = Sharing.NOBODY
    for sharing, pair in pairs.items():
        alone = _alone(denoise, pair)
        if not _is_equal(_together(denoise, pair, sharing), alone, dtype):
            if not _is_equal(_alone(denoise, pair), alone, dtype):
                raise UsageError(
                    "model: a patch on it remembers earlier predictions or draws noise (such as APG with momentum), so "
                    "that the same picture is denoised in another way each time; switch that off while training."
                )
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


def _together(denoise: Denoise, pair: Sequence[str], sharing: Sharing) -> Tensor | None:
    try:
        return denoise(pair, sharing)
    except FAILURES as error:
        if is_out_of_memory(error):
            raise
        return None


def _is_equal(found: Tensor | None, alone: Tensor, dtype: torch.dtype) -> bool:
    """Whether rows got what each gets alone, but for the rounding of batches of another size."""
    rounding = max(1e-4, 16 * torch.finfo(dtype).eps)
    return found is not None and float((found - alone).norm()) <= rounding * float(alone.norm())


def gradient_of(loss: Callable[[], Tensor], weights: Sequence[nn.Parameter]) -> list[Tensor] | None:
    """The gradient of loss(), or None where it has none: models that write to what autograd has kept cannot give one.

    By a backward pass as the update makes it: blocks that are computed again leave gradients with the weights.
    """
    for weight in weights:
        weight.grad = None
    try:
        with torch.enable_grad():
            loss().backward()
        return [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    except FAILURES as error:
        if is_out_of_memory(error):
            raise
        log.debug("no gradient: %s", first_line(error))
        return None
    finally:
        for weight in weights:
            weight.grad = None


def check_slope(
    loss: Callable[[], Tensor], weights: Sequence[nn.Parameter], gradient: Sequence[Tensor], size: float
) -> None:
    """Raises UsageError when the gradient is not how fast loss() changes along random ways, by central differences.

    Attention kernels without a derivative, or with a wrong one, show in nothing else: the ratio is 1 all the same. The
    steps change the loss by two shares of its `size`; it is right if one of them agrees, since half precision rounds
    small ones away and networks bend over large ones.
    """
    length = float(torch.stack([part.norm() for part in gradient]).norm())
    if length == 0:
        raise UsageError("lora.targets: the layers that it means have no effect on the picture; choose others.")
    generator = torch.Generator().manual_seed(0)
    for _ in range(DIRECTIONS):
        way = [torch.randn(weight.shape, generator=generator).to(weight) for weight in weights]
        expected = sum(float((part * each).sum()) for part, each in zip(gradient, way, strict=True))
        slopes = (_slope(loss, weights, way, share * size / length) for share in STEPS)
        if not any(abs(slope - expected) < TOLERANCE * length for slope in slopes):
            raise UsageError(
                "model: its gradient is wrong, since an attention kernel or a patch on it has no derivative; start "
                "ComfyUI without --use-sage-attention, and take patches off while training."
            )


@torch.no_grad()
def _slope(loss: Callable[[], Tensor], weights: Sequence[nn.Parameter], way: Sequence[Tensor], step: float) -> float:
    """How fast loss() changes when the weights go that way."""
    before = [weight.clone() for weight in weights]

    def at(distance: float) -> float:
        for weight, start, part in zip(weights, before, way, strict=True):
            weight.copy_(start + distance * part)
        return float(loss())

    try:
        return (at(step) - at(-step)) / (2 * step)
    finally:
        for weight, start in zip(weights, before, strict=True):
            weight.copy_(start)
