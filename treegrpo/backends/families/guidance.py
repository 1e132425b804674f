"""Classifier-free guidance."""

from __future__ import annotations

from torch import Tensor


def guide(x: Tensor, unconditional: Tensor, conditional: Tensor, guidance: float) -> Tensor:
    """x0 on the line from the unconditional prediction through the conditional one (arXiv 2207.12598)."""
    return unconditional + guidance * (conditional - unconditional)


def with_length_of(wanted: Tensor, change: Tensor) -> Tensor:
    """`change`, as long as `wanted` along the last dimension."""
    return change * (wanted.norm(dim=-1, keepdim=True) / change.norm(dim=-1, keepdim=True))
