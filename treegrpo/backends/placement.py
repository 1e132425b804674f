"""Where the parts of a pipeline are: all on the device, or only those at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Placement:
    """Moves the parts of a diffusers pipeline that are used. Without offload all of them stay on `device`.

    With offload, text encoders and network are never there together, and the VAE only while it decodes. What is there
    stays until the other is wanted (see Policy.prepare). A sharded network is never moved: its part of the weights is
    where it has to be. idle: where idle parts are.
    """

    def __init__(
        self, pipeline: Any, network: nn.Module, device: torch.device, offload: bool, sharded: bool = False
    ) -> None:
        parts = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
        self.device = torch.empty(0, device=device).device  # with its number, as weights name it
        # Shapes on `meta` take no room, so there is nothing to move.
        self.idle = torch.device("cpu") if offload and device.type != "meta" else self.device
        self._network = [] if sharded else [network]
        self._vae: nn.Module = pipeline.vae
        self.encoders = [part for name, part in parts.items() if name.startswith("text_encoder")]
        self._brought: list[nn.Module] = []
        if self.idle == self.device:
            for part in (*self.encoders, self._vae, *self._network):
                _move(part, self.device)

    def bring_network(self) -> None:
        """Have the network on the device, and the text encoders off it."""
        self._bring(self._network, away=self.encoders)

    def bring_encoders(self) -> None:
        """Have the text encoders on the device, and the network off it."""
        self._bring(self.encoders, away=self._network)

    @contextmanager
    def vae(self) -> Iterator[None]:
        """A context in which the VAE is on the device."""
        _move(self._vae, self.device)
        try:
            yield
        finally:
            _move(self._vae, self.idle)

    def _bring(self, parts: list[nn.Module], away: list[nn.Module]) -> None:
        if self.idle == self.device or self._brought == parts:
            return
        self._brought = []  # until all is done: memory may run out on the way
        for part in away:
            _move(part, self.idle)
        for part in parts:
            _move(part, self.device)
        self._brought = parts


def _move(part: nn.Module, device: torch.device) -> None:
    """Move a part, unless it is there."""
    if any(weight.device != device for weight in part.parameters()):
        part.to(device)
