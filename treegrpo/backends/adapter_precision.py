"""A float32 adapter inside a network of half precision."""

from __future__ import annotations

from functools import partial

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn


def compute_like_input(network: nn.Module) -> None:
    """Make every LoRA layer of `network` compute in the precision of its input, while its weights stay float32.

    Otherwise peft would turn the input into float32, and keep that copy for the backward pass, once for every layer
    that reads it. Autocast would do the same to the norms of the network itself, which run in half precision when
    pictures are drawn.
    """
    for layer in network.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False
            for half in (*layer.lora_A.values(), *layer.lora_B.values()):
                half.forward = partial(_forward, half)


def _forward(layer: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    weight = layer.weight.to(x.dtype)
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(x, weight)
    return layer._conv_forward(x, weight, None)
