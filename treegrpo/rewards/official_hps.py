"""HPS v2 by its authors' own package, for figures that are compared with published ones."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from PIL import Image
from torch import Tensor

from ..errors import UsageError, check_known

VERSIONS = {"hpsv2": "v2.0", "hpsv2.1": "v2.1"}


class OfficialHps:
    """The same range as ours, one picture at a time; the package fetches and reads its checkpoint at every call.

    Raises UsageError for an unknown version, or when the package cannot be imported.
    """

    def __init__(self, name: str) -> None:
        self.version = VERSIONS[check_known("--official", name, VERSIONS)]
        self.name = f"{name}, official package"
        self.package = _package()

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1 and their prompts."""
        levels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        scores = torch.empty(len(prompts))
        for prompt in dict.fromkeys(prompts):
            places = [place for place, each in enumerate(prompts) if each == prompt]
            pictures = [Image.fromarray(levels[place]) for place in places]
            found = self.package.score(pictures, prompt, hps_version=self.version)
            scores[places] = torch.tensor([float(value) for value in found])
        return scores


def _package() -> ModuleType:
    try:
        import hpsv2
    except ImportError as error:
        raise UsageError(
            f"--official: the package hpsv2 cannot be imported ({error}); it wants old releases of others, so pip "
            "install hpsv2 and treegrpo into an environment of its own."
        ) from error
    return hpsv2
