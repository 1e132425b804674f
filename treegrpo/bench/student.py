"""Student's t: what a few repetitions of an experiment say of its mean."""

from __future__ import annotations

from collections.abc import Sequence
from math import atan, cos, nan, pi, sin, sqrt
from statistics import mean, stdev

from ..training.evaluation import Interval


def within(t: float, degrees: int) -> float:
    """P(|T| < t) of Student's t with a whole number of degrees of freedom (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = atan(t / sqrt(degrees))
    odd = degrees % 2
    term = cos(angle) if odd else 1.0
    total = 0.0
    for j in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cos(angle) ** 2 * (j - 1) / j
    total *= sin(angle)
    return 2 / pi * (angle + total) if odd else total


def quantile(degrees: int, share: float = 0.95) -> float:
    """The t that |T| stays below with probability `share`, by bisection."""
    low, high = 0.0, 1.0
    while within(high, degrees) < share:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, degrees) < share else (low, middle)
    return (low + high) / 2


def over_repetitions(values: Sequence[float]) -> Interval:
    """The mean of independent repetitions with its 95 % interval, mean +- t s / sqrt(n); unknown (NaN) for one."""
    centre = mean(values)
    if len(values) == 1:
        return Interval(centre, nan, nan)
    half = quantile(len(values) - 1) * stdev(values) / sqrt(len(values))
    return Interval(centre, centre - half, centre + half)
