"""What autograd keeps of a forward pass: frozen layers here keep no weights, so it is all that a pass needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def saved_bytes(forward: Callable[[], Any]) -> int:
    """Bytes that autograd keeps for the backward pass of forward(), each storage counted once; weights excluded.

    This is exact for training. It also bounds a forward pass without gradients, which frees each layer's tensors
    before the next needs room.
    """
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output that held its own graph would never be freed

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = forward()
    del kept
    return sum(storages.values())
