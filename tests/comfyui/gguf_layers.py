"""Layers whose weights stay packed in a format of GGUF, with the same seam to ComfyUI as those of ComfyUI-GGUF.

That pack is in no package registry; the bytes are packed and unpacked by llama.cpp's own package here.
"""

from __future__ import annotations

from typing import Any

import comfy.ops
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from torch import Tensor, nn


class Packed(Tensor):
    """The bytes of a matrix, which says that its shape is that of the matrix."""

    format: GGMLQuantizationType
    size_unpacked: torch.Size

    @staticmethod
    def of(matrix: Tensor, form: str) -> Packed:
        """A float matrix, packed."""
        kind = GGMLQuantizationType[form]
        packed = torch.from_numpy(quants.quantize(matrix.numpy(), kind)).as_subclass(Packed)
        packed.format, packed.size_unpacked = kind, matrix.shape
        return packed

    @property
    def shape(self) -> torch.Size:  # type: ignore[override]
        """Of the matrix."""
        return self.size_unpacked

    def unpacked(self) -> Tensor:
        """The matrix, float32."""
        return torch.from_numpy(quants.dequantize(self.as_subclass(Tensor).numpy(), self.format))

    def detach(self) -> Packed:
        """Itself: there is no gradient, and a copy would forget what it is."""
        return self

    def to(self, *args: Any, **kwargs: Any) -> Packed:
        """On a device, still packed."""
        moved = super().to(*args, **kwargs)
        moved.format, moved.size_unpacked = self.format, self.size_unpacked
        return moved


class Operations(comfy.ops.manual_cast):
    """What a network is built of."""

    class Linear(comfy.ops.manual_cast.Linear):
        """Unpacks its weight for every call, which `comfy.ops.cast_bias_weight` cannot."""

        def cast_bias_weight(self, input: Tensor) -> tuple[Tensor, Tensor | None]:
            """(weight, bias), as ComfyUI-GGUF's layers give them."""
            weight = self.weight.unpacked() if isinstance(self.weight, Packed) else self.weight
            return weight.to(input), None if self.bias is None else self.bias.to(input)

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            """The product."""
            return nn.functional.linear(input, *self.cast_bias_weight(input))


def pack(network: nn.Module, form: str) -> int:
    """Pack the matrices of a network of `Operations` whose rows are blocks of the format; how many those are."""
    block, _ = GGML_QUANT_SIZES[GGMLQuantizationType[form]]
    layers = [each for each in network.modules() if isinstance(each, Operations.Linear)]
    fitting = [layer for layer in layers if layer.in_features % block == 0]
    for layer in fitting:
        layer.weight = nn.Parameter(Packed.of(layer.weight.detach(), form), requires_grad=False)
    return len(fitting)


def unpack(network: nn.Module) -> None:
    """Replace packed weights by the numbers that they hold."""
    for layer in network.modules():
        if isinstance(getattr(layer, "weight", None), Packed):
            layer.weight = nn.Parameter(layer.weight.unpacked(), requires_grad=False)
