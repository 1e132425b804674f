"""How far two ways of computing the same may be apart, whatever kernels a processor has for them."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDINGS = 100
"""An entry of a network's output or gradient is a sum of sums, which kernels add up in orders of their own, and each
may be off by a unit in its last place. Ten were seen in the small networks of the tests; a mistake makes thousands."""


def assert_equal_but_rounding(found: Tensor, expected: Tensor, roundings: int = ROUNDINGS) -> None:
    """Every entry is as expected but for so many units of rounding of the largest entry."""
    unit = torch.finfo(expected.dtype).eps * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=roundings * unit)
