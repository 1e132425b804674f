"""Sharpness as a reward, without a model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import pad

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue weigh in ITU-R BT.601's luma."""


class Sharpness:
    """log(1 + variance of the Laplacian of luma in 0..255): 0 (flat, or an even gradient inside) to 13.9.

    The variance of the Laplacian is a measure of focus (Pech-Pacheco et al., "Diatom autofocusing in brightfield
    microscopy", 2000). It spans many powers of ten, so that its logarithm is taken; the 1, about what the rounding of
    8-bit pictures causes, keeps flat pictures finite. Raises nothing.
    """

    name = "sharpness"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; the prompts do not matter."""
        luma = 255 * images @ images.new_tensor(LUMA)
        wide = pad(luma[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]  # the border itself is no edge
        across = wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:] - 2 * luma
        down = wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] - 2 * luma
        return (across + down).var((1, 2), correction=0).log1p().cpu()
