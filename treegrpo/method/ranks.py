"""The processes of one run: each has its share of the prompts, and all go on together or none does.

What they tell each other is the size of the adapter or smaller, so it goes through the CPU with gloo: the same way for
every kind of device, and the tests, which have none, walk it too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import RunError, UsageError

T = TypeVar("T")

PATIENCE = timedelta(hours=6)
"""How long ranks wait for each other: the first judges while the others wait. That one dies is noticed at once."""

TOLD = {kind.__name__: kind for kind in (UsageError, RunError, torch.OutOfMemoryError)}
"""Errors that keep their kind on the way to another rank; all others arrive as RuntimeError."""


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of `size`. A single one tells nobody anything and needs no torch.distributed.

    All methods but `share` are calls that every rank makes, in the same order. They raise RunError when another rank is
    gone. sharded: the ranks hold the weights of one network together (backends/sharding.py), and meet whenever it runs.
    """

    rank: int = 0
    size: int = 1
    sharded: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the rank that prints, judges and writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of `count` prompts are this rank's; shares differ by one at most, and those of all ranks make up all.

        Raises UsageError when there are fewer prompts than ranks, or shares of ranks that share a network differ.
        """
        if self.sharded and count % self.size:
            raise UsageError(
                f"train.prompts_per_iteration: {self.size} processes that share a network run it equally often, and "
                f"{count} prompts cannot be shared evenly; give a multiple of {self.size}, or launch without FSDP."
            )
        if count < self.size:
            raise UsageError(
                f"train.prompts_per_iteration: {count} prompts cannot be shared by {self.size} processes; raise it "
                "(and give as many prompts), or start fewer."
            )
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, by rank; small ones, that can be pickled."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._talking():
            torch.distributed.all_gather_object(values, value)
        return values

    def from_first(self, value: T) -> T:
        """The value that the first rank has; it must be one that can be pickled."""
        if self.size == 1:
            return value
        values: list[Any] = [value if self.first else None]
        with self._talking():
            torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks; all must have the same dtype."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().flatten().cpu() for tensor in tensors])
        with self._talking():
            torch.distributed.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work of this rank alone, which calls no other method: when it fails on one rank, that error is raised on all.

        So no rank waits for one that will not come. When it fails on several, the error of the lowest rank counts.
        Where ranks share a network, the others may be waiting inside it: there a rank leaves with its error, and the
        launcher ends them.
        """
        if self.size == 1:
            yield
            return
        if self.sharded:
            try:
                yield
            except RuntimeError as error:
                if _is_lost(error):
                    raise RunError(_gone(self.rank)) from error
                raise
            return
        own: Exception | None = None
        try:
            yield
        except Exception as error:
            own = error
        failures = self.gather(None if own is None else (type(own).__name__, str(own)))
        for rank, failure in enumerate(failures):
            if failure is not None:
                raised = own if own and rank == self.rank else _heard(*failure)
                vars(raised)["told"] = True
                raise raised

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, RunError):
                raise
            raise RunError(_gone(self.rank)) from error


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process among those that torchrun, or accelerate launch, has started with it; ALONE if there are none.

    Of an error that all ranks know, only the first rank speaks. A launcher ends all ranks with SIGTERM when one has
    died; that is an error here (RunError), so that whoever is left says so.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield ALONE
        return
    ranks = Ranks(int(os.environ["RANK"]), size, os.environ.get("ACCELERATE_USE_FSDP") == "true")
    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", 0)) % torch.accelerator.device_count())

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise RunError(_gone(ranks.rank))

    before = signal.signal(signal.SIGTERM, end)
    try:
        with ranks._talking():
            _meet(ranks)
        yield ranks
    except Exception as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher may be quicker than the sentence
        if not ranks.first and _is_told(error):
            raise SystemExit(2 if isinstance(error, UsageError) else 1) from error
        raise
    else:
        signal.signal(signal.SIGTERM, before)
        torch.distributed.destroy_process_group()


def _meet(ranks: Ranks) -> None:
    """Connect to the other ranks. torchrun's store still has the addresses of those that it has replaced, hence names
    of its own for every restart."""
    store, _, _ = next(torch.distributed.rendezvous("env://"))
    own = torch.distributed.PrefixStore(f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    torch.distributed.init_process_group("gloo", store=own, rank=ranks.rank, world_size=ranks.size, timeout=PATIENCE)


def _heard(kind: str, sentence: str) -> Exception:
    """The error of another rank."""
    if kind in TOLD:
        return TOLD[kind](sentence)
    return RuntimeError(sentence if kind == "RuntimeError" else f"{kind}: {sentence}")


def _is_told(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, was raised on all ranks."""
    while error is not None:
        if getattr(error, "told", False):
            return True
        error = error.__cause__
    return False


def _is_lost(error: RuntimeError) -> bool:
    """Whether the network could not be gathered from the other ranks; gloo has no class of errors for it."""
    return isinstance(error, torch.distributed.DistError) or (type(error) is RuntimeError and "gloo/" in str(error))


def _gone(rank: int) -> str:
    return (
        f"rank {rank} ends, since another rank is gone or the job was cancelled; every finished iteration is saved: "
        "continue with --resume."
    )
