"""What to do when a device has less memory than was thought: the same work in smaller batches."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from ..method.grow import BatchSizes

Result = TypeVar("Result")
log = logging.getLogger("treegrpo")


def in_smaller_batches(
    attempt: Callable[[BatchSizes], Result],
    restore: Callable[[], None],
    sizes: BatchSizes,
    rows: int,
    once: bool = False,
) -> tuple[Result, BatchSizes]:
    """The result of attempt(sizes), and the sizes that it took: halved, after restore(), whenever memory runs out.

    rows: the most that a batch can have, so that halving makes a difference. once: others work along, and cannot know
    when to start again. Then, or when single rows do not fit, the error of the device is raised as it came.
    """
    while True:
        try:
            return attempt(sizes), sizes
        except RuntimeError as error:
            smaller = halved(sizes, rows)
            if once or not is_out_of_memory(error) or smaller == sizes:
                raise
        # Outside the except clause, whose traceback would keep the tensors of the attempt alive.
        sizes = smaller
        log.warning("out of memory: starting again with %d pictures at a time.", max(sizes.rollout, sizes.training))
        restore()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        elif torch.backends.mps.is_available():
            torch.mps.empty_cache()


SAYINGS = ("DefaultCPUAllocator", "CUDA error: out of memory", "STATUS_ALLOC_FAILED", "MPS backend out of memory")
"""What allocators and kernels that have no class of errors for it say when memory is full."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is that of a full device."""
    return isinstance(error, torch.OutOfMemoryError) or any(saying in str(error) for saying in SAYINGS)


def halved(sizes: BatchSizes, rows: int) -> BatchSizes:
    """Half of every size, at least 1 (no graphs at all, at last); sizes above `rows` count as `rows`."""

    def half(size: int) -> int:
        return max(1, min(size, rows) // 2)

    return BatchSizes(half(sizes.rollout), half(sizes.training), half(sizes.decode), min(sizes.graphs, rows) // 2)
