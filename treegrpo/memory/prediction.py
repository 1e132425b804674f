"""What a run will need of a device's memory, part by part, before any weight is loaded.

Everything is computed on the `meta` device, where tensors have shapes and no numbers: the same code that trains runs
there, and the tensors that it makes are followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ..method.grow import BatchSizes
from ..method.plan import TreePlan
from ..method.policy import Policy
from .live_bytes import TrainingBytes, peak_bytes, training_bytes

META = torch.device("meta")
OPTIMIZER_BYTES = 8
"""AdamW keeps two float32 moments of every weight."""


@dataclass(frozen=True)
class Modules:
    """What a run loads. offload: whether encoders and VAE leave the device while the network works."""

    network: nn.Module
    encoders: Sequence[nn.Module]
    vae: nn.Module
    offload: bool


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes at the peak of each part of an iteration, and what they are made of.

    sizes: of the batches. network, encoders, vae, adapter (weights, moments and gradients): what stays on the device, 0
    for what is offloaded. tree: states and predictions of the largest rollout. graphs: kept for the first update.
    phases: encode, grow, decode, update.
    """

    sizes: BatchSizes
    network: int
    encoders: int
    vae: int
    adapter: int
    tree: int
    graphs: int
    phases: dict[str, int]

    @property
    def peak(self) -> int:
        """The most of all phases."""
        return max(self.phases.values())


def predict(
    policy: Policy,
    modules: Modules,
    plan: TreePlan,
    prompt: str,
    prompts: int,
    sizes: BatchSizes,
    *,
    reuse_graphs: bool,
) -> MemoryPlan:
    """The memory of iterations of `plan` for so many prompts like `prompt` on one device, with the rewards elsewhere.

    policy: on `meta`. sizes: of the batches. reuse_graphs: whether the first update uses the rollout's.
    """
    network, vae = _weights([modules.network]), _weights([modules.vae])
    encoders = _weights(modules.encoders)
    offload = modules.offload
    weights = sum(weight.numel() for weight in policy.parameters())
    network -= 4 * weights
    adapter = (4 + OPTIMIZER_BYTES) * weights
    shape = policy.initial_noise(1, 1.0, torch.Generator()).shape[1:]
    latent = 4 * shape.numel()
    stays = network + adapter + (0 if offload else encoders + vae)

    sigma = float(policy.sigmas(plan.steps)[0])
    kept = {level for t in plan.stochastic_steps for level in (t, t + 1)} | {plan.steps}
    states = sum(plan.nodes(level) for level in kept)
    tree = latent * prompts * (states + plan.cost().trained_nodes)  # and the predictions of trained nodes
    frontier = latent * prompts * plan.leaves * 4  # x, prediction, mean and noise of a level
    rollout = _rows(shape, min(sizes.rollout, plan.cost().peak_frontier * prompts))
    batches = sizes.trained(plan, prompts)
    reused = sizes.reused(plan, prompts) if reuse_graphs else []

    def draw() -> Tensor:
        with torch.no_grad():
            return policy.denoise(rollout, sigma, [prompt] * len(rollout))

    def train(nodes: int) -> TrainingBytes:
        x = _rows(shape, nodes)
        return training_bytes(lambda: policy.denoise(x, sigma, [prompt] * nodes), policy.parameters())

    steps = {nodes: train(nodes) for nodes in {max(batches), *reused}}
    graphs = sum(steps[nodes].kept for nodes in reused)
    used_up = _first_update([steps[nodes] for nodes in reused])
    pictures = _rows(shape, min(sizes.decode, plan.leaves * prompts))
    return MemoryPlan(
        sizes=sizes,
        network=network,
        encoders=0 if offload else encoders,
        vae=0 if offload else vae,
        adapter=adapter + 4 * weights,
        tree=tree,
        graphs=graphs,
        phases={
            "encode": encoders + OPTIMIZER_BYTES * weights if offload else stays,
            "grow": stays + tree + frontier + graphs + peak_bytes(draw),
            "decode": stays + tree + graphs + (vae if offload else 0) + policy.decoding_bytes(pictures),
            "update": stays + tree + 4 * weights + max(steps[max(batches)].peak, used_up),
        },
    )


def _first_update(steps: Sequence[TrainingBytes]) -> int:
    """The most bytes of kept graphs, which go batch by batch, with the backward pass of the first that is left."""
    return max((step.peak + sum(later.kept for later in steps[i + 1 :]) for i, step in enumerate(steps)), default=0)


def _rows(shape: torch.Size, count: int) -> Tensor:
    """States of `count` pictures on `meta`."""
    return torch.empty((count, *shape), device=META)


def _weights(parts: Iterable[nn.Module]) -> int:
    return sum(_bytes(each) for part in parts for each in (*part.parameters(), *part.buffers()))


def _bytes(tensor: Tensor) -> int:
    """What a tensor takes; of a quantised one, its numbers and scales."""
    if is_traceable_wrapper_subclass(tensor):
        names, _ = tensor.__tensor_flatten__()
        return sum(_bytes(getattr(tensor, name)) for name in names)
    return tensor.numel() * tensor.element_size()
