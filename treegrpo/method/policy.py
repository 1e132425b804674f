"""The Policy protocol: the one door between the library and a model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from .process import Path


class Policy(Protocol):
    """A denoiser with a trainable adapter. Backends own devices, dtypes, prompt encoding and guidance."""

    path: Path

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in; named in error messages only."""
        ...

    @property
    def decoder(self) -> str:
        """What decodes, and what to change where it makes what is no picture; for a sentence."""
        ...

    def sigmas(self, steps: int) -> Tensor:
        """Noise levels float32 [steps + 1] on the CPU, falling to 0."""
        ...

    def initial_noise(self, count: int, sigma: float, generator: torch.Generator) -> Tensor:
        """Pure-noise states at the first sigma: float32 [count, C, H, W] on the policy's device.

        The numbers are drawn on the CPU, so that a seed means the same noise on every device.
        """
        ...

    def prepare(self, prompts: Sequence[str]) -> None:
        """Get ready to denoise states of these prompts: what has to make room for the network works now."""
        ...

    def denoise(self, x: Tensor, sigma: float, prompts: Sequence[str], until: float = 0.0) -> Tensor:
        """Predicted x0, guidance applied: float32, like x [N, C, H, W]; prompts has N entries.

        until: the sigma at which the step ends. Networks that are distilled to predict the mean velocity over a step
        read it (MeanFlow, arXiv 2505.13447); to all others it is nothing.
        Differentiable in `parameters()` when gradients are on.
        """
        ...

    def training_bytes(self, x: Tensor, sigma: float, prompts: Sequence[str]) -> int:
        """Bytes that a training step on these states needs at its peak beside the weights, measured."""
        ...

    def decoding_bytes(self, latents: Tensor) -> int:
        """Bytes that decoding these latents needs at its peak, measured; 0 where the host sees to it."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Images float32 [N, H, W, 3] in 0..1 on the CPU, from latents float32 [N, C, H, W]."""
        ...

    def parameters(self) -> list[torch.nn.Parameter]:
        """The adapter's trainable weights, in an order that is the same in every process."""
        ...

    def reference(self) -> AbstractContextManager[None]:
        """A context in which the adapter is off: the base model, which is the reference of the KL term."""
        ...

    def drawing(self) -> AbstractContextManager[None]:
        """A context in which guidance is that of finished pictures, where training goes with another."""
        ...

    def adapter_state(self) -> dict[str, Tensor]:
        """Copies of the adapter's weights on the CPU, under the names that LoRA files use."""
        ...

    def load_adapter_state(self, state: dict[str, Tensor]) -> None:
        """Put the weights of `adapter_state()` back. Raises UsageError when they belong to another model."""
        ...
