"""Where runs and their LoRAs lie in ComfyUI's output folder."""

from __future__ import annotations

import re
from pathlib import Path

import folder_paths

from ..treegrpo.atomic import write_bytes
from ..treegrpo.errors import UsageError
from ..treegrpo.run_folder import RunFolder

NAME = re.compile(r"[\w][\w .-]{0,99}")


def validate_name(run: str | None) -> bool | str:
    """For validate_inputs: True, or what is wrong with the name of a run; None stands for a name still to come."""
    if run is None or (NAME.fullmatch(run) and not run.endswith((".", " "))):
        return True
    return f'run: "{run}" cannot be the name of a run; use letters, digits, spaces, - and _ only.'


def run_path(run: str) -> Path:
    """The folder of a run, output/treegrpo/<run>. Raises UsageError for a name that could lead elsewhere."""
    if isinstance(reason := validate_name(run), str):
        raise UsageError(reason)
    return Path(folder_paths.get_output_directory()) / "treegrpo" / run


def publish(folder: RunFolder, snapshot: int | None = None) -> str:
    """Copy the run's LoRA to output/loras/treegrpo, where Load LoRA finds it; returns the name that it has there.

    snapshot: the number of iterations, for a copy that later ones do not replace.
    """
    ending = "" if snapshot is None else f"-{snapshot:06d}"
    name = Path("treegrpo") / f"{folder.path.name}{ending}.safetensors"
    write_bytes(Path(folder_paths.get_output_directory()) / "loras" / name, folder.lora_file.read_bytes())
    return name.as_posix()
