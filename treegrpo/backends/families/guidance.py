"""Classifier-free guidance."""

from __future__ import annotations

from torch import Tensor


def guide(x: Tensor, unconditional: Tensor, conditional: Tensor, guidance: float) -> Tensor:
    """x0 on the line from the unconditional prediction through the conditional one (arXiv 2207.12598)."""
    return unconditional + guidance * (conditional - unconditional)
