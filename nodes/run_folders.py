"""Where runs and their LoRAs lie in ComfyUI's output folder, and previews in its temporary one."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import folder_paths

from ..treegrpo.errors import UsageError
from ..treegrpo.run.atomic import FileHeld, write_bytes
from ..treegrpo.run.folder import RunFolder

FOREIGN = re.compile(r"[^\w .-]")
"""What no name may have: file systems, or ComfyUI's lists of LoRAs, take it for something else."""
LONGEST, MOST_BYTES = 100, 200
"""Characters of a name, and bytes: file systems take 255 for the whole name of a published file."""
PUBLISHED = re.compile(r"-(best|\d{6})$")
"""How the names of the LoRAs end that a run publishes beside its own."""
DEVICE = re.compile(r"(?i)(con|prn|aux|nul|(com|lpt)[\d¹²³])( *\..*)?")
"""Names that Windows keeps for devices, whatever follows a point."""
PREVIEW = re.compile(r"~[0-9a-f]{32}")
"""Ids of previews; no run can have such a name."""


def validate_name(run: str | None) -> bool | str:
    """For validate_inputs: True, or what is wrong with the name of a run; None stands for a name still to come."""
    reason = None if run is None else _wrong_with(run)
    return True if reason is None else f'run: "{run}" cannot be the name of a run: {reason}.'


def _wrong_with(run: str) -> str | None:
    if not run.strip():
        return "it is empty; write one"
    if found := FOREIGN.search(run):
        return f"it has a {found.group()!r}; use letters, digits, blanks, points, - and _"
    if not re.match(r"\w", run):
        return f"it begins with a {run[0]!r}; begin it with a letter or a digit"
    if run.endswith((".", " ")):
        return "Windows drops the point or blank at its end; leave that out"
    if DEVICE.fullmatch(run):
        return "Windows keeps it for a device; choose another"
    if len(run) > LONGEST or len(run.encode()) > MOST_BYTES:
        return f"it is longer than {LONGEST} letters, or than file systems take; shorten it"
    if (found := PUBLISHED.search(run)) and not (runs_folder() / run).exists():
        return f"a LoRA of the run {run[: -len(found.group())]!r} may be called so; choose another end"
    return None


def run_path(run: str) -> Path:
    """The folder of a run, output/treegrpo/<run>. Raises UsageError for a name that could lead elsewhere."""
    if isinstance(reason := validate_name(run), str):
        raise UsageError(reason)
    return runs_folder() / run


def runs_folder() -> Path:
    """The folder of all runs."""
    return Path(folder_paths.get_output_directory()) / "treegrpo"


def votes_folder(run: str) -> Path:
    """Where a run keeps a person's votes."""
    return run_path(run) / "votes"


def loose_votes() -> Path:
    """Where votes are kept that belong to no run."""
    return Path(folder_paths.get_output_directory()) / "treegrpo votes"


def new_preview() -> Path:
    """A new folder for a tree that belongs to no run; ComfyUI empties it when it starts."""
    folder = _previews_folder() / f"~{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    return folder


def find(run: str) -> Path | None:
    """The folder of the run or preview with this id, if there is one."""
    if PREVIEW.fullmatch(run):
        folder = _previews_folder() / run
    elif validate_name(run) is True:
        folder = run_path(run)
    else:
        return None
    return folder if folder.is_dir() else None


def _previews_folder() -> Path:
    return Path(folder_paths.get_temp_directory()) / "treegrpo"


def publish(folder: RunFolder, snapshot: int | None = None) -> str:
    """Copy the run's LoRA to output/loras/treegrpo, where Load LoRA finds it; returns the name that it has there.

    snapshot: the number of iterations, for a copy that later ones do not replace.
    """
    return _published(folder.lora_file, folder.path.name + ("" if snapshot is None else f"-{snapshot:06d}"))


def publish_best(folder: RunFolder) -> str:
    """Publish the LoRA of the best evaluation beside the last one; as `publish`, and "" while there is none."""
    return _published(folder.best_file, f"{folder.path.name}-best") if folder.best_file.exists() else ""


def _published(file: Path, stem: str) -> str:
    """Windows replaces no file that is open, and a LoRA that Load LoRA has read stays so: the new one gets a number."""
    content, loras = file.read_bytes(), Path(folder_paths.get_output_directory()) / "loras"
    for number in ("", *(f" ({n})" for n in range(2, 100))):
        name = Path("treegrpo") / f"{stem}{number}.safetensors"
        try:
            write_bytes(loras / name, content)
            break
        except FileHeld:
            if number == " (99)":
                raise
    return name.as_posix()
