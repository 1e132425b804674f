"""Layers of the base model, differentiable in their input without saving anything for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.ops
import torch
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer, ComfyUI's quantised ones (which are no nn.Linear) included."""
    return isinstance(module, nn.Linear) or (
        isinstance(module, comfy.ops.CastWeightBiasOp) and type(module).__name__ == "Linear"
    )


def can_freeze(module: nn.Module) -> bool:
    """Whether `frozen_forward` knows the module's derivative: ComfyUI's linear layers and ordinary convolutions."""
    if not isinstance(module, comfy.ops.CastWeightBiasOp):
        return False
    return is_linear(module) or (isinstance(module, CONVOLUTIONS) and module.padding_mode == "zeros")


def frozen_forward(module: nn.Module, forward: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """forward(x), where `forward` is the module's own; the backward pass fetches the weight anew.

    Nothing is saved, so the weight may be stored in fp8, quantised, patched on the fly or offloaded between the two
    passes. The forward pass never sees that a gradient is wanted: ComfyUI picks other kernels for quantised layers
    then, and rollout and update must compute the same.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return _Frozen.apply(x, module, lambda value: forward(value, *args, **kwargs))
    return forward(x, *args, **kwargs)


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.module, ctx.shape, ctx.dtype = module, x.shape, x.dtype
        return forward(x.detach())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        module = ctx.module
        with _weight_of(module, grad) as weight:
            out = grad @ weight if is_linear(module) else _convolution_backward(module, weight, grad, ctx.shape)
        # Smoothing of activation-aware quantisation, which the layer applies to its input.
        smoothing = getattr(module, "pre_quant_scale", None)
        if smoothing is not None:
            out = out * smoothing.to(out)
        return out.to(ctx.dtype), None, None


@contextmanager
def _weight_of(module: Any, like: Tensor) -> Iterator[Tensor]:
    """A layer's weight as it computes with it: unpacked, patched, and on the device and in the dtype of `like`."""
    if hasattr(module, "cast_bias_weight"):  # of layers that bring a format of their own, such as GGUF's
        yield module.cast_bias_weight(like)[0]
        return
    weight, bias, stream = comfy.ops.cast_bias_weight(module, like, offloadable=True)
    try:
        yield weight.dequantize().to(like.dtype) if isinstance(weight, QuantizedTensor) else weight
    finally:
        comfy.ops.uncast_bias_weight(module, weight, bias, stream)


def _convolution_backward(module: Any, weight: Tensor, grad: Tensor, shape: torch.Size) -> Tensor:
    """The gradient of a convolution's input of this shape; its values do not matter to it."""
    dims = grad.ndim - 2
    return torch.ops.aten.convolution_backward(
        grad,
        grad.new_empty(()).expand(shape),
        weight,
        None,
        list(module.stride),
        list(module.padding),
        list(module.dilation),
        False,
        [0] * dims,
        module.groups,
        [True, False, False],
    )[0]
