"""Settings that are chosen for the model where they are 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..treegrpo.backends.comfy.presets import memory_gb, preset_of

CHOICES: dict[str, Callable[[Any], float]] = {
    "learning_rate": lambda model: preset_of(model).learning_rate,
    "memory_gb": memory_gb,
}
"""Of a MODEL, by the names of nodes' inputs."""


def chosen(model: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with those that are 0 chosen for the model."""
    return {key: value or CHOICES[key](model) if key in CHOICES else value for key, value in settings.items()}


def memory_input() -> io.Input:
    """Bounds the batches."""
    return io.Float.Input(
        "memory_gb",
        default=0.0,
        min=0.0,
        max=512.0,
        tooltip="GiB for activations; 0: most of what the model leaves of the card.",
    )
