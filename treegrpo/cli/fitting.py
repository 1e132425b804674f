"""Work that may not fit its device, and what its user can do then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import RunError
from ..memory.out_of_memory import is_out_of_memory
from ..method.ranks import Ranks
from ..training.config import ModelTable

SAVINGS = {"gradient_checkpointing": "true", "offload": "true", "tiled_decode": "true", "weights": '"int8"'}
"""Settings of the model that save memory, and what to set them to."""


def to_open(model: ModelTable) -> str:
    """What to do about a model that does not fit its device."""
    left = _still_off(model, "offload", "weights")
    return f"the model does not fit; {f'set {left}' if left else 'choose a smaller one'}"


def to_train(model: ModelTable, ranks: Ranks) -> str:
    """What to do about a run that does not fit its device."""
    if ranks.sharded:  # its ranks do not try again by themselves
        return "lower train.memory_gb and continue the run, which is kept"
    if left := _still_off(model, "gradient_checkpointing", "offload", "tiled_decode"):
        return f"set {left} and continue the run, which is kept (treegrpo plan --recipe says what each takes)"
    weights = _still_off(model, "weights")
    return f"start another run with lower height and width{f', or with {weights}' if weights else ''}"


def _still_off(model: ModelTable, *names: str) -> str:
    return " or ".join(f"model.{name} = {SAVINGS[name]}" for name in names if not getattr(model, name))


@contextmanager
def fitting(advice: str) -> Iterator[None]:
    """Work that may not fit the device, and what to do then. Raises RunError when it does not."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(f"out of memory: {advice}.") from error
