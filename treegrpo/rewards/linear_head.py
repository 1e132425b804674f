"""The head that the LAION aesthetic predictor and ImageReward put on an embedding."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

WIDTHS = (1024, 128, 64, 16, 1)
PLACES = (0, 2, 4, 6, 7)
"""Between the first four layers lay dropout, which their checkpoints count; there are no activations."""


def linear_head(width: int) -> nn.Sequential:
    """[N, width] -> [N, 1], named as in the checkpoints."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for place, into in zip(PLACES, WIDTHS, strict=True):
        layers[str(place)] = nn.Linear(width, into)
        width = into
    return nn.Sequential(layers)
