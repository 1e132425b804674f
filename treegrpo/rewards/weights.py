"""The weights of learned rewards: which files, where they may lie, how they are fetched and read."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import RunError, UsageError
from .host import Host


@dataclass(frozen=True)
class Source:
    """Files of one Hugging Face repository that are used together. gigabytes: about what they take on disk."""

    repo: str
    files: tuple[str, ...]
    gigabytes: float

    @property
    def folder(self) -> str:
        """What their own folder is called, inside one that holds rewards."""
        return self.repo.rpartition("/")[2]


CLIP_WORDS = Source("openai/clip-vit-large-patch14", ("vocab.json", "merges.txt"), 0.002)
"""The vocabulary that all CLIP models of OpenAI and LAION share."""
CLIP_L = Source("openai/clip-vit-large-patch14", ("config.json", "model.safetensors", *CLIP_WORDS.files), 1.7)
AESTHETIC = Source("trl-lib/ddpo-aesthetic-predictor", ("aesthetic-model.pth",), 0.004)
HPSV2 = Source("xswu/HPSv2", ("HPS_v2_compressed.pt",), 2.0)
HPSV21 = Source("xswu/HPSv2", ("HPS_v2.1_compressed.pt",), 2.0)
PICKSCORE = Source("yuvalkirstain/PickScore_v1", ("config.json", "model.safetensors"), 3.9)
IMAGEREWARD = Source("THUDM/ImageReward", ("ImageReward.pt",), 1.8)
BERT_WORDS = Source("google-bert/bert-base-uncased", ("vocab.txt",), 0.0002)

NEEDED: dict[str, tuple[Source, ...]] = {
    "aesthetic": (CLIP_L, AESTHETIC),
    "clipscore": (CLIP_L,),
    "hpsv2": (HPSV2, CLIP_WORDS),
    "hpsv2.1": (HPSV21, CLIP_WORDS),
    "imagereward": (IMAGEREWARD, BERT_WORDS),
    "pickscore": (PICKSCORE, CLIP_WORDS),
    "similar_images": (CLIP_L,),
    "unlike_images": (CLIP_L,),
}
"""What each learned reward reads. clipscore and the last two can do with other CLIP models."""


def find(source: Source, folders: Sequence[Path]) -> Path | None:
    """The folder that holds all files of a source, or None.

    Looked for in each of `folders`: a folder named like the repository, and a single file in the folder itself; then
    in the Hugging Face cache. A `.pt` file may have become a `.safetensors` file, see `read_checkpoint`.
    """
    from huggingface_hub import try_to_load_from_cache

    for root in folders:
        for folder in (root / source.folder, root) if len(source.files) == 1 else (root / source.folder,):
            if all(_is_there(folder / name) for name in source.files):
                return folder
    cached = [try_to_load_from_cache(source.repo, name) for name in source.files]
    return Path(str(cached[0])).parent if all(isinstance(path, str) for path in cached) else None


def folder_of(reward: str, source: Source, host: Host) -> Path:
    """The folder that holds the files of a source. Raises UsageError that says how to get them when there is none."""
    folder = find(source, host.folders)
    if folder:
        return folder
    from huggingface_hub.constants import HF_HUB_CACHE

    home = f'"{host.folders[0] / source.folder}"' if host.folders else f'the Hugging Face cache, "{HF_HUB_CACHE}"'
    if source in NEEDED.get(reward, ()):
        command = f"treegrpo rewards pull {reward}" + (f' --folder "{host.folders[0]}"' if host.folders else "")
    else:
        command = f"hf download {source.repo}" + (f" --local-dir {home}" if host.folders else "")
    raise UsageError(
        f'rewards: "{reward}" needs {", ".join(source.files)} of huggingface.co/{source.repo} (about '
        f"{source.gigabytes:g} GB) in {home}; fetch with: {command}"
    )


def pull(source: Source, to: Path | None, say: Callable[[str], None]) -> Path:
    """Download the files of a source, going on where an earlier download stopped, and check their hashes.

    to: a folder of rewards; the Hugging Face cache if there is none. Returns the folder of the files. Raises
    RunError when a download fails, or when a file is not what the hub has, after deleting it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    for name in source.files:
        try:
            facts = get_hf_file_metadata(hf_hub_url(source.repo, name))
            say(f"{source.repo}: {name}, {(facts.size or 0) / 1e9:.3f} GB")
            local = to / source.folder if to else None
            file = Path(hf_hub_download(source.repo, name, local_dir=local))
        except Exception as error:  # of requests or httpx, by the hub library's version
            raise RunError(
                f"{name} of huggingface.co/{source.repo} was not fetched ({error}); run the command again, it goes on "
                "where it stopped."
            ) from error
        if facts.etag and not is_intact(file, facts.etag):
            file.resolve().unlink()
            raise RunError(f'"{file}" was damaged on the way and has been deleted; run the command again.')
    return file.parent


def is_intact(file: Path, hash_on_hub: str) -> bool:
    """Whether a file is the one with this hash: SHA-256 for large files, for small ones git's SHA-1 of a blob."""
    from huggingface_hub.utils.sha import git_hash, sha_fileobj

    with file.open("rb") as content:
        found = sha_fileobj(content).hex() if len(hash_on_hub) == 64 else git_hash(content.read())
    return found == hash_on_hub


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a `.pt` file, on the CPU; of its "state_dict" if it has one.

    The first time they are also written beside it as `.safetensors`, which opens at once and can hold no code; then
    the `.pt` file is no longer needed. Raises UsageError for a file that is broken, or holds more than tensors.
    """
    converted = file.with_suffix(".safetensors")
    if converted.is_file() and not (file.is_file() and file.stat().st_mtime > converted.stat().st_mtime):
        try:
            return load_file(converted)
        except SafetensorError as error:
            raise UsageError(f'rewards: "{converted}" is broken ({error}); delete it.') from error
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f'rewards: "{file}" holds Python objects besides tensors, which could run code, so it was not opened; get '
            "the file from its authors again."
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise UsageError(f'rewards: "{file}" is not a whole checkpoint ({error}); download it again.') from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {name: value.contiguous().clone() for name, value in state.items() if isinstance(value, Tensor)}
    partial = converted.with_name(f".{converted.name}.partial")
    with suppress(OSError, SafetensorError):  # where nothing can be written, the `.pt` file is read each time
        save_file(tensors, partial)
        os.replace(partial, converted)
    partial.unlink(missing_ok=True)
    return tensors


def check_keys(file: Path, found: dict[str, Tensor], expected: dict[str, Tensor], what: str) -> None:
    """Raise UsageError unless `found` has all that `expected` has, in the same shapes. what: the architecture."""
    for name, tensor in expected.items():
        if name not in found:
            raise UsageError(f'rewards: "{file}" is not a checkpoint of {what}: it has no "{name}".')
        if found[name].shape != tensor.shape:
            raise UsageError(
                f'rewards: "{file}" is not a checkpoint of {what}: "{name}" is {list(found[name].shape)}, not '
                f"{list(tensor.shape)}."
            )


def _is_there(file: Path) -> bool:
    return file.is_file() or file.with_suffix(".safetensors").is_file()
