"""A frozen network whose weights are spread over the processes of a run, by torch's FSDP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard


def shard(network: nn.Module, blocks: Sequence[str], adapter: Sequence[nn.Parameter], device: torch.device) -> None:
    """Keep one part of the frozen weights of `network` on the device of every process; the adapter stays whole.

    The weights of a block are gathered when it runs, in the backward pass too, and dropped after it; those that are in
    no block stay from its first to its last. So all processes must run the network, and its backward pass, equally
    often. blocks: class names. Adapters see the same numbers as without, so that gradients need nothing new.
    """
    group = distributed.new_group(backend=distributed.get_default_backend_for_device(device))
    mesh = DeviceMesh.from_group(group, device.type)
    whole = set(adapter)
    for weight in whole:
        weight.data = weight.data.to(device)
    for module in [module for module in network.modules() if type(module).__name__ in blocks]:
        fully_shard(module, mesh=mesh, ignored_params=whole)
    # torch would keep the weights of the outermost module until a backward pass, and most calls have none.
    fully_shard(network, mesh=mesh, ignored_params=whole, reshard_after_forward=True)
