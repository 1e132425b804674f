"""Prompts in ComfyUI's input folder: text files, and folders of pictures to change, each with its words beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import folder_paths
from torch import Tensor

from ..treegrpo.errors import UsageError
from ..treegrpo.pictures.image_file import pictures_in
from ..treegrpo.pictures.instruction import paired
from ..treegrpo.training.prompt_list import TABLES, prompt_lines, prompts_in

NONE = "none"
"""In place of a file: what is written in the node."""


def choices() -> list[str]:
    """None, the text files and tables, and the folders, whose names end in a slash."""
    found = list(Path(folder_paths.get_input_directory()).iterdir())
    files = [file.name for file in found if file.suffix.lower() in (".txt", *TABLES) and file.is_file()]
    folders = (folder for folder in found if folder.is_dir())
    of_pairs = (f"{folder.name}/" for folder in folders if any(folder.glob("*.txt")) and pictures_in(folder))
    return [NONE, *sorted([*files, *of_pairs])]


def read(text: str, file: str, images: Sequence[Tensor]) -> list[str]:
    """The prompts of a file or folder, or the written ones; those that change pictures are Instructions.

    images: float32 [H, W, C >= 3] that go with the lines of a text. Raises UsageError when there is no prompt, and when
    the numbers of pictures and lines do not go together.
    """
    if file.endswith("/"):
        return prompts_in(_path(file))
    lines = prompt_lines(text) if file == NONE else prompts_in(_path(file))
    if not lines:
        raise UsageError("text: there is no prompt in it; write one a line.")
    return list(dict.fromkeys(paired(lines, [image[..., :3].cpu() for image in images]))) if images else lines


def fingerprint(text: str | None, file: str | None) -> str | None:
    """What tells the content of both from others. What comes along a wire is None, and counts by itself."""
    if file is None or file == NONE:
        return text
    path, digest = _path(file), hashlib.sha256()
    for each in sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]:
        digest.update(f"{each.name}\n".encode() + each.read_bytes())
    return digest.hexdigest()


def _path(file: str) -> Path:
    """Where a choice is. Raises UsageError for anything else."""
    if file not in choices():
        raise UsageError(
            f'file: "{file}" is neither a text file nor a folder of pictures with words in ComfyUI\'s input folder; '
            "put it there."
        )
    return Path(folder_paths.get_input_directory()) / file
