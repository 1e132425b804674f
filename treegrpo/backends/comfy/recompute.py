"""Gradient checkpointing of a model's blocks that is exact for blocks which change tensors in place.

ComfyUI's Flux blocks (and their relatives) write `img += ...`. Without checkpointing autograd refuses that; under
torch's own checkpointing it gives wrong gradients without a word, since the tensors packed away are aliases of the
changed ones. Here the inputs of a block are kept as they came, the block runs on copies, and it runs again in the
backward pass, where all that autograd saves is copied if the block is one of those, or writes to that (PixelDiT's do).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_flatten, tree_unflatten

from .frozen import can_freeze
from .saved_bytes import saved_bytes


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The repeated blocks of a denoiser: the members of its lists of modules, and of the lists and sequences among
    those. Layers that are frozen keep nothing for the backward pass and are no blocks. Nor is what has no weights: an
    input that comes out again leaves autograd with other strides, for which convolutions choose another kernel.
    """
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from _members(child)


def _members(many: nn.ModuleList | nn.Sequential) -> Iterator[nn.Module]:
    for block in many:
        if isinstance(block, nn.ModuleList | nn.Sequential):
            yield from _members(block)
        elif not can_freeze(block) and next(block.parameters(), None) is not None:
            yield block


class Recomputed:
    """The forward of a block, with the same values and gradients, that can keep only its inputs for the backward pass.

    It does so when `wanted`, and for blocks that change their inputs in any case: they have no gradient otherwise.
    careful: to be set for models that write to what autograd keeps within a block; copies of that are kept then.
    bytes_inside: what autograd keeps within the block while it is recomputed, for the batch of the first call.
    """

    def __init__(self, forward: Callable[..., Any], wanted: bool) -> None:
        self.forward = forward
        self.wanted = wanted
        self.careful = False
        self.changes_inputs: bool | None = None
        self.bytes_inside = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """forward(*args, **kwargs)."""
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        call = _Call(self.forward, args, kwargs)
        if self.changes_inputs is None:
            self._try(call)
        if not (self.wanted or self.changes_inputs):
            return self.forward(*args, **kwargs)
        tensors = call.take_tensors()
        # The dummy makes autograd call the backward pass even when no input needs a gradient, only an adapter inside.
        careful = self.changes_inputs or self.careful
        out = _Again.apply(torch.empty((), requires_grad=True), call, careful, *tensors)
        return tree_unflatten(list(out), call.outcome)

    def forget(self) -> None:
        """Find out anew, with the batch of the next call."""
        self.changes_inputs, self.bytes_inside = None, 0

    def _try(self, call: _Call) -> None:
        """Run the block on copies of its tensors: does it write to them, and what does autograd keep of it?"""
        copies = call.copies()
        before = [copy._version for copy in copies]
        inside = saved_bytes(lambda: call.run(copies))
        self.changes_inputs = before != [copy._version for copy in copies]
        self.bytes_inside = inside if self.wanted or self.changes_inputs else 0


class _Opened(NamedTuple):
    """A dataclass, of which pytrees know nothing: its class, and its fields in order."""

    kind: type
    fields: tuple[Any, ...]


def _open(value: Any) -> Any:
    """The value with all dataclasses in it opened; FLUX.2's modulation comes to its blocks in such."""
    if is_dataclass(value) and not isinstance(value, type):
        return _Opened(type(value), tuple(_open(getattr(value, field.name)) for field in fields(value)))
    if type(value) in (tuple, list):
        return type(value)(map(_open, value))
    return value


def _close(value: Any) -> Any:
    """The inverse of `_open`."""
    if isinstance(value, _Opened):
        return value.kind(*map(_close, value.fields))
    if type(value) in (tuple, list):
        return type(value)(map(_close, value))
    return value


class _Call:
    """A call whose tensors can be replaced by others. Dictionaries pass through: their tensors have no gradients."""

    def __init__(self, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> None:
        self.forward, self.names = forward, list(kwargs)
        given = _open((args, tuple(kwargs.values())))
        self.leaves, self.layout = tree_flatten(given, is_leaf=lambda value: isinstance(value, dict))
        self.places = [i for i, leaf in enumerate(self.leaves) if isinstance(leaf, Tensor)]
        self.outcome: Any = None

    def take_tensors(self) -> list[Tensor]:
        """The tensors of the call, which forgets them: autograd keeps them from here on."""
        tensors = [self.leaves[i] for i in self.places]
        for i in self.places:
            self.leaves[i] = None
        return tensors

    def run(self, tensors: list[Tensor]) -> tuple[Any, ...]:
        """The outputs of the block for these tensors, flat."""
        filled = list(self.leaves)
        for i, tensor in zip(self.places, tensors, strict=True):
            filled[i] = tensor
        args, values = _close(tree_unflatten(filled, self.layout))
        flat, self.outcome = tree_flatten(self.forward(*args, **dict(zip(self.names, values, strict=True))))
        return tuple(flat)

    def copies(self) -> list[Tensor]:
        """Copies of the tensors of the call, which take part in gradients as the tensors do."""
        return [self.leaves[i].clone() for i in self.places]


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dummy: Tensor, call: _Call, careful: bool, *tensors: Tensor) -> tuple[Any, ...]:
        ctx.call, ctx.careful = call, careful
        ctx.save_for_backward(*tensors)
        return call.run([tensor.clone() for tensor in tensors] if careful else list(tensors))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[3:]
        leaves = [tensor.detach().requires_grad_(need) for tensor, need in zip(ctx.saved_tensors, needed, strict=True)]
        saving = saved_tensors_hooks(lambda tensor: tensor.detach().clone(), lambda tensor: tensor)
        with torch.enable_grad(), saving if ctx.careful else nullcontext():
            outs = ctx.call.run([leaf.clone() for leaf in leaves] if ctx.careful else leaves)
        pairs = [(out, grad) for out, grad in zip(outs, grads, strict=True) if getattr(out, "requires_grad", False)]
        torch.autograd.backward([out for out, _ in pairs], [grad for _, grad in pairs])
        return None, None, None, *(leaf.grad for leaf in leaves)
