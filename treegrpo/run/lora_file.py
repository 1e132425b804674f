"""LoRA files: safetensors that stock ComfyUI and diffusers load.

The names are the backend's, and one that both programs read where there is any. A state that carries its own alphas
(the ComfyUI backend's) is written as it is. In one that does not (diffusers'), the scale alpha / rank is folded into
the up weights: both programs take a file without alpha at scale 1, and diffusers' SD3 loader refuses files with alpha
entries. rank, alpha and training facts stand in the metadata, under "treegrpo", and reading undoes the fold.
"""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
from safetensors.torch import save
from torch import Tensor

from ..errors import UsageError
from .atomic import write_bytes

UP_ENDINGS = (".lora_B.weight", ".lora_up.weight")
"""Of peft's names and of kohya's."""


def write(path: Path, state: dict[str, Tensor], rank: int, alpha: float, facts: dict | None = None) -> None:
    """Write an adapter atomically. facts: anything JSON can hold, kept in the metadata.

    There is one metadata key, since safetensors writes several in a random order and equal runs must leave equal files.
    """
    folded = _scaled(state, alpha / rank)
    about = json.dumps({"rank": rank, "alpha": alpha, **(facts or {})})
    write_bytes(path, save(folded, metadata={"treegrpo": about}))


def read(path: Path, scale: float | None = None) -> tuple[dict[str, Tensor], dict]:
    """The adapter's state and the facts in a file written by `write`.

    scale: alpha / rank of the adapter that takes the state, where it may differ from the file's; what the LoRA does is
    the same. Raises UsageError when there is no such file or it is not a LoRA of this project.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("treegrpo", "null"))
            state = {name: file.get_tensor(name).clone() for name in file.keys()}  # see RunFolder.load_state
    except (OSError, safetensors.SafetensorError) as error:
        raise UsageError(f'lora: "{path}" cannot be read as a safetensors file ({error}).') from error
    if about is None:
        raise UsageError(f'lora: "{path}" has no treegrpo metadata; choose a lora.safetensors that a run has written.')
    return _scaled(state, 1 / (scale or about["alpha"] / about["rank"])), about


def _scaled(state: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    if any(name.endswith(".alpha") for name in state):
        return state
    return {name: weight * factor if name.endswith(UP_ENDINGS) else weight for name, weight in state.items()}
