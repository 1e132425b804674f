"""What networks are told about prompts: each is encoded once, and those that can be stacked are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from ..pictures.instruction import reference_of
from .families.family import ChangesPictures, Conditioning, Family, encode_all
from .placement import Placement


class EncodedTexts:
    """The conditioning of prompts and negative prompts, as long as there is a policy.

    Each is encoded alone: in company its last digits would depend on the company, and a resumed run meets its prompts
    in another order. What is encoded waits on the CPU: thousands of long prompts would fill a device.
    """

    def __init__(self, family: Family, pipeline: Any, placement: Placement, max_sequence_length: int) -> None:
        self.family = family
        self.pipeline = pipeline
        self.placement = placement
        self.max_sequence_length = max_sequence_length
        self.encoded: dict[tuple[str, bool], Conditioning] = {}

    @torch.no_grad()
    def conditioning(self, prompts: Sequence[str], negatives: Sequence[str] = ()) -> list[tuple[Tensor, Conditioning]]:
        """(rows int64 [K], conditioning of K texts) for every shape that there is of it, on the device.

        rows: places in a batch that has all negative prompts and then all prompts.
        """
        keys = [*((text, True) for text in negatives), *((text, False) for text in prompts)]
        new = [key for key in dict.fromkeys(keys) if key not in self.encoded]
        if new:
            self.placement.bring_encoders()
            for text, negative in new:
                found = self._encode(text, negative)
                self.encoded[text, negative] = tuple(part if part.is_meta else part.cpu() for part in found)
        places: dict[tuple[torch.Size, ...], list[int]] = {}
        for i, key in enumerate(keys):
            places.setdefault(tuple(part.shape for part in self.encoded[key]), []).append(i)
        device = self.placement.device
        return [(torch.tensor(rows, device=device), self._stacked([keys[i] for i in rows])) for rows in places.values()]

    def _stacked(self, keys: Sequence[tuple[str, bool]]) -> Conditioning:
        """The conditioning of texts for which it has the same shapes; each goes to the device once."""
        distinct = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        rows = torch.tensor([distinct[key] for key in keys], device=self.placement.device)
        columns = zip(*(self.encoded[key] for key in distinct), strict=True)
        return tuple(torch.cat(column).to(self.placement.device)[rows] for column in columns)

    def _encode(self, text: str, negative: bool) -> Conditioning:
        """Raises UsageError where a picture is missing, or has no use."""
        picture, changes = reference_of(text), isinstance(self.family, ChangesPictures)
        if changes and picture is None:
            raise UsageError(
                f'prompts: {self.family.NAMES} changes pictures, and "{text}" has none; give a folder of pictures with '
                "their words."
            )
        if picture is not None and not changes:
            raise UsageError(
                f'prompts: "{text}" says what to change in a picture, and {self.family.NAMES} draws from words alone; '
                "give a text file, or choose a model that changes pictures."
            )
        found = encode_all(self.family, self.pipeline, [text], self.max_sequence_length, negative)
        if isinstance(self.family, ChangesPictures) and picture is not None:
            with self.placement.vae():
                return *found, self.family.encode_picture(self.pipeline, picture)
        return found
