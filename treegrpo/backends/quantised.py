"""Frozen weights in eight bits, by torchao."""

from __future__ import annotations

from torch import nn

from ..errors import UsageError


def quantise(network: nn.Module, kind: str) -> None:
    """Store the weights of all linear layers in eight bits, scaled row by row; they compute as before.

    kind: "int8" or "float8". The layers are those whose width 16 divides, which is what the kernels of GPUs ask for.
    Raises UsageError where torchao is not installed.
    """
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise UsageError(
            f'model.weights: "{kind}" needs torchao, which is not installed; run: pip install torchao, or leave '
            "model.weights out."
        ) from error
    config = {"int8": Int8WeightOnlyConfig, "float8": Float8WeightOnlyConfig}[kind]
    quantize_(network, config(), filter_fn=lambda module, _: isinstance(module, nn.Linear) and _fits_kernels(module))


def _fits_kernels(layer: nn.Linear) -> bool:
    return layer.in_features % 16 == 0 and layer.out_features % 16 == 0
