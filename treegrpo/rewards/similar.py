"""Likeness to reference pictures (a moodboard, or what is edited), by embeddings that the caller provides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UsageError
from ..pictures.image_file import SUFFIXES, pictures_in, read_image
from ..pictures.instruction import Instruction
from .clip import load_hub_folder
from .host import Host
from .weights import CLIP_L

Embed = Callable[[Tensor], Tensor]
"""Embeddings [N, D] of pictures float32 [N, H, W, 3] in 0..1, of any length: only their directions matter."""


class Similar:
    """Cosine similarity of a picture's embedding with those of the references, averaged over the references: -1..1.

    The mean, not the nearest: a picture that copies one reference scores below one that has what all of them share.
    references: batches [R, H, W, C] in 0..1, each of its own size; grey ones (C = 1 or 2) are spread to RGB, an alpha
    channel is left out. Without any, a picture is compared with the one that its prompt changes.
    sign: 1 to come closer, -1 to keep away (the score is then minus the similarity).
    Raises UsageError for a wrong shape, or embeddings that are not [N, D].
    """

    def __init__(self, embed: Embed, references: Sequence[Tensor] = (), sign: int = 1) -> None:
        self.name = "similar_images" if sign > 0 else "unlike_images"
        self.embed, self.sign = embed, sign
        # The mean of cosines is the product with the mean of the references' unit vectors, so one vector is kept.
        shared = [self._directions(_as_rgb(batch)) for batch in references]
        self.direction = torch.cat(shared).mean(0) if shared else None
        self.own: dict[str, Tensor] = {}

    def check(self, prompts: Sequence[str]) -> None:
        """See Reward."""
        if self.direction is None and not all(isinstance(prompt, Instruction) for prompt in prompts):
            raise UsageError(
                f"rewards: {self.name} has no pictures to compare with; give it some, or prompts with pictures that "
                "they change."
            )

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1."""
        directions = torch.stack([self._wanted(prompt) for prompt in prompts])
        return self.sign * (self._directions(images) * directions).sum(1).clamp(-1, 1)

    def _wanted(self, prompt: str) -> Tensor:
        """The vector [D] that a prompt's pictures are compared with."""
        if self.direction is not None:
            return self.direction
        assert isinstance(prompt, Instruction), "check() has seen to it"
        if prompt.digest not in self.own:
            [self.own[prompt.digest]] = self._directions(prompt.reference[None])
        return self.own[prompt.digest]

    @torch.no_grad()
    def _directions(self, images: Tensor) -> Tensor:
        """Unit vectors float32 [N, D] on the CPU."""
        embeddings = self.embed(images)
        if embeddings.ndim != 2 or len(embeddings) != len(images):
            raise UsageError(
                f"rewards: {self.name} got embeddings of shape {list(embeddings.shape)} for {len(images)} pictures; "
                f"use an image encoder that returns one vector per picture, [{len(images)}, D]."
            )
        return torch.nn.functional.normalize(embeddings.float().cpu(), dim=1)


def similar_images(images: str = "", model: str = CLIP_L.repo, host: Host | None = None) -> Similar:
    """Higher for pictures like those in the folder `images`, as the CLIP model in a folder or of a hub id sees them.

    Raises UsageError when there is no folder, no picture in it, or no such model.
    """
    return _by_clip(images, model, host, 1)


def unlike_images(images: str = "", model: str = CLIP_L.repo, host: Host | None = None) -> Similar:
    """Higher for pictures unlike those in the folder `images`; see similar_images."""
    return _by_clip(images, model, host, -1)


def _by_clip(images: str, model: str, host: Host | None, sign: int) -> Similar:
    host = host or Host()
    files = pictures_in(Path(images)) if images else []
    if not files:
        raise UsageError(
            f'rewards.images: "{images}" is not a folder with {", ".join(SUFFIXES)} files; give one with the pictures '
            "to compare with."
        )
    clip = load_hub_folder("similar_images", model, host)
    return Similar(clip.embed_images, [read_image(file)[None] for file in files], sign)


def _as_rgb(references: Tensor) -> Tensor:
    """[R, H, W, 3] float32 of pictures with 1 to 4 channels."""
    if references.ndim != 4 or not 1 <= references.shape[-1] <= 4:
        raise UsageError(
            f"references: shape {list(references.shape)} is not a batch of pictures; give [R, H, W, C] with 1 to 4 "
            "channels."
        )
    if len(references) == 0:
        raise UsageError("references: the batch is empty; give at least one picture.")
    colours = references[..., :3] if references.shape[-1] >= 3 else references[..., :1].expand(-1, -1, -1, 3)
    return colours.float()
