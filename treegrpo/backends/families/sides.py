"""Which picture sizes a model can draw."""

from __future__ import annotations

from ...errors import UsageError


def check_sides(multiple: int, height: int, width: int) -> None:
    """Raise UsageError for a side, in pixels, that is no multiple of what the model needs."""
    for name, side in (("height", height), ("width", width)):
        if side % multiple:
            raise UsageError(f"model.{name}: {side} is not a multiple of {multiple}, as this model needs.")
