"""Whether the weights of an adapter belong to the model that they are put into."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..errors import UsageError


def check_fits(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raises UsageError unless `state` has the names and shapes of the model's own adapter weights."""
    missing, foreign = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or foreign:
        what = f'has no "{missing[0]}"' if missing else f'has "{foreign[0]}", which this model or its targets lack'
        raise UsageError(f"lora: the file {what}; it was trained on another model or with other settings.")
    for name, weight in own.items():
        if state[name].shape != weight.shape:
            raise UsageError(
                f'lora: "{name}" has shape {list(state[name].shape)} where this model needs '
                f"{list(weight.shape)}; use the model and the rank that it was trained with."
            )
