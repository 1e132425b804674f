"""Settings that are chosen for the model where they are 0 or auto."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from comfy_api.latest import io

from ..treegrpo.backends.comfy.presets import memory_gb, preset_of

AUTO = "auto"
CHOICES: dict[str, Callable[[Any], Any]] = {
    "steps": lambda model: preset_of(model).steps,
    "cfg": lambda model: preset_of(model).guidance,
    "scheduler": lambda model: preset_of(model).scheduler,
    "width": lambda model: preset_of(model).side,
    "height": lambda model: preset_of(model).side,
    "rank": lambda model: preset_of(model).rank,
    "learning_rate": lambda model: preset_of(model).learning_rate,
    "memory_gb": memory_gb,
}
"""Of a MODEL, by the names of nodes' inputs."""
SAID = {"learning_rate": "learning rate {:g}", "memory_gb": "{:.1f} GiB for activations"}
"""What nodes that train say of their own."""


def is_open(settings: Mapping[str, Any]) -> bool:
    """Whether one of the settings is left to the model."""
    return any(value in (0, AUTO) for key, value in settings.items() if key in CHOICES)


def chosen(model: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with those that are left open chosen for the model."""
    return {key: CHOICES[key](model) if is_open({key: value}) else value for key, value in settings.items()}


def sentence(model: Any, settings: Mapping[str, Any]) -> str:
    """What is chosen for the model of the settings of a node that trains; "" where nothing is left open."""
    left = {key: value for key, value in settings.items() if key in SAID and is_open({key: value})}
    said = [SAID[key].format(value) for key, value in chosen(model, left).items()]
    return f"{preset_of(model).name}: {', '.join(said)}" if said else ""


def memory_input() -> io.Input:
    """Bounds the batches."""
    return io.Float.Input(
        "memory_gb",
        default=0.0,
        min=0.0,
        max=512.0,
        tooltip="GiB for activations; 0: most of what the model leaves of the card.",
    )
