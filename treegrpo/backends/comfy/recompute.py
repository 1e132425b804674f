"""Gradient checkpointing of a model's blocks that is exact for blocks which change tensors in place.

ComfyUI's Flux blocks (and their relatives) write `img += ...`. Under torch's own checkpointing that gives wrong
gradients without a word: the tensors that it packed away are aliases of the changed ones. Here a block's inputs are
kept as they came, the block runs on copies, and it runs again on copies in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

_AUGMENTED = {
    torch.Tensor.__iadd__: torch.Tensor.__add__,
    torch.Tensor.__isub__: torch.Tensor.__sub__,
    torch.Tensor.__imul__: torch.Tensor.__mul__,
    torch.Tensor.__itruediv__: torch.Tensor.__truediv__,
}


class OutOfPlace(TorchFunctionMode):
    """A context in which `x += y` makes a new tensor, so that what autograd has saved of x stays as it was.

    In-place methods such as x.add_(y) are left alone: where they harm, autograd says so itself.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """See torch.overrides."""
        return _AUGMENTED.get(func, func)(*args, **(kwargs or {}))


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The repeated blocks of a denoiser: the members of its lists of modules, and of the sequences among those."""
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            for block in child:
                if isinstance(block, nn.Sequential):
                    yield from block
                else:
                    yield block


def recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward` of a block, with the same values and gradients, that keeps only its inputs for the backward pass."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        given = (args, tuple(kwargs.values()))
        leaves, layout = tree_flatten(given, is_leaf=lambda value: isinstance(value, dict))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        tensors = [leaves[i] for i in places]
        for i in places:  # autograd keeps the tensors; this closure must not
            leaves[i] = None
        outcome: list[Any] = []

        def run(*values: Tensor) -> tuple[Any, ...]:
            filled = list(leaves)
            for i, value in zip(places, values, strict=True):
                filled[i] = value
            again, named = tree_unflatten(filled, layout)
            flat, shape = tree_flatten(forward(*again, **dict(zip(kwargs, named, strict=True))))
            outcome[:] = [shape]
            return tuple(flat)

        # The dummy makes autograd call the backward pass even when no input needs a gradient, only an adapter inside.
        out = _Recomputed.apply(torch.empty((), requires_grad=True), run, *tensors)
        return tree_unflatten(list(out), outcome[0])

    return call


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dummy: Tensor, run: Callable[..., tuple[Any, ...]], *tensors: Tensor) -> tuple[Any, ...]:
        ctx.run = run
        ctx.save_for_backward(*tensors)
        return run(*(tensor.clone() for tensor in tensors))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[2:]
        leaves = [tensor.detach().requires_grad_(need) for tensor, need in zip(ctx.saved_tensors, needed, strict=True)]
        with torch.enable_grad(), OutOfPlace():
            outs = ctx.run(*(leaf.clone() for leaf in leaves))
        pairs = [(out, grad) for out, grad in zip(outs, grads, strict=True) if getattr(out, "requires_grad", False)]
        torch.autograd.backward([out for out, _ in pairs], [grad for _, grad in pairs])
        return None, None, *(leaf.grad for leaf in leaves)
