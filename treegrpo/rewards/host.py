"""Where learned rewards run, and where their weights may lie: the one thing that ComfyUI and plain torch differ in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

Placement = Callable[[nn.Module], AbstractContextManager[torch.device]]
"""A context in which the network is on the device that is yielded; afterwards its memory there may be taken back."""


ROOMY = 0.5
"""An accelerator with this share of its memory free lets a network stay: moving it costs more than a call does."""


@contextmanager
def moved(network: nn.Module, device: torch.device) -> Iterator[torch.device]:
    """Move a network to `device`, and afterwards to the CPU, unless there is plenty of room."""
    network.to(device)
    try:
        yield device
    finally:
        if not _is_roomy(device):
            network.to(torch.device("cpu"))


def _is_roomy(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    return free > ROOMY * total


def accelerator() -> torch.device:
    """The machine's accelerator, or its CPU."""
    # A build of torch for CUDA names it also on machines that have none.
    kind = torch.accelerator.current_accelerator(check_available=True)
    # With its number: rewards may score in a thread, which has a current device of its own.
    return torch.device(kind.type, torch.accelerator.current_device_index()) if kind else torch.device("cpu")


@dataclass(frozen=True)
class Host:
    """device: where networks run. folders: searched for weights before the Hugging Face cache.

    place: brings a network there for as long as it scores; by default it is moved there and, where memory is short, to
    the CPU afterwards, so that an idle reward leaves it to the policy.
    """

    device: torch.device = field(default_factory=accelerator)
    folders: tuple[Path, ...] = ()
    place: Placement | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Half precision, except on a CPU, where it is slower."""
        return torch.float32 if self.device.type == "cpu" else torch.float16

    def placed(self, network: nn.Module) -> AbstractContextManager[torch.device]:
        """A context in which `network` is ready to run, on the device that is yielded."""
        return self.place(network) if self.place else moved(network, self.device)
