"""How much memory a piece of work needs at its peak, found by following every tensor that it makes.

It works on any device: on `meta`, where tensors have shapes and no numbers, it tells what a model would take that
is not even loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BLOCK = 512
"""Allocators of GPUs round up to this many bytes."""


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most bytes that tensors made inside work() take at any one time; what was there before does not count.

    What kernels need inside (such as the workspaces of convolutions) is not seen.
    """
    with _Follow() as follow:
        result = work()
        del result
    return follow.peak


@dataclass(frozen=True)
class TrainingBytes:
    """kept: after the forward pass, for the backward pass. peak: the most in both together."""

    kept: int
    peak: int


def training_bytes(forward: Callable[[], Tensor], parameters: Sequence[nn.Parameter]) -> TrainingBytes:
    """What forward() and the backward pass of its result take; the gradients of `parameters` are thrown away."""
    with _Follow() as follow:
        with torch.enable_grad():
            out = forward()
        kept = follow.live
        torch.autograd.grad(out, parameters, torch.ones_like(out), allow_unused=True)
    return TrainingBytes(kept, follow.peak)


class _Follow(TorchDispatchMode):
    """Counts storages from their making to their end."""

    def __init__(self) -> None:
        super().__init__()
        _give_attention_its_footprint()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        # An operator that returns what it was given, such as a view or an in-place one, makes nothing.
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in given and storage._cdata not in self.known:
                    self._add(storage)
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self.known.add(storage._cdata)
        finalize(storage, self._remove, storage._cdata, size)
        self.live += size
        self.peak = max(self.peak, self.live)

    def _remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


@cache
def _give_attention_its_footprint() -> torch.library.Library:
    """Make attention on `meta` take what it takes on devices: torch would write out the whole matrix there."""
    library = torch.library.Library("aten", "IMPL")
    library.impl("scaled_dot_product_attention", _attention_on_meta, "AutogradMeta")
    return library


def _attention_on_meta(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
